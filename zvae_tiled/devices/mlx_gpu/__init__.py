"""MLX on a GPU: a whole band a call."""
