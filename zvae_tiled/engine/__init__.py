"""Runs a plan: sweep by sweep, band by band, each Step a small machine that keeps only the rows it still needs."""
