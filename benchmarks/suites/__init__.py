"""What is measured: a module a suite, each with ``groups(quick, large)``, the cases that take turns."""
