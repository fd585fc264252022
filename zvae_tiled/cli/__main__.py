"""``python -m zvae_tiled.cli``: the same as ``zvae``."""

from zvae_tiled.cli.app import zvae

zvae(prog_name="zvae")
