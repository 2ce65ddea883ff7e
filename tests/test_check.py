from __future__ import annotations

from distbench.analysis.check import Check, gravest_first


def test_the_gravest_comes_first_and_equals_keep_their_order() -> None:
    found = [
        Check("note", "a"),
        Check("invalid", "b"),
        Check("suspect", "c"),
        Check("invalid", "d"),
    ]
    assert [check.text for check in gravest_first(found)] == ["b", "d", "c", "a"]
