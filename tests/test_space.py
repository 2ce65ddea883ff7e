from __future__ import annotations

import pytest

from distbench.tune.space import (
    Axis,
    Space,
    best_combinations,
    changed_levels,
    level_text,
    predicted,
)
from tests.tune_fakes import space_of


def test_choices_of_a_space() -> None:
    space = space_of(2, 3)
    assert (space.count, space.default) == (6, (0, 0))
    assert space.product()[0] == (0, 0)
    assert len(set(space.product())) == 6
    assert space.single_changes((0, 0)) == [(1, 0), (0, 1), (0, 2)]
    assert space.single_changes((1, 2)) == [(0, 2), (1, 0), (1, 1)]
    assert [(axis.name, level) for axis, level in space.differences((1, 2), (0, 2))] == [("a", 1)]
    assert [(axis.name, level) for axis, level, _ in changed_levels(space, (0, 0))] == [
        ("a", 1),
        ("b", 1),
        ("b", 2),
    ]


def test_the_best_combinations_come_first() -> None:
    levels = [{0: 0.0, 1: 0.1}, {0: 0.0, 2: 0.3, 3: -0.2}]
    assert best_combinations(levels, 3) == [(1, 2), (0, 2), (1, 0)]
    assert best_combinations(levels, 2, without=[(1, 2)]) == [(0, 2), (1, 0)]
    assert predicted(levels, (1, 2)) == pytest.approx(0.4)


def test_a_space_that_is_too_large_is_not_gone_through() -> None:
    levels = [{level: float(-level) for level in range(20)} for _ in range(12)]
    assert best_combinations(levels, 2)[0] == (0,) * 12


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "as ever"), (True, "true"), (False, "false"), ((1, 2), "1,2"), (0.5, "0.5")],
)
def test_levels_in_words(value: object, text: str) -> None:
    assert level_text(value, Axis("a", (value,), unset="as ever")) == text


def test_an_empty_space_has_one_choice() -> None:
    assert (Space(()).count, Space(()).product()) == (1, [()])
