"""Devices: one folder each, with its kernels and the memory they allocate. `here.py` finds this machine's device."""
