"""Everything that is written, where an input is, where nothing can be written, and where a link leads elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from tests.campaign.places.tree import unchanged
from tests.support.running import save_latents
from zvae_tiled import VAE, read_latent_file, write_latent_file
from zvae_tiled.cli.app import zvae
from zvae_tiled.cluster import decode_many
from zvae_tiled.errors import ZvaeError
from zvae_tiled.order import Order


def _command(words: str) -> None:
    result = CliRunner().invoke(zvae, words.split())
    assert isinstance(result.exception, SystemExit | None), f"{result.exception!r}"
    assert "Unexpected error" not in result.output, result.output
    if result.exit_code:
        raise ZvaeError(result.output)


def _decode(path: str) -> None:
    VAE.load("vae").decode_to_file(read_latent_file("latents.npy"), path, budget="1GB")


WRITERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "a PNG": (".png", _decode),
    "an array": (".npy", _decode),
    "a pyramid": (".ptif", _decode),
    "a Deep Zoom": (".dzi", _decode),
    "latents": (".npz", lambda path: write_latent_file(path, read_latent_file("latents.npy"))),
    "a picture by zvae": (".png", lambda path: _command(f"decode latents.npy -q --vae vae -o {path}")),
    "a plan": (".json", lambda path: _command(f"decode latents.npy -q --vae vae -o out/a.png --save-plan {path}")),
    "a plot": (".svg", lambda path: _command(f"plan 64 --vae vae --plot {path}")),
    "a manifest": (
        ".jsonl",
        lambda path: decode_many([Order("decode", "vae", "latents.npy", "out/a.npy")], manifest=path),
    ),
}
"""What writes, with the ending of its file."""


def below_a_file(ending: str) -> str:
    return f"latents.npy/a{ending}"


def in_no_folder(ending: str) -> str:
    return f"missing/a{ending}"


def of_a_long_name(ending: str) -> str:
    return f"out/{'a' * 300}{ending}"


def a_folder(ending: str) -> str:
    Path(f"folder{ending}").mkdir()
    Path(f"folder{ending}/file").write_text("of somebody")
    return f"folder{ending}"


def a_loop(ending: str) -> str:
    Path(f"loop{ending}").symlink_to(f"loop{ending}")
    return f"loop{ending}"


def a_link_below_a_file(ending: str) -> str:
    Path(f"below{ending}").symlink_to(f"latents.npy/a{ending}")
    return f"below{ending}"


def a_link_to_the_weights(ending: str) -> str:
    Path(f"soft{ending}").symlink_to("vae/diffusion_pytorch_model.safetensors")
    return f"soft{ending}"


def the_weights_by_another_name(ending: str) -> str:
    os.link("vae/diffusion_pytorch_model.safetensors", f"hard{ending}")
    return f"hard{ending}"


BAD = (below_a_file, in_no_folder, of_a_long_name, a_folder, a_loop, a_link_below_a_file)
INPUTS = (a_link_to_the_weights, the_weights_by_another_name)
READ_NO_WEIGHTS = ("latents", "a manifest")
"""Of what writes, what does not know the weights: a link to any file is followed."""


def refused_writing(writer: str, place: Callable[[str], str]) -> ZvaeError | None:
    """Write where nothing can be written, or where an input is."""
    ending, write = WRITERS[writer]
    path = place(ending)
    try:
        with unchanged(Path(), Path("out")):
            write(path)
    except ZvaeError as error:
        return error
    return None


def full_device(writer: str) -> ZvaeError | None:
    """Write into a device that is always full."""
    _, write = WRITERS[writer]
    try:
        write("/dev/full")
    except ZvaeError as error:
        return error
    return None


def deep_zoom_over_a_link() -> None:
    """The folder of tiles is a link to somebody's folder: nothing in it may change."""
    Path("out/a_files").symlink_to("../../precious")
    try:
        _decode("out/a.dzi")
    except ZvaeError:
        return


def work_folder_of_links() -> None:
    """A work folder whose parts are links: what they name may not change."""
    Path("out/work").mkdir()
    for name in ("journal", "map-0-0-value", "part-0"):
        Path("out/work", name).symlink_to("../../../precious/secret.safetensors")
    try:
        VAE.load("vae").decode_to_file(read_latent_file("latents.npy"), "out/a.npy", budget="1GB", work="out/work")
    except ZvaeError:
        return


def work_folder_that_is_a_link() -> None:
    """`zvae work --remove` of a link: what it names may not change."""
    Path("out/work").symlink_to("../../precious")
    result = CliRunner().invoke(zvae, ["work", "--remove", "out/work"])
    assert result.exit_code == 3, result.output


def a_stem_that_leads_up() -> None:
    """Latents whose name without its ending is ``..``: the pattern's folder is not left."""
    save_latents(Path("...npy"), 3, 4)
    try:
        _command("decode ...npy -q --vae vae -o out/deep/{stem}/a.png")
    except ZvaeError:
        return
