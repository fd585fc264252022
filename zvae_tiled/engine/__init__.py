"""Runs a plan, sweep by sweep and band by band. Each Step is a generator that keeps only the rows it still needs."""
