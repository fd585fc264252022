"""``python -m zvae_tiled.cli``: the same as ``zvae``."""

from zvae import main

main()
