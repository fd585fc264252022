"""Devices: a folder for each, with what it allocates beside what computes on it; and which one this is."""
