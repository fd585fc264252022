"""What the default run tries of a long table."""

from __future__ import annotations

from itertools import product

from tests.support.samples import spread


def test_a_sample_has_every_value_if_so_many_cases_can() -> None:
    """Of 2 × 2 × 3 cases each sixth, and each fourth, would have one value of the last axes."""
    cases = [[f"a{a}", f"b{b}", f"c{c}"] for a, b, c in product(range(2), range(2), range(3))]
    for nth, want in ((1, 12), (4, 3), (5, 3), (6, 2), (100, 1)):
        kept = spread(cases, nth)
        assert len(kept) == want
        values = {value for number in kept for value in cases[number]}
        assert len(values) == min(2, want) + min(2, want) + min(3, want)


def test_a_sample_of_one_axis_is_every_nth_case() -> None:
    assert spread([[number] for number in range(7)], 3) == {0, 3, 6}
    assert spread([[], [], [], []], 2) == {0, 2}
