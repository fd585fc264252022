"""Saved plans with something replaced, removed or added."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def paths(value: Any) -> list[tuple[Any, ...]]:
    """The place of every value in parsed JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, each in inside for rest in paths(each))]


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**9, 10**30, -(10**400), float("inf"), float("nan"), 0.0, 0.5, 3.0, 1e300]),
    st.sampled_from(["ram", "disk", "moments", "pixels", "keys", "", "1", "float32", "cuda", "rows"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=1),
)


def changed(value: Any, path: tuple[Any, ...], new: Any, how: str) -> Any:
    """Replace, remove or add something at one place."""
    if not path:
        return new
    if len(path) == 1 and how == "remove":
        del value[path[0]]
    elif len(path) == 1 and how == "add":
        value.insert(path[0], new) if isinstance(value, list) else value.update({f"{path[0]}_": new})
    else:
        value[path[0]] = changed(value[path[0]], path[1:], new, how)
    return value
