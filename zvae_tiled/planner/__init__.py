"""Plans a case within a budget: the costs of Steps, sweeps and stages, and the search for the fastest plan. No MLX."""
