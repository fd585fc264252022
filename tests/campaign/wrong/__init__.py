"""Wrong inputs of public functions, and wrong words on the command line (rows/arguments.py)."""
