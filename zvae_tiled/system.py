"""Refuses a system that this package cannot run on, before anything is imported that is missing there."""

from __future__ import annotations

import sys

from zvae_tiled.errors import SystemNotSupportedError

if sys.platform == "win32":
    raise SystemNotSupportedError(
        "zvae_tiled needs macOS or Linux, this Python is one for Windows",
        "Run it in WSL 2, which is a Linux: wsl --install, then install Python and zvae-tiled inside it.",
    )
