"""MLX on a GPU: each call computes a whole band."""
