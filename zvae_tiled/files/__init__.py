"""Files opened safely, written whole or not at all, and never over what is read. No MLX."""
