"""What damaged files of each kind are compared with (rows/files.py)."""
