"""MLX on a CPU: one row at a time, in float32."""
