"""A real server: every type of latents in, every kind of picture out, by HTTP and gRPC; all families; refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import zvae_tiled
from tests.serving.client import TYPES, Client
from tests.serving.models import FAMILIES, FLUX
from tests.serving.server import Server
from tests.serving.test_service import opened
from tests.support.models import pack, pipelines, random_latents, random_tensors, random_vae, torch_shapes
from zvae_tiled import BudgetError, ZvaeError

pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
VAE = zvae_tiled.VAE.from_state_dict(random_tensors(torch_shapes(FLUX)), FLUX, "float32")
LATENTS = random_latents(FLUX, 8, 12)
SIZE = np.array([[64, 96]])


def levels(latents: np.ndarray) -> np.ndarray:
    """The picture that the server must send, decoded here."""
    return np.array(VAE.decode(latents, dtype="uint8", budget="1GB"))


@pytest.mark.parametrize("end", TYPES)
@pytest.mark.parametrize("name", ["latents", "map"])
def test_every_type_in_and_every_kind_out(client: Client, name: str, end: str) -> None:
    rounded = LATENTS.astype(TYPES[end][1])
    arrays = {name + end: pack(rounded), "size": SIZE} if name == "latents" else {name + end: rounded}
    wanted = levels(rounded)
    assert wanted.std() > 20
    assert np.array_equal(client.ask("flux", "images", **arrays), wanted)
    assert np.array_equal(opened(client.ask("flux", "png", **arrays)), wanted)
    floats = np.array(VAE.decode(rounded, layout="NCHW", budget="1GB"))
    assert np.array_equal(client.ask("flux", "floats", **arrays), floats)


def test_a_request_without_a_name_gets_the_config_s_output(client: Client) -> None:
    found = client.client.infer("pngs", client.inputs(map=LATENTS))
    assert np.array_equal(opened(found.as_numpy("png")), levels(LATENTS))


def test_several_pictures_of_one_request(client: Client) -> None:
    latents = random_latents(FLUX, 4, 6, batch=3)
    size = np.array([[32, 48]] * 3)
    assert np.array_equal(client.ask("flux", latents=pack(latents), size=size), levels(latents))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(server: Server, family: str) -> None:
    vae = random_vae(FAMILIES[family])
    latents = pipelines(vae.config, 4, 6, batch=1, seed=1)
    wanted = np.array(vae.decode(latents, dtype="uint8"))
    assert np.array_equal(Client(server, "http").ask(family, map=latents), wanted)


def test_wrong_requests_get_the_library_s_message(client: Client) -> None:
    code = {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}[client.library.__name__.rpartition(".")[2]]
    wrong: list[np.ndarray] = [LATENTS * np.nan, LATENTS[:, :3], LATENTS[:, :, :0], np.zeros((1, 16, 0, 0))]
    for latents in wrong:
        with pytest.raises(ZvaeError) as refused:
            VAE.decode(latents.astype(np.float32))
        assert client.refusal("flux", map=latents) == (code, str(refused.value))
    for arrays, message in (
        ({"latents": pack(LATENTS)}, "Send the input size"),
        ({"latents": pack(LATENTS), "size": SIZE * 0}, "height is 0"),
        ({"latents": pack(LATENTS), "size": SIZE * -1}, "height is -64"),
        ({"latents": pack(LATENTS), "size": SIZE * 10**7}, "need the picture's|have the shape|whole pixels"),
        ({"latents": pack(LATENTS), "size": SIZE[:, ::-1] * 2}, "have the shape"),
        ({"map": LATENTS, "size": SIZE * 2}, "size is"),
        ({"map": LATENTS, "latents": pack(LATENTS)}, "one input of latents"),
        ({"size": SIZE}, "one input of latents"),
    ):
        status, found = client.refusal("flux", **arrays)
        assert status == code
        assert any(part in found for part in message.split("|")), found
    assert client.refusal("flux", ["png", "floats"], map=LATENTS)[0] == code
    assert np.array_equal(client.ask("flux", map=LATENTS), levels(LATENTS)), "it still answers"


def test_a_budget_too_small_names_one_that_works(client: Client) -> None:
    large = random_latents(FLUX, 128, 128)
    with pytest.raises(BudgetError) as refused:
        VAE.decode(large, dtype="uint8", budget="2MB")
    status, message = client.refusal("tight", map=large)
    assert status in ("503", "StatusCode.UNAVAILABLE")
    assert "[plan]" in message
    needed = int(message.rpartition("works: ")[2].split()[0])
    assert VAE.decode(large, dtype="uint8", budget=f"{needed}B").shape == (1, 1024, 1024, 3)
    assert "[plan]" in str(refused.value)


def test_rows_are_sent_as_they_are_finished(server: Server) -> None:
    latents = random_latents(FLUX, 96, 96)
    for output, axis in (("images", 1), ("floats", 2), ("png", 1)):
        parts = Client(server, "grpc").parts("rows", output, map=latents)
        assert len(parts) > 1
        peaks = [server.metric(f"zvae_{kind}_peak_bytes", model="rows") for kind in ("measured", "predicted")]
        assert VAE.weight_bytes + latents.nbytes < peaks[0] <= peaks[1]
        joined = np.concatenate(parts, axis)
        if output == "floats":
            assert np.array_equal(joined, np.array(VAE.decode(latents, layout="NCHW", budget="1GB")))
        else:
            assert np.array_equal(opened(joined) if output == "png" else joined, levels(latents))


def test_sizes_from_512_to_2048_in_one_load(server: Server) -> None:
    sides = [(64, 64), (128, 128), (64, 128), (256, 256), (64, 64), (128, 64), (128, 128), (32, 96)]
    maps = [random_latents(FLUX, *side, seed=number) for number, side in enumerate(sides)]

    def ask(number: int) -> np.ndarray:
        height, width = sides[number]
        client = Client(server, "http" if number % 2 else "grpc")
        size = np.array([[8 * height, 8 * width]])
        return client.ask("two" if number % 3 else "flux", latents=pack(maps[number]), size=size)

    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(ask, range(len(sides)))):
            assert np.array_equal(found, levels(maps[number])), sides[number]


def test_health_and_metrics(server: Server) -> None:
    client = Client(server, "http")
    assert server.get(server.http, "v2/health/live") is not None
    assert client.client.is_model_ready("flux")
    names = {"zvae_decodes": 2, "zvae_decode_seconds": 0, "zvae_refusals": 1}
    before = {name: server.metric(name, model="flux") for name in names}
    for _ in range(2):
        client.ask("flux", map=LATENTS)
    client.refusal("flux", map=LATENTS * np.inf)
    after = {name: server.metric(name, model="flux") for name in names}
    assert after["zvae_decodes"] - before["zvae_decodes"] == 2
    assert after["zvae_refusals"] - before["zvae_refusals"] == 1
    assert after["zvae_decode_seconds"] > before["zvae_decode_seconds"]
    report = VAE.decode(LATENTS, dtype="uint8", budget="1GB", return_report=True)[1]
    assert server.metric("zvae_predicted_peak_bytes", model="flux") == report.predicted_peak
    assert 0 < server.metric("zvae_measured_peak_bytes", model="flux") <= report.predicted_peak
