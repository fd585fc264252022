"""Runs one decode or encode: checks and plans it, limits its memory, and reports on it."""
