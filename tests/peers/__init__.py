"""Live comparison with diffusers; needs torch: ``pytest -m peers``."""
