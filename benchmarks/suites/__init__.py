"""The suites, one module each. ``groups(quick, large, folder)`` yields groups of cases that take turns."""
