"""Orders as JSON and back. A wrong value is refused with the name of its field."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.orders import DECODE, ENCODE
from zvae_tiled import Exact, Stream, Tiles
from zvae_tiled.errors import InputError
from zvae_tiled.order import MAX_CHARACTERS, Order
from zvae_tiled.order import run as carry_out
from zvae_tiled.planner.grid import RAMPS
from zvae_tiled.planner.quality import Statistics

texts = st.text(max_size=20)

numbers = st.integers(-(1 << 70), 1 << 70)

pairs = st.none() | st.integers(0, 1 << 20) | st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20))

qualities = (
    st.just(Exact())
    | st.just(Stream())
    | st.builds(Tiles, pairs, pairs, st.sampled_from(sorted(RAMPS)), st.sampled_from(get_args(Statistics)))
)

shared: dict[str, Any] = {
    **dict.fromkeys(("vae", "source", "target", "dtype"), texts),
    **dict.fromkeys(("config", "budget", "plan", "spill_folder", "disk_limit"), st.none() | texts),
    "overwrite": st.booleans(),
}

previews = st.builds(
    Order,
    task=st.just("decode"),
    **shared | {"plan": st.none(), "disk_limit": st.none()},
    preview=st.just(True),
    tiny=st.none() | texts,
)

decodes = st.builds(
    Order,
    task=st.just("decode"),
    **shared,
    quality=qualities,
    **dict.fromkeys(("tensor", "layout", "work"), st.none() | texts),
    **dict.fromkeys(("height", "width", "bits"), st.none() | numbers),
    texts=st.booleans(),
    also=st.lists(texts, max_size=3).map(tuple),
)

encodes = st.builds(Order, task=st.just("encode"), **shared, crop=st.booleans(), sample=st.none() | numbers)


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
    ("quality", "tiles", "this is not an order"),
    ("quality", None, "this is not an order"),
    ("quality", {"tile": 8}, "this is not an order: KeyError: 'name'"),
    ("quality", {"name": "best"}, "this is not an order: KeyError: 'best'"),
    ("quality", {"name": ["tiles"]}, "this is not an order"),
    ("quality", {"name": "tiles", "tile": "large"}, "tile must be a whole number of pixels"),
    ("quality", {"name": "tiles", "size": 8}, "this is not an order"),
    ("quality", {"name": "exact", "tile": 8}, "this is not an order"),
    ("surprise", 1, "this is not an order"),
]


@pytest.mark.parametrize(("field", "value", "reason"), WRONG)
def test_what_an_order_cannot_hold_is_refused_by_name(field: str, value: Any, reason: str) -> None:
    with pytest.raises(InputError) as refused:
        Order.from_json(changed(DECODE, **{field: value}))
    assert reason in refused.value.problem
    if field not in ("quality", "surprise"):
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


def test_an_order_is_text_of_a_bounded_length() -> None:
    with pytest.raises(InputError, match="an order has at most 524,288 characters, this one has 524,289"):
        Order.from_json(" " * (MAX_CHARACTERS + 1))
    assert Order.from_json(changed(DECODE, plan=" " * (MAX_CHARACTERS - 1_000))).source == "a.npy"
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
