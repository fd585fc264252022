"""Figures: each script prints a table with machine, versions and date."""
