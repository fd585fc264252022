"""Budgets: text and numbers as bytes, everything else refused; and the memory of the machine or its container."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.groups import MadeUp, write
from tests.support.samples import examples
from zvae_tiled.devices import here
from zvae_tiled.errors import InputError
from zvae_tiled.planner.budget import MOST_GB, Available, available_memory, machine_memory, parse_budget

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
        ("8", 8 * 1000**3),
        ("0.5", 500_000_000),
        ("8G", 8 * 1000**3),
        ("500m", 500_000_000),
        (".5KiB", 512),
        (8.0, 8 * 1000**3),
        (8, 8 * 1000**3),
        (0.25, 250_000_000),
        (1e-9, 1),
        (np.float64(2), 2 * 1000**3),
    ],
)
def test_amounts(value: Any, size: int) -> None:
    budget = parse_budget(value, Available(5))
    assert budget.size == size
    assert repr(value) in budget.source or budget.source == "set in bytes"


@given(st.integers(1, 10**6), st.sampled_from(["", "i"]), st.sampled_from(["", " ", "\t"]))
def test_every_unit_in_any_case_is_so_many_of_the_one_before(number: int, binary: str, space: str) -> None:
    units = ["B", *(f"{prefix}{binary}B" for prefix in "kMGT")]
    for smaller, unit in pairwise(units):
        size = parse_budget(f"{number * (1024 if binary else 1000)}{smaller}", Available(0)).size
        for text in (f"{number}{space}{unit}", f"{number}{space}{unit.lower()}", f"{number:.1f}{unit.upper()}"):
            assert parse_budget(text, Available(0)).size == size
    assert parse_budget(f"{number}B", Available(0)).size == number


@given(st.integers(0, 1 << 50))
def test_without_a_budget_it_is_the_share_of_what_is_available_that_its_source_names(available: int) -> None:
    budget = parse_budget(None, Available(available))
    share, _, _ = budget.source.partition(" of ")
    assert abs(budget.size - parse_budget(share, Available(available)).size) <= 1
    assert budget.size < available or available <= 1, "other programs grow too"


@given(st.floats(0.01, 100), st.integers(0, 1 << 50))
@example(60.0, 10 * GIB)
def test_a_percentage_is_of_what_is_available(percent: float, available: int) -> None:
    budget = parse_budget(f"{percent:.2f}%", Available(available))
    assert abs(budget.size - available * percent / 100) <= 0.005 / 100 * available + 1
    assert budget.size <= available


@pytest.mark.parametrize(
    ("value", "available", "source"),
    [
        (None, Available(210 * 10**6, "a limit"), "70% of 210 MB available (a limit)"),
        (None, Available(24_800_000_000), "70% of 24.8 GB available"),
        ("60%", Available(999_999_999), "60% of 1,000 MB available"),
        ("0.5%", Available(0), "0.5% of 0 MB available"),
        ("8GB", Available(0, "a limit"), "set as '8GB'"),
        ("5000000B", Available(0, "a limit"), "set in bytes"),
    ],
)
def test_a_budget_says_where_it_comes_from(value: Any, available: Available, source: str) -> None:
    assert parse_budget(value, available).source == source


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (8_000_000_000, "did you mean 8 (GB), or '8000000000B'?"),
        (8e9, "did you mean 8 (GB), or '8000000000B'?"),
        ("8000000000", "did you mean 8 (GB), or '8000000000B'?"),
        (np.int64(8 * GIB), "did you mean 8.589934592 (GB), or '8589934592B'?"),
        (1_000_000, "did you mean 0.001 (GB), or '1000000B'?"),
    ],
)
def test_a_number_of_bytes_is_refused(value: Any, meant: str) -> None:
    with pytest.raises(InputError, match=re.escape(meant)):
        parse_budget(value, Available(GIB))


@given(st.integers(MOST_GB, 10**15 - 1))
def test_what_the_refusal_proposes_is_a_budget_of_as_many_bytes(value: int) -> None:
    with pytest.raises(InputError, match="no machine has") as refused:
        parse_budget(value, Available(GIB))
    proposed = re.search(r"mean ([^ ]+) \(GB\), or '(.*)'", str(refused.value))
    assert proposed is not None
    assert parse_budget(proposed[2], Available(0)).size == value
    assert abs(float(proposed[1]) * 1e9 - value) <= 1e-9 * value


@pytest.mark.parametrize(("value", "gigabytes"), [(512, 512), (999_999, 999_999), ("8000000GB", 8_000_000)])
def test_a_plan_may_be_for_a_larger_machine(value: Any, gigabytes: int) -> None:
    assert parse_budget(value, Available(GIB)).size == gigabytes * 10**9


@pytest.mark.parametrize(
    "value",
    [
        *(
            0,
            0.0,
            -1,
            -0.5,
            1e-10,
            True,
            False,
            float("nan"),
            float("inf"),
            -float("inf"),
            10**400,
            pytest.param(10**5000, id="huge"),
            pytest.param(-(10**5000), id="far below"),
            pytest.param(Fraction(10**5000), id="fraction"),
            1e300,
        ),
        *(
            "",
            " ",
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
        parse_budget(value, Available(GIB))
    assert '"8GB"' in error.value.advice


@given(
    st.one_of(
        st.text(max_size=20), st.from_regex(r"\s*[0-9.e+\-]{1,8}\s*([kmgt]i?b?|b|%)?\s*"), st.floats(), st.integers()
    )
)
@examples(500)
@example("1e99999999999999999999GB")
@example("9" * 5000 + "B")
@example("١GB")
def test_no_text_and_no_number_raises_anything_else(value: Any) -> None:
    try:
        budget = parse_budget(value, Available(GIB))
    except InputError:
        return
    assert isinstance(budget.size, int)
    assert 0 <= budget.size <= 1 << 62
    assert budget.size > 0 or "%" in str(value)


def test_a_container_has_less_than_the_machine(tmp_path: Path) -> None:
    machine = available_memory(tmp_path / "no groups")
    groups = MadeUp(tmp_path)
    write(groups.version_2("/a") / "a", memory_max=1000, memory_current=300)
    assert available_memory(groups.proc) == Available(700, "memory limit of this container")
    assert 700 < machine.size <= psutil.virtual_memory().total
    assert machine.limit == ""


def test_all_memory_of_the_machine_is_also_what_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=1000, available=10))
    assert machine_memory(tmp_path / "no groups") == Available(1000)
    groups = MadeUp(tmp_path)
    group = groups.version_2("/a") / "a"
    for limit, memory in ((1000, Available(1000)), (999, Available(999, "memory limit of this container"))):
        write(group, memory_max=limit, memory_current=950)
        assert machine_memory(groups.proc) == memory


def test_a_limit_above_the_memory_of_the_machine_changes_nothing(tmp_path: Path) -> None:
    groups = MadeUp(tmp_path)
    write(groups.version_1("/a") / "a", memory_limit_in_bytes=1 << 59, memory_usage_in_bytes=300)
    available = available_memory(groups.proc)
    assert available.size <= psutil.virtual_memory().total
    assert available.limit == ""


def test_this_machine_has_something() -> None:
    assert 0 < available_memory().size <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("kind", "limit", "least"),
    [("metal", 1 << 60, "machine"), ("metal", 1000, "GPU"), ("cuda", 1 << 60, "GPU"), ("cuda", 1000, "GPU")],
)
def test_a_gpu_has_memory_of_its_own_or_the_machines(
    monkeypatch: pytest.MonkeyPatch, kind: str, limit: int, least: str
) -> None:
    in_use = mx.get_active_memory()
    monkeypatch.setattr(here, "device_kind", lambda: kind)
    monkeypatch.setattr(here, "working_set_limit", lambda: in_use + limit)
    usable = here.available(weights=10)
    if least == "GPU":
        assert usable == Available(limit + 10)
    else:
        assert 10 < usable.size <= psutil.virtual_memory().total + 10
