"""From a case and a budget to a plan: what Steps, sweeps and stages cost, and the search for the fastest. No MLX."""
