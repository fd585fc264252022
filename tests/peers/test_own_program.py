"""The block of docs/guides/own-program.md that needs torch, which the tests of the docs do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.docs_blocks import blocks
from tests.support.models import narrow
from tests.support.running import ROOT, save_vae

pytestmark = pytest.mark.peers


def test_the_block_for_torch_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    save_vae(tmp_path / "path" / "to" / "Z-Image-Turbo" / "vae", narrow("z-image", (4, 4, 8, 8), 2))
    monkeypatch.chdir(tmp_path)
    found = [each for each in blocks(ROOT / "docs/guides/own-program.md") if "import torch" in each.code]
    (block,) = found
    names = dict[str, object]()
    exec(compile("\n" * (block.line - 1) + block.code, block.page, "exec"), names)
    assert isinstance(names["pictures"], torch.Tensor)
