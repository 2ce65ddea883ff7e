from __future__ import annotations

import math

from distbench.config import Config
from distbench.report.published import comparable, published_points


def test_the_points_are_those_of_the_file_with_who_and_when() -> None:
    points = published_points()
    assert len(points) == 22
    nccl = [point for point in points if point.images_per_s == 6084.2]
    assert [(point.label, point.ranks, point.efficiency) for point in nccl] == [
        (
            "16 servers x 4 Pascal, 40 GbE TCP, Horovod NCCL (Horovod README, 2017)",
            64,
            0.635,
        )
    ]
    assert nccl[0].step_s == 64 * 64 / 6084.2


def test_points_stand_only_beside_what_they_may_be_compared_with() -> None:
    points = published_points()
    assert comparable(Config(), points) == points
    for other in (
        Config(config="E"),
        Config(fc_units=128),
        Config(scaling="strong", global_batch=64),
    ):
        assert comparable(other, points) == ()


def test_what_a_source_does_not_say_is_not_a_number() -> None:
    (largest,) = [point for point in published_points() if point.ranks == 512]
    assert largest.efficiency == 0.68
    assert math.isnan(largest.images_per_s)
    assert math.isnan(largest.step_s)
