"""Errors are the same after they were sent to another process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from zvae_tiled.errors import BudgetError, MissingFolderError, ZvaeError


def tree(root: type[ZvaeError] = ZvaeError) -> Iterator[type[ZvaeError]]:
    yield root
    for each in root.__subclasses__():
        yield from tree(each)


@pytest.mark.parametrize("kind", sorted(set(tree()), key=str))
def test_an_error_keeps_its_text_and_its_parts_when_it_is_pickled_or_copied(kind: type[ZvaeError]) -> None:
    error = kind("a problem\nin two lines", "advice")
    error.add_note("latents are kept")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)
    assert str(pickle.loads(pickle.dumps(error)).about("a.npy")) == str(error.about("a.npy"))


def test_what_an_error_says_beside_its_text_is_kept_too() -> None:
    assert pickle.loads(pickle.dumps(BudgetError("too small", needed=7))).needed == 7
    assert pickle.loads(pickle.dumps(MissingFolderError("no folder", folder="there"))).folder == "there"
