"""Wrong values are refused in test_config, each with its sentence; here is what is taken."""

from __future__ import annotations

import pytest

from distbench import parsing


@pytest.mark.parametrize(
    ("parse", "raw", "value"),
    [
        (parsing.whole_number(0), "0", 0),
        (parsing.whole_number(1), 7, 7),
        (parsing.number(0, 9), "2.5", 2.5),
        (parsing.number(0, 9), 9, 9.0),
        (parsing.one_of("a", "b"), "b", "b"),
        (parsing.image_size, "64", 64),
        (parsing.width_multiplier, "0.25", 0.25),
        (parsing.names_of("a", "b", "c"), "c,a", ("a", "c")),
        (parsing.names_of("a", "b", "c"), ["b"], ("b",)),
        (parsing.sizes, "8,1,2", (1, 2, 8)),
        (parsing.sizes, [4, 2], (2, 4)),
        (parsing.sizes, [], ()),
        (parsing.sizes, "auto", "auto"),
        (parsing.switch, "yes", True),
        (parsing.switch, False, False),
        (parsing.path, "results/a run", "results/a run"),
    ],
)
def test_what_is_taken(parse: parsing.Parser, raw: object, value: object) -> None:
    assert parse(raw) == value


@pytest.mark.parametrize("raw", [True, 1.0, "1.5", "-1", None])
def test_a_whole_number_is_one(raw: object) -> None:
    with pytest.raises(ValueError, match="a whole number of at least 0"):
        parsing.whole_number(0)(raw)


@pytest.mark.parametrize("raw", [True, "9.5", -1, "nan", "inf", None, [1], "x", 10**400])
def test_a_number_is_one_and_in_its_range(raw: object) -> None:
    with pytest.raises(ValueError, match="a number from 0 to 9"):
        parsing.number(0, 9)(raw)


def test_a_number_may_be_minus_one_for_what_others_decide() -> None:
    parse = parsing.number_or_minus_one(0, 8)
    assert [parse(raw) for raw in ("-1", -1, "0", 2.5, "8")] == [-1.0, -1.0, 0.0, 2.5, 8.0]
    for raw in ("-2", -0.5, 9, "x", True, None, "nan"):
        with pytest.raises(ValueError, match="a number from 0 to 8, or -1"):
            parse(raw)
