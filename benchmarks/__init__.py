"""Benchmarks: each script prints its figures with machine, versions and date."""
