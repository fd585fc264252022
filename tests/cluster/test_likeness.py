"""Workers, and the client, are compared by all that bytes depend on."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from zvae_tiled.cluster.likeness import ALLOWED, Likeness, check_alike, likeness, own_likeness, versions
from zvae_tiled.errors import ClusterError

LIKE = Likeness(("zvae_tiled 1", "mlx 2"), ("cpu/avx2", "sha256 1"), ("vae 5",))


OWN = Likeness(("zvae_tiled 1", "mlx 3"), (), ("vae 5",))


@pytest.mark.parametrize(
    ("other", "name", "advice"),
    [
        ({"versions": ("zvae_tiled 1", "mlx 1")}, "versions", "allow versions (allow=)"),
        ({"kernels": ("cpu/avx512", "sha256 1")}, "kernels", "ZVAE_KERNELS"),
        ({"kernels": ("cpu/avx2", "sha256 2")}, "kernels", "allow kernels (allow=)"),
        ({"weights": ("vae 6",)}, "weights", "same files"),
    ],
)
def test_workers_that_differ_are_refused_or_allowed_by_name(
    other: dict[str, tuple[str, ...]], name: str, advice: str
) -> None:
    workers = {"tcp://a": LIKE, "tcp://b": replace(LIKE, **other)}
    with pytest.raises(ClusterError, match=name) as refused:
        check_alike(OWN, workers, [each for each in ("versions", "kernels") if each != name])
    assert "tcp://b" in refused.value.problem
    assert advice in refused.value.advice
    if name == "weights":
        with pytest.raises(ClusterError):
            check_alike(OWN, workers, ["versions", "kernels"])
    else:
        assert check_alike(OWN, workers, [name]) == LIKE


def test_a_client_of_another_version_or_with_other_weights_is_refused() -> None:
    for own in (replace(OWN, versions=("zvae_tiled 2", "mlx 2")), replace(OWN, weights=("vae 6",))):
        with pytest.raises(ClusterError, match="here"):
            check_alike(own, {"tcp://a": LIKE}, ["versions", "kernels"])


def test_versions_are_those_of_all_that_decides_the_bytes_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions()
    assert before[0].startswith("zvae_tiled ")
    assert [each.split()[0] for each in before[1:3]] == ["mlx", "numpy"]
    monkeypatch.setattr("PIL.__version__", "99")
    monkeypatch.setattr("PIL.features.version", "99 of {}".format)
    monkeypatch.setattr("zlib.ZLIB_RUNTIME_VERSION", "99")
    others = ["zlib 99", "Pillow 99", *(f"{name} 99 of {name}" for name in ("jpg", "libjpeg_turbo", "webp"))]
    assert sorted(set(versions()) - set(before)) == sorted(others)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert versions()[3:] == ("zlib 99", "Pillow none")


@pytest.mark.parametrize("named", [False, True])
def test_the_same_weights_with_another_config_are_refused(named: bool, place: Path) -> None:
    """The latents would be scaled otherwise, and each worker would compute another picture from the same weights."""
    beside = Path("vae/config.json")
    config = Path("named.json") if named else beside
    values = json.loads(beside.read_text())
    config.write_text(json.dumps(values))
    models = [("vae", str(config) if named else None, "float32")]
    own = own_likeness(models)
    assert check_alike(own, {"tcp://a": own_likeness(models)}, ALLOWED) == own
    for name, value in (("scaling_factor", 0.5), ("shift_factor", 0.25)):
        assert values[name] != value
        config.write_text(json.dumps({**values, name: value}))
        with pytest.raises(ClusterError, match="weights: here") as refused:
            check_alike(own, {"tcp://a": own_likeness(models)}, ALLOWED)
        assert "same files" in refused.value.advice


@pytest.mark.slow
def test_the_likeness_of_a_process_knows_its_weights_and_its_kernels(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zvae_tiled.cluster import likeness as module

    models = [("vae", None, "float32")]
    one = likeness(models)
    assert likeness(models) == one
    module._kernels.cache_clear()
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")  # every machine has it
    assert likeness(models).kernels[0] != one.kernels[0]
    module._kernels.cache_clear()
    weights = Path("vae/diffusion_pytorch_model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert likeness(models).weights != one.weights
