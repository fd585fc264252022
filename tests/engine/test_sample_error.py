"""The error that a decode with sampled keys reports, against float64: of the map behind the attention, of the picture.

The map of a decode is taken where its rows leave the attention, so nothing of how the error is measured is believed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.engine.test_sampled import SMALL
from tests.support import float64
from tests.support.models import random_latents, random_vae
from zvae_tiled import VAE, Sampled
from zvae_tiled.engine.guard import Guard
from zvae_tiled.engine.places import asked_pixels, judges
from zvae_tiled.engine.sample_error import SampleError
from zvae_tiled.engine.sampled import Sampler
from zvae_tiled.report.report import Report

SIZES = [(17, 23), (1, 200), (200, 1)]


def in_sampled(vae: VAE, latents: np.ndarray, keys: int) -> SampleError:
    report: Report = vae.decode(latents, quality=Sampled(keys), return_report=True)[1]
    return report.sampled[0]


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The map behind each attention of float64, (height, width, channels)."""
    found, attention = list[np.ndarray](), float64._attention

    def noted(*given: Any) -> np.ndarray:
        found.append(attention(*given))
        return found[-1]

    monkeypatch.setattr(float64, "_attention", noted)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_the_error_of_the_map_is_the_one_at_the_test_queries(
    size: tuple[int, int], behind: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, latents, rows = random_vae(SMALL), random_latents(SMALL, *size), list[np.ndarray]()
    attend = Guard.attend

    def noted(self: Guard[Any], *given: Any) -> Any:
        result = attend(self, *given)
        rows.append(self._kernels.to_host(result))
        return result

    monkeypatch.setattr(Guard, "attend", noted)
    error = in_sampled(vae, latents, 100)
    float64.decode64(vae, latents)
    exact = behind[0].reshape(size[0] * size[1], -1)
    sampled = np.concatenate([each.reshape(-1, exact.shape[1]) for each in rows])[-len(exact) :]  # behind the crop's
    asked = asked_pixels(*size)
    tests = asked[judges(len(asked))]
    each = np.sqrt(np.square(sampled - exact)[tests].mean(axis=1) / np.square(exact[tests]).mean())
    assert error.queries == len(tests) == len({*tests})
    assert error.rms == pytest.approx(np.sqrt(np.square(each).mean()), rel=1e-3)
    assert error.largest == pytest.approx(each.max(), rel=1e-3)
    assert error.most == pytest.approx(np.quantile(each, 0.99, method="lower"), rel=1e-3)
    assert error.kept <= 100 < error.keys == len(exact)


@pytest.mark.parametrize("size", SIZES)
def test_a_sample_is_judged_by_queries_that_did_not_choose_it(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    weigher, answer = Guard.weigher, Sampler.answer
    chose, asked = set[bytes](), list[bytes]()

    def weighing(self: Guard[Any], probes: Any) -> Any:
        chose.update(each.tobytes() for each in probes.queries)
        return weigher(self, probes)

    def answering(self: Sampler[Any], *given: Any) -> None:
        answer(self, *given)
        asked.extend(each.tobytes() for each in self._exact.queries)

    monkeypatch.setattr(Guard, "weigher", weighing)
    monkeypatch.setattr(Sampler, "answer", answering)
    error = in_sampled(random_vae(SMALL), random_latents(SMALL, *size), 100)
    judged = {query for query, judge in zip(asked, judges(len(asked)), strict=True) if judge}
    assert len(judged) == error.queries
    assert judged.isdisjoint(chose)
    assert judged | chose == {*asked}


@pytest.mark.parametrize("seed", range(2))
def test_the_expected_psnr_is_the_one_of_noise_behind_the_attention(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """White noise on the whole map, where the package has noise on a crop's. Halves or doubles would be 6 dB."""
    vae, latents, attention = random_vae(SMALL, seed=seed), random_latents(SMALL, 40, 30, seed=seed), float64._attention
    error, rng = in_sampled(vae, latents, 100), np.random.default_rng(seed)

    def noisy(*given: Any) -> np.ndarray:
        found = attention(*given)
        return np.asarray(found + share * np.sqrt(np.square(found).mean()) * rng.standard_normal(found.shape))

    plain = np.clip(float64.decode64(vae, latents) / 2 + 0.5, 0, 1)
    monkeypatch.setattr(float64, "_attention", noisy)
    for share in (0.002, 0.05):
        noise = np.clip(float64.decode64(vae, latents) / 2 + 0.5, 0, 1) - plain
        expected = replace(error, rms=share).expected_psnr
        assert expected == pytest.approx(-10 * np.log10(np.square(noise).mean()), abs=2.5)
