"""Hostile plan files are refused with a PlanError, or read as a sound plan. No number in them costs memory or time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.planner.saved import QUALITIES, SAVED, TILES, edited, made, same
from tests.planner.tampering import changed, odd, paths
from tests.support.samples import examples
from zvae_tiled import read_plan
from zvae_tiled.errors import PlanError
from zvae_tiled.planner.files import FORMAT
from zvae_tiled.planner.quality import Quality

pytestmark = pytest.mark.usefixtures("small_proxies")

HUGE = [10**9, (1 << 31) - 1, 10**18, 10**400]

PLACES: list[tuple[str | int, ...]] = [
    ("case", "height"),
    ("case", "width"),
    ("case", "batch"),
    ("budget",),
    ("tile",),
    ("tile", 0),
    ("tile", 1),
    ("quality", "tile"),
    ("quality", "overlap"),
    ("stages", "pixels", "sweeps", 0, "rows"),
    ("stages", "pixels", "sweeps", 0, "start"),
    ("stages", "pixels", "sweeps", 0, "stop"),
    ("stages", "pixels", "sweeps", 0, "store"),
    *(
        ("case", "config", name)
        for name in ("in_channels", "out_channels", "latent_channels", "layers_per_block", "norm_num_groups")
    ),
    ("case", "config", "block_out_channels"),
    ("case", "config", "block_out_channels", 0),
    ("case", "config", "scaling_factor"),
]
"""Places of numbers in a file."""


@pytest.mark.parametrize("key", ["budget", "height"])
def test_a_plan_that_says_something_twice_is_refused(key: str) -> None:
    twice = SAVED["exact"].replace(f'"{key}":', f'"{key}": 1, "{key}":', 1)
    with pytest.raises(PlanError, match=f"this is not a plan: '{key}' appears more than once"):
        read_plan(twice)


def hostile() -> list[str]:
    """Every file with a huge number in one place of it, and in two."""
    found = []
    for quality in ("exact", str(TILES), str(QUALITIES[-1])):
        text = SAVED[quality]
        for number in HUGE:
            for place in PLACES:
                if place[:2] == ("quality", place[-1]) and quality == "exact":
                    continue
                for new in (number, [number, number]):
                    found.append(edited(text, *place, to=new))
                found.append(edited(edited(text, "case", "height", to=10**9), *place, to=number))
    both = ("case", "height"), ("case", "width")
    for side in (10**9, 1 << 14, (1 << 30) - 1):
        for text in SAVED.values():
            found.append(edited(edited(text, *both[0], to=side), *both[1], to=side))
    return found


@pytest.mark.parametrize("nth", [33, pytest.param(1, marks=pytest.mark.slow)])
def test_huge_numbers_in_a_file_are_refused_or_read_at_once(nth: int) -> None:
    """A plan of a few kB with a height of 10**9 once listed a billion tiles: it took 200 MB more each second."""
    code = (
        "import json, resource, sys\n"
        "from zvae_tiled import read_plan\n"
        "from zvae_tiled.errors import PlanError\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 28, 1 << 28))\n"  # a billion tiles take more
        "resource.setrlimit(resource.RLIMIT_CPU, (300, 300))\n"
        "for text in json.load(sys.stdin):\n"
        "    try:\n"
        "        made = read_plan(text)\n"
        "    except PlanError as error:\n"
        "        assert len(str(error)) < 1000\n"
        "        print('refused')\n"
        "    else:\n"
        "        print('read', bool(str(made)), made == read_plan(made.to_json()))\n"
    )
    texts = hostile()[::nth]
    child = subprocess.run([sys.executable, "-c", code], input=json.dumps(texts), capture_output=True, text=True)
    told = child.stdout.splitlines()
    assert len(told) == len(texts), child.stderr
    assert set(told) == {"refused", "read True True"}
    assert told.count("refused") > len(texts) // 2


def test_tiles_that_are_too_many_are_named() -> None:
    with pytest.raises(PlanError, match=r"2,000,000,000 pixels need 166,666,666 tiles of .*, the limit is 16,384"):
        read_plan(edited(SAVED[str(TILES)], "case", "height", to=10**9))


@given(st.data(), st.sampled_from(sorted(SAVED)), odd, st.sampled_from(["replace", "replace", "remove", "add"]))
@examples(250)
def test_a_plan_that_was_tampered_with_is_refused_or_still_a_plan(
    data: st.DataObject, which: str, new: Any, how: str
) -> None:
    values = json.loads(SAVED[which])
    path = data.draw(st.sampled_from(paths(values)))
    try:
        found = read_plan(json.dumps(changed(values, path, new, how)))
    except PlanError as error:
        assert "[plan]" in str(error)
        return
    assert same(read_plan(found.to_json()), found)
    assert found.predicted_flops >= 0
    assert found.predicted_seconds >= 0
    assert found.predicted_peak > 0
    assert found.expected_error


@given(st.data(), st.sampled_from(sorted(SAVED)), odd)
@examples(250)
def test_what_decides_about_pixels_is_in_the_digest(data: st.DataObject, which: str, new: Any) -> None:
    """A changed file that is still a plan has another digest, or executes the same sweeps."""
    values, want = json.loads(SAVED[which]), read_plan(SAVED[which])
    path = data.draw(st.sampled_from(paths(values)))
    try:
        found = read_plan(json.dumps(changed(values, path, new, "replace")))
    except PlanError:
        return
    if found.digest == want.digest:
        assert [sweep.executed for sweep in found.sweeps] == [sweep.executed for sweep in want.sweeps]
        assert (found.quality, found.grid, found.factors) == (want.quality, want.grid, want.factors)
        assert found.case.config == want.case.config


@given(st.one_of(st.text(), st.integers(0, len(SAVED["exact"]) - 1).map(lambda count: SAVED["exact"][:count])))
@example("[" * 100_000)
@example('{"a":' * 40_000)
@example("1" * 10_000)
@example("null")
@example("[]")
@example('{"format": 2}')
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="plan") as error:
        read_plan(text)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("value", [None, 5, {"format": FORMAT}, made("exact")], ids=lambda value: type(value).__name__)
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(PlanError, match="text"):
        read_plan(value)


@pytest.mark.parametrize("found", [1, 99, "2", None, 10**400])
def test_another_format_is_named(found: Any) -> None:
    with pytest.raises(PlanError, match=f"has format .*, this version reads {FORMAT}"):
        read_plan(edited(SAVED["exact"], "format", to=found))


def without_last_sweep(stage: dict[str, Any]) -> dict[str, Any]:
    return {**stage, "sweeps": stage["sweeps"][:-1]}


def test_stages_that_are_not_those_of_the_quality_are_refused() -> None:
    tiles, exact, alone = (json.loads(SAVED[which]) for which in (str(TILES), "exact", str(QUALITIES[-1])))
    stages = tiles["stages"]
    for values, given_ in (
        (tiles, exact["stages"]),
        (tiles, {name: stages[name] for name in ("middle", "pixels")}),
        (tiles, {**stages, "more": stages["pixels"]}),
        (tiles, {}),
        (exact, stages),
        (alone, {"pixels": alone["stages"]["pixels"], "middle": stages["middle"]}),
        (exact, {"Pixels": exact["stages"]["pixels"]}),
    ):
        with pytest.raises(PlanError, match=r"this one has others|cannot be kept in"):
            read_plan(json.dumps({**values, "stages": given_}))
    for name in stages:  # each stage is checked, and has its own sweeps
        with pytest.raises(PlanError, match=r"ends before its sweep|is not kept"):
            read_plan(json.dumps({**tiles, "stages": {**stages, name: without_last_sweep(stages[name])}}))
        for other in stages.keys() - {name}:
            with pytest.raises(PlanError):
                read_plan(json.dumps({**tiles, "stages": {**stages, name: stages[other]}}))


@pytest.mark.parametrize("keeps", [None, "tape", [], {}, 1])
def test_a_middle_map_that_is_not_kept_is_refused(keeps: Any) -> None:
    with pytest.raises(PlanError, match="kept"):
        read_plan(edited(SAVED[str(TILES)], "stages", "middle", "keeps", to=keeps))
    last = json.loads(SAVED[str(TILES)])["stages"]["middle"]["sweeps"][-1]
    dropped = {**last, "store": None, "medium": None}
    number = len(json.loads(SAVED[str(TILES)])["stages"]["middle"]["sweeps"]) - 1
    with pytest.raises(PlanError, match="the map at the end of the stage 'middle' is not kept"):
        read_plan(edited(SAVED[str(TILES)], "stages", "middle", "sweeps", number, to=dropped))


@pytest.mark.parametrize(
    ("quality", "path", "new", "reason"),
    [
        (TILES, ("quality", "tile"), [21, 20], "tile must be a multiple of 2"),
        (TILES, ("quality", "overlap"), [8, 20], "does not fit into a tile"),
        (TILES, ("quality", "ramp"), "square", "ramp must be one of"),
        (TILES, ("quality", "moments"), "batch", "moments must be one of"),
        (TILES, ("quality", "name"), "stream", "not a plan"),
        (TILES, ("quality", "name"), "fast", "not a plan"),
        (TILES, ("quality", "moments"), "tile", r"cannot be kept in|others"),
        (TILES, ("tile",), [9, 10], "tiles do not match its quality"),
        ("stream", ("tile",), [9, 10], "tiles do not match its quality"),
        (TILES, ("tile",), [10], "tile must be rows and columns of latents"),
        (TILES, ("tile",), [10.0, 10], "tile must be rows and columns of latents"),
        ("tiles", ("tile",), [0, 10], "tile must be rows and columns of latents"),
        ("exact", ("case", "dtype"), "int8", "dtype must be one of"),
        ("exact", ("case", "output"), "tape", "output must be one of"),
        ("exact", ("case", "task"), "upscale", "task must be one of"),
        ("exact", ("case", "task"), "encode", "is not the next one needed"),
        (TILES, ("case", "task"), "encode", 'quality="tiles" is for task="decode"'),
        ("exact", ("case", "device"), "tpu", "device must be one of"),
        ("exact", ("case", "device"), "cpu/" + "x" * 99, "device must be one of"),
        ("exact", ("case", "batch"), 0, "batch must be a whole number"),
        ("exact", ("case", "height"), True, "height must be"),
        ("exact", ("case", "height"), 7, "its map has fewer"),
        ("exact", ("budget",), -1, "budget must be a whole number of bytes"),
        ("exact", ("budget",), 0.5, "budget must be a whole number of bytes"),
        ("exact", ("case", "config", "layers_per_block"), 2, "is not the next one needed"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(
    quality: str | Quality, path: tuple[str, ...], new: Any, reason: str
) -> None:
    with pytest.raises(PlanError, match=reason):
        read_plan(edited(SAVED[str(quality)], *path, to=new))
