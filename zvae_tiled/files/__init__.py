"""Opens files safely, writes them whole or not at all, and never replaces a file that is read. No MLX."""
