"""The model of Triton without Triton: what its config may say, what a request gets, which error has which code."""

from __future__ import annotations

import io
import runpy
from itertools import product
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from tests.serving.server import MODEL
from tests.support.models import narrow, pack, random_latents, random_vae
from zvae_tiled.adapters.triton import Service
from zvae_tiled.adapters.triton_answer import answer
from zvae_tiled.adapters.triton_request import GoneError, code_of, one_size, seldom, text_of
from zvae_tiled.errors import BudgetError, ConfigError, InputError, LatentsError, OutputError, SilentFailureError

FLUX = random_vae(narrow("flux1"))
LATENTS = random_latents(FLUX.config, 8, 12)
OUTPUTS = ("images", "floats", "png")


def service(budget: str = "1GB", batched: bool = True, streams: bool = False) -> Service:
    return Service(FLUX, budget, OUTPUTS, batched, streams, None)


def config(parameters: dict[str, str], outputs: tuple[str, ...] = OUTPUTS) -> dict[str, Any]:
    """A model's config as Triton passes it."""
    return {
        "max_batch_size": 8,
        "output": [{"name": name} for name in outputs],
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }


def answers(
    to: Service, output: str, latents: np.ndarray = LATENTS, size: tuple[int, int] | None = None
) -> list[np.ndarray]:
    sent: list[mx.array] = []
    answer(to.prepare(mx.array(latents), size, lambda: False), output, to.streams, sent.append)
    return [np.array(each) for each in sent]


def opened(data: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data.tobytes())))[None]


@pytest.mark.parametrize(("packed", "batched"), list(product([True, False], [True, False])))
@pytest.mark.sample(3)
def test_the_pictures_are_those_of_a_decode(batched: bool, packed: bool) -> None:
    latents, size = (pack(LATENTS), (64, 96)) if packed else (LATENTS, None)
    levels, floats, file = (
        answers(service(batched=batched), output, latents if batched else latents[0], size)[0] for output in OUTPUTS
    )
    wanted = np.array(FLUX.decode(LATENTS, dtype="uint8"))
    assert wanted.std() > 20
    assert np.array_equal(levels, wanted)
    assert np.array_equal(opened(file), wanted)
    assert np.array_equal(floats, np.array(FLUX.decode(LATENTS, layout="NCHW")))


def test_parts_joined_are_the_picture() -> None:
    latents = random_latents(FLUX.config, 40, 6)
    tight = f"{FLUX.plan(320, 48, '1GB', task='stream').predicted_peak}B"
    for output, axis in (("images", 1), ("floats", 2), ("png", 1)):
        whole = answers(service(), output, latents)[0]
        parts = answers(service(tight, streams=True), output, latents)
        assert len(parts) > 1
        joined = np.concatenate(parts, axis)
        joined, whole = (opened(each) if output == "png" else each for each in (joined, whole))
        assert np.array_equal(joined, whole)


def test_errors_have_the_library_s_message_and_a_code() -> None:
    cases: dict[type[Exception], tuple[mx.array, tuple[int, int] | None]] = {
        LatentsError: (mx.array(pack(LATENTS)), None),
        InputError: (mx.array(LATENTS * np.nan), None),
        ValueError: (mx.array(LATENTS), (64, 64)),
    }
    for kind, (latents, size) in cases.items():
        with pytest.raises(kind) as refused:
            service().prepare(latents, size, lambda: False)
        assert code_of(refused.value) == "INVALID_ARG"
        assert text_of(refused.value) == str(refused.value)
    for error, code in (
        (OutputError("full"), "UNAVAILABLE"),
        (MemoryError(), "UNAVAILABLE"),
        (SilentFailureError("zeros"), "INTERNAL"),
        (KeyError("x"), "INTERNAL"),
        (GoneError(), "CANCELLED"),
    ):
        assert code_of(error) == code
        assert text_of(error)


def test_a_budget_too_small_names_one_that_works() -> None:
    with pytest.raises(BudgetError) as refused:
        answers(service("200kB"), "images")
    assert code_of(refused.value) == "UNAVAILABLE"
    needed = f"{refused.value.needed}"
    assert needed in text_of(refused.value)
    assert answers(service(f"{needed}B"), "images")[0].shape == (1, 64, 96, 3)


def test_a_client_that_has_gone_ends_the_decode() -> None:
    for streams in (False, True):
        calls = iter([False, False, True])
        to = service(streams=streams)
        job = to.prepare(mx.array(LATENTS), None, lambda calls=calls: next(calls))  # type: ignore[misc]
        with pytest.raises(GoneError):
            answer(job, "images", streams, lambda part: None)


def test_triton_is_seldom_asked() -> None:
    gone = seldom(lambda: True, every=3600)
    assert not any(gone() for _ in range(100))
    assert seldom(lambda: True, every=0)()


def test_several_pictures_come_as_arrays_only() -> None:
    two = random_latents(FLUX.config, 4, 4, batch=2)
    assert answers(service(), "images", two)[0].shape == (2, 32, 32, 3)
    for to, output in ((service(), "png"), (service(streams=True), "images")):
        with pytest.raises(InputError, match="one picture a request"):
            answers(to, output, two)


def test_the_output_is_the_one_that_is_named() -> None:
    asked = service()
    assert asked.output_of(["png"]) == "png"
    assert asked.output_of(OUTPUTS[::-1]) == "images", "a request that names none"
    with pytest.raises(InputError, match="png"):
        asked.output_of(["png", "floats"])


def test_sizes_of_one_request_are_equal() -> None:
    assert one_size([]) is None
    assert one_size([64, 96]) == one_size([[64, 96], [64, 96]]) == (64, 96)
    with pytest.raises(LatentsError, match="96"):
        one_size([[64, 96], [96, 64]])


def test_a_config_is_read_strictly() -> None:
    own = {"EXECUTION_ENV_PATH": "env.tar.gz", "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}
    loaded = Service.load(config({"vae": "demo", "budget": "1GB", "output": "png", **own}))
    assert (loaded.output_of(OUTPUTS), loaded.budget, loaded.batched, loaded.streams) == ("png", "1GB", True, False)
    for wrong, message in (
        (config({"vae": "demo"}), "budget"),
        (config({"vae": "demo", "budget": "1GB", "tile": "64"}), "tile"),
        (config({"vae": "demo", "budget": "1GB", "output": "jpeg"}), "jpeg"),
        (config({"vae": "demo", "budget": "1GB"}, ("pictures",)), "(?s)pictures.*It knows floats, images, png"),
    ):
        with pytest.raises(ConfigError, match=message):
            Service.load(wrong)


@pytest.mark.slow
def test_the_model_decodes_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(MODEL / "1" / "model.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(OUTPUTS)
    assert "uint8 (1, 296, 448, 3)" in lines[0]
