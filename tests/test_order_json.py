"""Orders as JSON and back. A wrong value is refused with the name of its field."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.orders import DECODE, ENCODE
from zvae_tiled import Exact, Stream, Tiles, plan
from zvae_tiled.errors import InputError
from zvae_tiled.order import MAX_CHARACTERS, Order
from zvae_tiled.order import run as carry_out
from zvae_tiled.planner.grid import RAMPS
from zvae_tiled.planner.quality import Statistics

texts = st.text(max_size=20)

paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)

amounts = st.sampled_from(["8GB", "500MB", "8", "60%", "1e9B"])

PLAN = plan("pixel-space", 8, 8, "1GB").to_json()

pairs = st.none() | st.integers(0, 1 << 20) | st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20))

qualities = (
    st.just(Exact())
    | st.just(Stream())
    | st.builds(Tiles, pairs, pairs, st.sampled_from(sorted(RAMPS)), st.sampled_from(get_args(Statistics)))
)

shared: dict[str, Any] = {
    **dict.fromkeys(("vae", "source", "target"), paths),
    "dtype": st.sampled_from(["bfloat16", "float32", "float16"]),
    **dict.fromkeys(("config", "spill_folder"), st.none() | paths),
    **dict.fromkeys(("budget", "disk_limit"), st.none() | amounts),
    "plan": st.none() | st.just(PLAN),
    "overwrite": st.booleans(),
}

previews = st.builds(
    Order,
    task=st.just("decode"),
    **shared | {"plan": st.none(), "disk_limit": st.none()},
    preview=st.just(True),
    tiny=st.none() | paths,
)

decodes = st.builds(
    Order,
    task=st.just("decode"),
    **shared,
    quality=qualities,
    tensor=st.none() | texts,
    layout=st.sampled_from([None, "NCHW", "NHWC"]),
    work=st.none() | paths,
    **dict.fromkeys(("height", "width"), st.none() | st.integers(1, (1 << 31) - 1)),
    bits=st.sampled_from([None, 8, 16, 32]),
    texts=st.booleans(),
    also=st.lists(paths, max_size=3).map(tuple),
)

encodes = st.builds(
    Order, task=st.just("encode"), **shared, crop=st.booleans(), sample=st.none() | st.integers(0, (1 << 64) - 1)
)


@given(decodes | encodes | previews)
def test_an_order_comes_back_from_json(order: Order) -> None:
    again = Order.from_json(order.to_json())
    assert again == order
    assert type(again.quality) is type(order.quality)
    assert json.loads(order.to_json())["task"] == order.task


def test_every_field_of_an_order_is_drawn() -> None:
    drawn = {
        *shared,
        "task",
        "quality",
        "tensor",
        "layout",
        "height",
        "width",
        "bits",
        "crop",
        "sample",
        "also",
        "texts",
        "work",
    }
    assert drawn | {"preview", "tiny"} == {field.name for field in fields(Order)}


def changed(order: Order, **values: Any) -> str:
    return json.dumps(json.loads(order.to_json()) | values)


WRONG = [
    ("task", "encode_all", 'must be "decode" or "encode"'),
    ("task", 7, "task must be text, it is 7"),
    ("vae", None, "vae must be text, it is None"),
    ("source", ["a.npy"], "source must be text"),
    ("target", {}, "target must be text"),
    ("also", "b.npy", "also must be a list of paths"),
    ("also", {}, "also must be a list of paths"),
    ("also", None, "also must be a list of paths"),
    ("also", ["b.npy", 3], "also must be a list of paths"),
    ("dtype", 1.5, "dtype must be text"),
    ("config", 3, "config must be text or null"),
    ("budget", 8.0, "budget must be text or null, it is 8.0"),
    ("plan", {"format": 2}, "plan must be text or null"),
    ("tensor", True, "tensor must be text or null"),
    ("layout", 1, "layout must be text or null"),
    ("spill_folder", [], "spill_folder must be text or null"),
    ("height", "64", "height must be a whole number or null, it is '64'"),
    ("width", 64.0, "width must be a whole number or null"),
    ("bits", True, "bits must be a whole number or null, it is True"),
    ("overwrite", 1, "overwrite must be true or false, it is 1"),
    ("overwrite", None, "overwrite must be true or false"),
    ("preview", 1, "preview must be true or false, it is 1"),
    ("tiny", 1, "tiny must be text or null, it is 1"),
    ("tiny", "taef1", "tiny has an effect on a preview only"),
    ("texts", 1, "texts must be true or false"),
    ("crop", "no", "crop must be true or false"),
    ("sample", 1.5, "sample must be a whole number or null"),
    ("budget", "lots", "an order's budget: a budget must be an amount of memory above 0, it is 'lots'"),
    ("disk_limit", "-1GB", "an order's disk_limit: disk_limit must be an amount of disk"),
    ("dtype", "float8", "an order's dtype must be one of float32, bfloat16, float16, it is 'float8'"),
    ("layout", "CHW", "an order's layout must be NCHW or NHWC, it is 'CHW'"),
    ("plan", "lots", "an order's plan: this is not a plan: it is no JSON"),
    ("bits", 12, "an order's bits must be 8, 16, 32, it is 12"),
    ("height", 0, "an order's height must be 1 to 2,147,483,647 pixels, it is 0"),
    ("sample", -1, "an order's sample"),
    ("source", "", "an order's source must be a path, it is ''"),
    ("target", "a\0b", "an order's target must be a path"),
    ("also", ["b.npy", ""], "also must be a"),
    ("spill_folder", "", "an order's spill_folder must be a path"),
    ("quality", "tiles", "quality must be an object with a name, it is 'tiles'"),
    ("quality", None, "quality must be an object"),
    ("quality", {"tile": 8}, "quality must have a name of exact, sampled, tiles, stream; it is None"),
    ("quality", {"name": "best"}, "it is 'best'"),
    ("quality", {"name": ["tiles"]}, "quality must have a name"),
    ("quality", {"name": "tiles", "tile": "large"}, "tile must be a whole number of pixels"),
    ("quality", {"name": "tiles", "size": 8}, "the quality tiles of an order has no field 'size'"),
    ("quality", {"name": "exact", "tile": 8}, "the quality exact of an order has no field 'tile'"),
    ("surprise", 1, "an order has no field 'surprise'"),
    ("budgets", "8GB", "an order has no field 'budgets'"),
]


@pytest.mark.parametrize(("field", "value", "reason"), WRONG)
def test_what_an_order_cannot_hold_is_refused_by_name(field: str, value: Any, reason: str) -> None:
    with pytest.raises(InputError) as refused:
        Order.from_json(changed(DECODE, **{field: value}))
    assert reason in refused.value.problem
    assert "Error" not in refused.value.problem
    if field not in ("quality", "surprise", "budgets", "sample"):
        with pytest.raises(InputError) as refused:
            carry_out(replace(DECODE, **{field: value}))  # before any file is opened
        assert reason in refused.value.problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "null",
        '"decode"',
        "{",
        "{}",
        "[" * 100_000,
        '{"task": "decode"}',
        '{"height": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="this is not an order") as refused:
        Order.from_json(text)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("key", ["task", "name"])
def test_an_order_that_says_something_twice_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=f"this is not an order: '{key}' appears more than once"):
        Order.from_json(DECODE.to_json().replace(f'"{key}":', f'"{key}": 1, "{key}":', 1))


def test_an_order_is_text_of_a_bounded_length() -> None:
    with pytest.raises(InputError, match="an order has at most 524,288 characters, this one has 524,289"):
        Order.from_json(" " * (MAX_CHARACTERS + 1))
    assert Order.from_json(changed(DECODE, tensor=" " * (MAX_CHARACTERS - 1_000))).source == "a.npy"
    for wrong in (None, 7, {"task": "decode"}):
        with pytest.raises(InputError, match="an order must be text"):
            Order.from_json(wrong)  # type: ignore[arg-type]


@given(st.dictionaries(st.sampled_from([field.name for field in fields(Order)]), st.none() | st.integers() | texts))
def test_any_values_give_an_order_or_an_input_error(values: dict[str, Any]) -> None:
    try:
        order = Order.from_json(changed(DECODE, **values))
    except InputError:
        return
    assert Order.from_json(order.to_json()) == order


@pytest.mark.parametrize(
    ("order", "idle"),
    [
        *((ENCODE, {name: "x"}) for name in ("tensor", "layout")),
        *((ENCODE, {name: 8}) for name in ("height", "width", "bits")),
        (ENCODE, {"quality": Tiles()}),
        (DECODE, {"crop": True}),
        (DECODE, {"sample": 0}),
    ],
)
def test_what_would_change_nothing_is_refused(order: Order, idle: dict[str, Any]) -> None:
    (name,) = idle
    with pytest.raises(InputError, match=f'{name} has no effect with task="{order.task}"'):
        replace(order, **idle).check()


@pytest.mark.parametrize("quality", ["tiles", None, Tiles])
def test_a_quality_is_a_value(quality: Any) -> None:
    with pytest.raises(InputError, match="quality must be Exact, Sampled, Tiles or Stream"):
        carry_out(replace(DECODE, quality=quality))
