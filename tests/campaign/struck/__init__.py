"""Decodes in which one call of the C library fails: an allocation, or a write to a file."""
