"""Budgets: what people write, as bytes; everything else refused; and what the machine or its container has."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.samples import examples
from zvae_tiled import budget as module
from zvae_tiled.budget import SAFE_SHARE, UNITS, available_memory, parse_budget
from zvae_tiled.errors import InputError

GIB = 1 << 30


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("8GB", 8 * 1000**3),
        ("8 GB", 8 * 1000**3),
        ("  8gb\n", 8 * 1000**3),
        ("512MiB", 512 << 20),
        ("1.5gib", 3 << 29),
        ("100kB", 100_000),
        ("1TiB", 1 << 40),
        ("1e3 MB", 10**9),
        ("7B", 7),
        (".5KiB", 512),
        (8.0, 8 * 1000**3),
        (8, 8 * 1000**3),
        (0.25, 250_000_000),
        (1e-9, 1),
        (np.float64(2), 2 * 1000**3),
    ],
)
def test_amounts(value: Any, size: int) -> None:
    budget = parse_budget(value, available=5)
    assert budget.size == size
    assert budget.named
    assert repr(value) in budget.source


@given(st.integers(1, 10**6), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " ", "\t"]))
def test_every_unit_in_any_case(number: int, unit: str, space: str) -> None:
    for text in (f"{number}{space}{unit}", f"{number}{space}{unit.upper()}", f"{number:.1f}{unit}"):
        assert parse_budget(text, 0).size == number * UNITS[unit]


@given(st.integers(0, 1 << 50))
def test_nothing_named_is_a_safe_share_of_what_is_available(available: int) -> None:
    budget = parse_budget(None, available)
    assert budget.size == int(available * SAFE_SHARE) <= available
    assert not budget.named
    assert f"70% of {available:,} bytes" in budget.source


@given(st.floats(0.01, 100), st.integers(0, 1 << 50))
@example(60.0, 10 * GIB)
def test_a_percentage_is_of_what_is_available(percent: float, available: int) -> None:
    budget = parse_budget(f"{percent:.2f}%", available)
    assert abs(budget.size - available * percent / 100) <= 0.005 / 100 * available + 1
    assert budget.size <= available
    assert not budget.named


@pytest.mark.parametrize(
    "value",
    [
        *(0, 0.0, -1, -0.5, 1e-10, True, False, float("nan"), float("inf"), -float("inf"), 10**400, 1e300),
        *(
            "",
            " ",
            "8",
            "GB",
            "8GB 8GB",
            "8 G B",
            "-8GB",
            "+8GB",
            "0GB",
            "0.4B",
            "nan GB",
            "infGB",
            "1e999GB",
            "8.8.8GB",
        ),
        *(".GB", "8,5GB", "8 bytes", "8PB", "0%", "101%", "-5%", "60 percent", "%", "8GiBB", "٨GB", "1e400%", "10**9"),
        *(b"8GB", [], {}, (8,), object(), 8j, Decimal(8), np.array([8.0]), None.__class__),
    ],
)
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="must be an amount of memory above 0") as error:
        parse_budget(value, GIB)
    assert '"8GB"' in error.value.advice


@given(
    st.one_of(
        st.text(max_size=20), st.from_regex(r"\s*[0-9.e+\-]{1,8}\s*([kmgt]i?b|b|%)?\s*"), st.floats(), st.integers()
    )
)
@examples(500)
@example("1e99999999999999999999GB")
@example("9" * 5000 + "B")
@example("١GB")
def test_no_text_and_no_number_raises_anything_else(value: Any) -> None:
    try:
        budget = parse_budget(value, GIB)
    except InputError:
        return
    assert isinstance(budget.size, int)
    assert 0 <= budget.size <= 1 << 62
    assert budget.named == ("%" not in str(value))
    assert budget.size > 0 or not budget.named


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB free, no container, and a process of 1 GiB."""

    class Files(type(tmp_path)):  # type: ignore[misc]
        def __new__(cls, place: str) -> Any:
            return tmp_path / place.lstrip("/")

    monkeypatch.setattr(module, "Path", Files)
    memory = psutil.virtual_memory()._replace(available=8 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    size = psutil.Process().memory_info()._replace(rss=GIB)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: size)
    (tmp_path / "sys/fs/cgroup/memory").mkdir(parents=True)
    return tmp_path / "sys/fs/cgroup"


def test_outside_a_container_the_machine_counts(machine: Path) -> None:
    assert available_memory() == 8 * GIB


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(
    ("text", "available"),
    [
        (f"{3 * GIB}\n", 2 * GIB),  # less what the process has already
        (f"{GIB // 2}\n", 0),
        (f"{64 * GIB}\n", 8 * GIB),
        ("max\n", 8 * GIB),
        ("9223372036854771712\n", 8 * GIB),  # how version 1 says that there is none
        ("", 8 * GIB),
    ],
)
def test_a_container_can_have_less(machine: Path, file: str, text: str, available: int) -> None:
    (machine / file).write_text(text)
    assert available_memory() == available


def test_the_first_limit_that_is_there_counts(machine: Path) -> None:
    (machine / "memory.max").write_text(f"{2 * GIB}")
    (machine / "memory/memory.limit_in_bytes").write_text(f"{5 * GIB}")
    assert available_memory() == GIB


def test_this_machine_has_something() -> None:
    assert 0 < available_memory() <= psutil.virtual_memory().total
