"""MLX on a CPU: each call computes one row, in float32."""
