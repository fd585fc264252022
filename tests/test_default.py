"""The VAE of the process: set, named by a variable, or found in the Hugging Face cache; and `decode_tiled` with it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.models import narrow, random_latents, random_vae, save_random
from zvae_tiled import VAE, VAEConfig, decode_tiled, set_default_vae
from zvae_tiled.adapters.rescue import first_found
from zvae_tiled.api import default_vae
from zvae_tiled.cli import sources
from zvae_tiled.errors import BudgetError, ConfigError, InputError, WeightsError
from zvae_tiled.families import PRESETS, REPOSITORIES
from zvae_tiled.weights.hub import USUAL, cache_folder, find_in_cache

KNOWN = REPOSITORIES[USUAL]
CONFIG = narrow("z-image")
LATENTS = random_latents(CONFIG, 4, 6)


@pytest.fixture(autouse=True)
def _nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No VAE is set, no variable, and no cache of this machine is found."""
    for name in ("ZVAE_VAE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    set_default_vae(None)
    yield
    set_default_vae(None)


def save(folder: Path, seed: int = 0, config: VAEConfig = CONFIG) -> Path:
    """A VAE's folder as diffusers writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **asdict(config)}))
    save_random(config, folder / "diffusion_pytorch_model.safetensors", seed)
    return folder


def snapshot(hub: Path, repository: str, revision: str = "a1b2", seed: int = 0) -> Path:
    """The VAE of a model as huggingface_hub keeps it."""
    return save(hub / f"models--{repository.replace('/', '--')}" / "snapshots" / revision / "vae", seed)


def decoded(seed: int = 0) -> np.ndarray:
    return np.asarray(random_vae(CONFIG, "bfloat16", seed).decode(LATENTS))


def test_a_vae_that_is_set_is_used() -> None:
    vae = random_vae(CONFIG)
    set_default_vae(vae)
    assert default_vae() is vae
    assert np.array_equal(decode_tiled(LATENTS), vae.decode(LATENTS))
    other = random_vae(CONFIG, seed=1)
    assert np.array_equal(decode_tiled(LATENTS, vae=other), other.decode(LATENTS))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_that_is_set_is_loaded_once_at_its_first_use(tmp_path: Path, kind: Any) -> None:
    set_default_vae(kind(tmp_path / "vae"))  # not there yet
    save(tmp_path / "vae")
    assert np.array_equal(decode_tiled(LATENTS), decoded())
    assert default_vae() is default_vae()


@pytest.mark.slow
def test_what_is_set_comes_before_the_variable_and_the_variable_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(tmp_path / "hub", KNOWN[0], seed=1)
    assert np.array_equal(decode_tiled(LATENTS), decoded(seed=1))
    monkeypatch.setenv("ZVAE_VAE", str(save(tmp_path / "named", seed=2)))
    set_default_vae(None)
    assert np.array_equal(decode_tiled(LATENTS), decoded(seed=2))
    set_default_vae(save(tmp_path / "chosen", seed=3))
    assert np.array_equal(decode_tiled(LATENTS), decoded(seed=3))
    set_default_vae(None)
    assert np.array_equal(decode_tiled(LATENTS), decoded(seed=2))


def test_a_wrong_path_is_an_error_and_never_another_vae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot(tmp_path / "hub", KNOWN[0])
    monkeypatch.setenv("ZVAE_VAE", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="nowhere"):
        decode_tiled(LATENTS)


def test_the_variable_may_name_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZVAE_VAE", "demo")
    assert default_vae().config == VAE.demo().config == VAE.load("demo").config


def test_with_no_vae_the_error_names_all_three_ways(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no VAE was passed, no default is set, and none was found") as error:
        decode_tiled(LATENTS)
    for way in ("vae=", "set_default_vae(", "$ZVAE_VAE", str(tmp_path / "hub")):
        assert way in error.value.advice


@pytest.mark.parametrize("repository", KNOWN)
def test_every_known_repository_is_found(tmp_path: Path, repository: str) -> None:
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / "f00" / "vae"
    folder.mkdir(parents=True)
    assert find_in_cache() is None
    (folder / "config.json").touch()
    assert find_in_cache() is None, "a download that stopped after the config"
    (folder / "diffusion_pytorch_model.safetensors").touch()
    assert find_in_cache() == folder


def test_a_vae_without_a_config_is_found_alone(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--madebyollin--taef2" / "snapshots" / "f00"
    folder.mkdir(parents=True)
    assert find_in_cache(REPOSITORIES["taef2"]) is None
    (folder / "taef2.safetensors").touch()
    assert find_in_cache(REPOSITORIES["taef2"]) == folder
    (folder / "model_index.json").touch()
    assert find_in_cache(REPOSITORIES["taef2"]) is None, "a pipeline, whose transformer may lie here"


def test_one_file_of_a_model_does_not_hide_the_whole_vae_of_another(tmp_path: Path) -> None:
    first, second = KNOWN[:2]
    folder = tmp_path / "hub" / f"models--{first.replace('/', '--')}" / "snapshots" / "f00"
    folder.mkdir(parents=True)
    (folder / "transformer.safetensors").touch()
    assert find_in_cache() == folder
    whole = snapshot(tmp_path / "hub", second)
    (whole / "diffusion_pytorch_model.safetensors").touch()
    assert find_in_cache() == whole


def test_one_file_of_a_repository_of_many_is_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hf download Kijai/WanVideo_comfy taew2_1\.safetensors"):
        VAE.load("taew2_1")
    for age, revision in enumerate(("old", "new", "other")):
        folder = tmp_path / "hub" / "models--Kijai--WanVideo_comfy" / "snapshots" / revision
        folder.mkdir(parents=True)
        for name in ("transformer", "taew2_2" if revision == "other" else "taew2_1"):
            (folder / f"{name}.safetensors").touch()
        os.utime(folder, (age, age))
    assert find_in_cache(REPOSITORIES["taew2_1"]) == folder.with_name("new") / "taew2_1.safetensors"
    named = "Kijai/WanVideo_comfy/taew2_1.safetensors"
    assert first_found(named, "x/y/../../z", "demo", "taew2_1") == "taew2_1", "a command takes no file of a repository"


def test_a_vae_in_a_place_of_its_own_is_named_by_its_file(tmp_path: Path) -> None:
    name, place = "circlestone-labs/Anima", "split_files/vae/qwen_image_vae.safetensors"
    assert first_found(name, "qwen-image") == "qwen-image"
    folder = tmp_path / "hub" / "models--circlestone-labs--Anima" / "snapshots" / "f00"
    (folder / place).parent.mkdir(parents=True)
    (folder / place).touch()
    assert first_found(name, "qwen-image") == str(folder / place)
    assert first_found(str(folder), "qwen-image") == str(folder / place)


def test_of_several_snapshots_the_newest_whole_one_is_taken_or_that_of_the_main_branch(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    folders = [snapshot(hub, KNOWN[2], revision) for revision in ("old", "new", "partial")]
    for age, folder in enumerate(folders):
        os.utime(folder / "config.json", (5, 5))  # one file of all three
        os.utime(folder.parent, (age, age))
    (folders[2] / "diffusion_pytorch_model.safetensors").unlink()
    assert find_in_cache() == folders[1]
    main = folders[0].parent.parent.with_name("refs") / "main"
    main.parent.mkdir()
    for revision, found in (("old", folders[0]), ("partial", folders[1]), ("gone", folders[1])):
        main.write_text(revision)
        assert find_in_cache() == found, "the newest revision of the main branch, if it is whole"
    first = snapshot(hub, KNOWN[0])
    assert find_in_cache() == first, "repositories have an order"


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "~/d", "HF_HOME": "/b"}, "{home}/d"),
        ({"HF_HUB_CACHE": "$XDG_CACHE_HOME/a", "XDG_CACHE_HOME": "/c"}, "/c/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"HF_HOME": "~/b"}, "{home}/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HF_HOME": "~nobody-of-this-name/b"}, "~nobody-of-this-name/b/hub"),
        ({}, "{home}/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_huggingface_hub_keeps_it(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == folder.format(home=Path.home())


def test_only_the_decoder_is_loaded(tmp_path: Path) -> None:
    set_default_vae(save(tmp_path / "vae"))
    assert isinstance(default_vae(), VAE)
    assert default_vae().weights
    assert not any(name.startswith(("encoder.", "quant_conv.")) for name in default_vae().weights)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vae": 3}, "vae must be a VAE or a path, it is 3"),
        ({"vae": ["a"]}, "vae must be a VAE or a path"),
        ({"vae": ""}, "vae must be a VAE or a path, it is ''"),
        ({"vae": SimpleNamespace(decode=print)}, "vae must be a VAE or a path"),
        ({"budget_gb": 1.0, "budget": "1GB"}, "budget_gb= and budget= are both set"),
        ({"budget_gb": "1GB"}, "budget_gb must be a number of GB"),
        ({"budget_gb": -1.0}, "must be an amount of memory above 0"),
        ({"budget_gb": True}, "must be an amount of memory above 0"),
        ({"budget": "lots"}, "must be an amount of memory above 0"),
        ({"output_type": "jpeg"}, "output_type must be one of"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_tiled(LATENTS, **{"vae": random_vae(CONFIG), **options})
    if "vae" in options:
        with pytest.raises(InputError, match=reason):
            set_default_vae(options["vae"])


@pytest.mark.parametrize("kind", [str, pytest.param(Path, marks=pytest.mark.slow)])
def test_a_vae_is_named_by_its_path_and_read_once(tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []
    load = VAE.load
    monkeypatch.setattr(VAE, "load", lambda path: loads.append(path) or load(path))  # type: ignore[func-returns-value]
    path = kind(save(tmp_path / "vae", seed=1))
    for _ in range(2):
        assert np.array_equal(decode_tiled(LATENTS, vae=path), decoded(seed=1))
    assert len(loads) == 1
    save(tmp_path / "vae", seed=2)  # another file of the same name
    assert np.array_equal(decode_tiled(LATENTS, vae=path), decoded(seed=2))
    with pytest.raises(WeightsError, match="nowhere"):
        decode_tiled(LATENTS, vae=kind(tmp_path / "nowhere"))


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="budgett"):
        decode_tiled(LATENTS, vae=random_vae(CONFIG), budgett="1GB")


def test_both_ways_to_name_a_budget_mean_the_same() -> None:
    vae = random_vae(CONFIG)
    reports = [
        decode_tiled(LATENTS, vae=vae, return_report=True, **options)[1]
        for options in ({"budget_gb": 0.05}, {"budget": 0.05}, {"budget": "50MB"})
    ]
    assert {report.budget for report in reports} == {50_000_000}
    assert decode_tiled(LATENTS, 0.05, vae=vae).shape == (1, 32, 48, 3)
    with pytest.raises(BudgetError, match="set as 1e-05"):
        decode_tiled(LATENTS, 1e-5, vae=vae)


def test_the_default_is_shared_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    set_default_vae(save(tmp_path / "vae"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: default_vae(), range(16)))
    assert len({id(vae) for vae in found}) == 1


@pytest.mark.parametrize("model", [KNOWN[0], pytest.param("someone/FLUX.1-dev-mflux-4bit", marks=pytest.mark.slow)])
@pytest.mark.sample(2)
def test_a_model_is_named_as_on_hugging_face(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=f"hf download {model} vae/ model_index.json") as error:
        VAE.load(model)
    assert str(tmp_path / "hub") in str(error.value)
    snapshot(tmp_path / "hub", model, seed=3)
    assert np.array_equal(VAE.load(model).decode(LATENTS), decoded(seed=3))
    assert np.array_equal(decode_tiled(LATENTS, vae=model), decoded(seed=3))
    assert sources.load_vae(model, None, "bfloat16").sources == VAE.load(model).sources
    save(tmp_path / model, seed=4)
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(VAE.load(model).decode(LATENTS), decoded(seed=4)), "a folder comes first"


def test_a_preset_means_a_model_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"Looked for: {KNOWN[0]}, "):
        VAE.load(USUAL)
    snapshot(tmp_path / "hub", KNOWN[1], seed=3)
    assert np.array_equal(VAE.load(USUAL).decode(LATENTS), decoded(seed=3))


def test_a_snapshot_without_a_config_is_found_in_its_folder(tmp_path: Path) -> None:
    folder = snapshot(tmp_path / "hub", "a/b")
    (folder / "config.json").unlink()
    assert find_in_cache(("a/b",)) == folder


@pytest.mark.parametrize("path", ["weights/vae.safetensors", "a/b/c", "nowhere.pt", "/a/b", "a/b.pt"])
def test_a_path_is_not_taken_for_a_model(path: str) -> None:
    with pytest.raises(WeightsError, match=f"{Path(path)} cannot be read"):
        VAE.load(path)


def test_a_preset_without_known_models_asks_for_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "toy", CONFIG)
    with pytest.raises(ConfigError, match=r"Name the VAE's folder .* No model with that VAE is known"):
        sources.vae_path("toy")
