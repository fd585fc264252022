"""A Deep Zoom picture in OpenSeadragon, in a real browser, and beside the one that libvips writes."""

from __future__ import annotations

import functools
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.peers.browser import Browser
from tests.sinks.cases import Picture
from tests.sinks.readers import read_png
from zvae_tiled import VAE, demo

pytestmark = pytest.mark.peers

BROWSER = shutil.which("chromium")
VIEWER = Path(sys.prefix, "node_modules/openseadragon/build/openseadragon/openseadragon.min.js")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server that serves this folder, and in it the page."""
    shutil.copy(VIEWER, tmp_path / "openseadragon.js")
    shutil.copy(Path(__file__).with_name("deep_zoom.html"), tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/deep_zoom.html"
        server.shutdown()


def screenshot(address: str, folder: Path) -> np.ndarray[Any, Any]:
    """The page as the browser shows it once all tiles are drawn, 800x600."""
    with Browser(str(BROWSER), folder / "profile") as browser:
        return browser.picture(address, 800, 600, ready="drawn")


@pytest.mark.skipif(BROWSER is None or not VIEWER.exists(), reason="needs chromium and OpenSeadragon (.ci/run)")
def test_openseadragon_shows_the_decoded_picture(served: str, tmp_path: Path) -> None:
    vae, cat = VAE.demo(), np.asarray(demo.latents("cat"), np.float32)
    vae.decode_to_file(np.tile(cat, (1, 1, 5, 7)), [tmp_path / "picture.dzi", tmp_path / "picture.png"])
    with Image.open(tmp_path / "picture.png") as image:
        whole = np.asarray(image)
    assert whole.shape[0] >= 1260
    assert whole.shape[1] >= 1640
    crop = whole[70 : 70 + 600, 130 : 130 + 800]
    assert np.array_equal(screenshot(f"{served}#130,70,800", tmp_path), crop)
    four = whole[60 : 60 + 1200, 40 : 40 + 1600].astype(int).reshape(600, 2, 800, 2, 3)
    halves = (four.sum(axis=(1, 3)) + 2) // 4
    assert np.array_equal(screenshot(f"{served}#40,60,1600", tmp_path), halves)


@pytest.mark.parametrize("shape", [(1, 1, 3), (254, 255, 3), (700, 1111, 3), (513, 300, 1)])
def test_the_layout_is_that_of_libvips(shape: tuple[int, int, int], tmp_path: Path) -> None:
    import pyvips

    picture = Picture(np.random.default_rng(0).random(shape, np.float32), [shape[0]], ".dzi", 8)
    ours, theirs = picture.write(tmp_path), tmp_path / "theirs.dzi"
    image = pyvips.Image.new_from_array(picture.stored if shape[2] > 1 else picture.stored[..., 0])
    image.dzsave(str(tmp_path / "theirs"), tile_size=254, overlap=1, depth="onepixel", suffix=".png")
    attributes = [ElementTree.parse(path).getroot().attrib for path in (ours, theirs)]
    assert attributes[0] == {key: value for key, value in attributes[1].items() if key in attributes[0]}
    folders = [path.with_name(f"{path.stem}_files") for path in (ours, theirs)]
    names = [{path.relative_to(folder) for path in folder.rglob("*.png")} for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        tile, _ = read_png(folders[0] / name)
        with Image.open(folders[1] / name) as found:
            other = np.asarray(found).reshape(tile.shape)  # of the same size
        if name.parent.name == str((max(shape) - 1).bit_length()):
            assert np.array_equal(other, tile)
