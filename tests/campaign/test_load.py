"""The load of a Triton server: who asks for what, and that other bytes, a missing refusal and growth are found."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.campaign import asked
from tests.campaign.held import WARM, Rounds
from tests.campaign.part import Case
from tests.campaign.rows import load

HELD = {"memory": 200 << 20, "descriptors": 80, "threads": 160}


class Asked:
    """A client that answers by itself, and tells what it was asked for and by which thread."""

    refuses = True

    def __init__(self, server: Any, protocol: str) -> None:
        """Connect to nothing."""
        self.protocol, self.told = protocol, server

    def refusal(self, model: str, map: np.ndarray) -> tuple[str, str]:
        assert np.isnan(map).all()
        return "400" if self.refuses else "500", ""

    def ask(self, model: str, output: str, **arrays: np.ndarray) -> np.ndarray:
        self.told.append((self.protocol, model, output, sorted(arrays), threading.current_thread()))
        return np.array([1, 2], np.uint8)

    def parts(self, model: str, output: str, **arrays: np.ndarray) -> list[np.ndarray]:
        axis = asked.AXES[output]
        return [self.ask(model, output, **arrays)[:1].reshape((1,) * (axis + 1)) for _ in range(2)]


def test_each_client_asks_for_its_share_in_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "Client", Asked)
    told: list[Any] = []
    clients, requests = asked.Clients(told), asked.REQUESTS[:12]
    found = dict(clients.ask(requests))
    assert found == {request: b"\1\1" if number % 3 == 2 else b"\1\2" for number, request in enumerate(requests)}
    assert len({thread for *_, thread in told}) == len(asked.DOORS)
    assert {words[:2] for words in told} == {("http", "whole"), ("grpc", "whole"), ("grpc", "rows")}
    assert {output for _, _, output, *_ in told} == set(asked.AXES)
    monkeypatch.setattr(Asked, "refuses", False)
    with pytest.raises(AssertionError, match="500"):
        clients.ask(requests)


def test_other_bytes_and_growth_of_a_server_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    holds = dict(HELD)
    server = SimpleNamespace(held=lambda: dict(holds))
    clients = SimpleNamespace(ask=lambda requests: [(each, b"right") for each in requests])
    monkeypatch.setattr(load, "_server", Rounds())
    monkeypatch.setattr(load, "serving", lambda: (server, clients))
    monkeypatch.setattr(load, "expected", lambda _: b"right")
    case = Case(0, Random(0), tmp_path)
    assert [load.asked(case) for _ in range(WARM + 1)] == [24] * (WARM + 1)
    holds["descriptors"] += 2
    with pytest.raises(AssertionError, match="holds 82 descriptors"):
        load.asked(case)
    clients.ask = lambda requests: [(each, b"wrong") for each in requests]
    with pytest.raises(AssertionError, match="not that of a decode"):
        load.asked(case)
