"""Installed packages that are none: metadata and a file, in a folder where Python looks."""

from __future__ import annotations

from pathlib import Path

import pytest


def plant(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, content: bytes, version: str = "0.32.4"
) -> Path:
    """Write a file, and the metadata of a distribution that holds it. Return the file's path."""
    path = folder / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    (folder / info).mkdir()
    (folder / info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / info / "RECORD").write_text(f"{file},sha256=0,{len(content)}\n{info}/METADATA,,\n{info}/RECORD,,\n")
    monkeypatch.syspath_prepend(folder)  # first: a real one of the name would be found before it
    return path
