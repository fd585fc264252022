"""``python -m zvae_tiled``: the command ``zvae``, also where its script is on no path."""

from __future__ import annotations

from zvae import main

if __name__ == "__main__":
    main()
