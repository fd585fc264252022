"""What tests of several folders share: models, plans, an oracle in float64, files, signals, leftovers."""
