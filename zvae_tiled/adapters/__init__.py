"""Doors into other programs. Each is imported by its own name, and imports its host when it is used."""
