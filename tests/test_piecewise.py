from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from distbench.worker import piecewise

tf = pytest.importorskip("tensorflow")


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piecewise, "PIECE_ELEMENTS", 8)


def drawn(*shape: int, seed: int = 0) -> Any:
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


@pytest.mark.parametrize("shape", [(1,), (8,), (3, 5), (2, 2, 4), (17,)])
def test_pieces_are_all_elements_in_order(shape: tuple[int, ...]) -> None:
    tensor = drawn(*shape)
    found = list(piecewise.pieces(tensor))
    assert [len(piece) for piece in found[:-1]] == [8] * (len(found) - 1)
    np.testing.assert_array_equal(tf.concat(found, 0), tf.reshape(tensor, [-1]))


@pytest.mark.parametrize("shape", [(1,), (3, 5), (17,)])
def test_sums_are_those_of_the_whole(shape: tuple[int, ...]) -> None:
    one, other = drawn(*shape), drawn(*shape, seed=1)
    a, b = (np.asarray(tensor, np.float64) for tensor in (one, other))
    assert piecewise.products(one, other) == pytest.approx(
        ((a * b).sum(), (a * a).sum(), (b * b).sum()), rel=1e-5
    )
    assert piecewise.squares(one, other) == pytest.approx(
        (((a - b) ** 2).sum(), (b * b).sum()), rel=1e-5
    )


def test_the_largest_difference_to_what_repeats() -> None:
    repeated = tf.range(8, dtype=tf.float32)
    tensor = tf.Variable(tf.tile(repeated, [3])[:21])
    assert piecewise.largest_difference(tensor, repeated) == 0
    tensor[19].assign(tensor[19] - 0.5)
    assert piecewise.largest_difference(tensor, repeated) == 0.5
    assert piecewise.largest_difference(tf.constant([1.0, 4.0]), repeated[:2]) == 3.0


@pytest.mark.parametrize("place", [0, 9, 20])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_found_anywhere(place: int, value: float) -> None:
    tensor = tf.Variable(tf.zeros([3, 7]))
    assert piecewise.is_finite(tensor)
    tensor[place // 7, place % 7].assign(value)
    assert not piecewise.is_finite(tensor)
    assert not piecewise.largest_difference(tensor, tf.zeros([8])) <= 1e30


def test_a_fingerprint_changes_with_any_bit_and_with_the_order() -> None:
    values = [drawn(3, 7), drawn(5, seed=1)]
    first = piecewise.fingerprint(values)
    assert first == piecewise.fingerprint([tf.identity(value) for value in values])
    assert len(first) == 16
    found = {first, piecewise.fingerprint(values[::-1])}
    for place in range(21):
        changed = np.array(values[0])
        changed.reshape(-1).view(np.int32)[place] ^= 1  # the last bit of the mantissa
        found.add(piecewise.fingerprint([tf.constant(changed), values[1]]))
    swapped = np.array(values[0])
    swapped[[0, 1]] = swapped[[1, 0]]
    found.add(piecewise.fingerprint([tf.constant(swapped), values[1]]))
    assert len(found) == 2 + 21 + 1


def test_a_negative_zero_is_no_zero() -> None:
    zeros = [piecewise.fingerprint([tf.constant([value])]) for value in (0.0, -0.0)]
    assert zeros[0] != zeros[1]
