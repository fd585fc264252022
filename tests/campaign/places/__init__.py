"""Places that are no plain files, and paths that lead elsewhere (rows/paths.py)."""
