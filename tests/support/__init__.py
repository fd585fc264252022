"""Helpers of several folders: models, plans, an oracle in float64, files, signals, leftovers."""
