from __future__ import annotations

import math
from typing import Any

import pytest

from distbench.config import settings
from distbench.errors import UsageError
from distbench.simulation.cluster import (
    Cluster,
    DeadRank,
    SlowRank,
    Spike,
    ThermalStep,
    parameters,
    read_cluster,
)


def test_flags_become_a_cluster() -> None:
    cluster = read_cluster(
        {
            "ranks": "8",
            "ranks_per_node": "4",
            "noise": "0.02",
            "slow_rank": ["3:1.05", "7:1.2"],
            "spike": ["3:0.5:10"],
            "thermal_step": "0.5:1.1",
            "dead_rank": "2:0.25",
            "latency_us": None,
        }
    )
    assert cluster == Cluster(
        ranks=8,
        ranks_per_node=4,
        noise=0.02,
        slow_rank=(SlowRank(3, 1.05), SlowRank(7, 1.2)),
        spike=(Spike(3, 0.5, 10.0),),
        thermal_step=ThermalStep(0.5, 1.1),
        dead_rank=DeadRank(2, 0.25),
    )


def test_nodes_are_filled_one_after_the_other() -> None:
    assert Cluster(ranks=5, ranks_per_node=2).nodes == [0, 0, 1, 1, 2]


def test_without_disturbance_slow_ranks_stay_slow() -> None:
    slow = (SlowRank(0, 2.0),)
    disturbed = Cluster(
        ranks=2, autocorrelation=0.5, drift=0.1, thermal_step=ThermalStep(0, 2), slow_rank=slow
    )
    expected = Cluster(ranks=2, noise=0, network_noise=0, slow_rank=slow)
    assert disturbed.without_disturbance() == expected


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"ranks": "0"}, "--ranks is '0'; it must be a whole number from 1 to 65536"),
        ({"ranks": "65537"}, "--ranks is '65537'; it must be a whole number from 1 to 65536"),
        ({"ranks": "1e3"}, "--ranks is '1e3'; it must be a whole number"),
        ({"ranks_per_node": "-1"}, "--ranks-per-node is '-1'"),
        ({"noise": "nan"}, "--noise is 'nan'; it must be a number from 0 to 0.5"),
        ({"noise": "-0.1"}, "--noise is '-0.1'"),
        ({"images_per_s": "inf"}, "--images-per-s is 'inf'"),
        ({"images_per_s": "0"}, "--images-per-s is '0'"),
        ({"forward_share": "1"}, "--forward-share is '1'"),
        ({"latency_us": "\x1b[2J"}, r"--latency-us is '?[2J'"),
        ({"autocorrelation": "1"}, "--autocorrelation is '1'; it must be a number from 0 to 0.99"),
        ({"slow_rank": ["3"]}, "--slow-rank is '3'; it must be rank:factor such as 3:1.05"),
        ({"slow_rank": ["1:fast"]}, "(a number from 0.1 to 1000)"),
        ({"slow_rank": ["-1:2"]}, "(a whole number of at least 0)"),
        ({"slow_rank": ["1:2", "1:3"]}, "is '1:2', '1:3'; it must be given once for each rank"),
        ({"slow_rank": ["2:1.05"]}, "--slow-rank names rank 2 and there are 2 rank(s)"),
        ({"spike": ["0:0.5"]}, "--spike is '0:0.5'; it must be rank:at:factor such as 3:0.5:10"),
        ({"spike": ["0:1.5:2"]}, "(a number from 0 to 1)"),
        ({"spike": ["9:0.5:2"]}, "--spike names rank 9"),
        ({"thermal_step": "0.5"}, "--thermal-step is '0.5'; it must be at:factor"),
        ({"dead_rank": "5:0.5"}, "the last one is rank 1"),
        ({"drift": "-1"}, "--drift is '-1'"),
    ],
)
def test_hostile_flags_get_a_sentence(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_cluster({"ranks": "2", **flags})
    assert sentence in str(raised.value)


def test_every_parameter_has_words_and_a_flag_of_its_own() -> None:
    assert not set(parameters()) & set(settings())
    for name, parameter in parameters().items():
        assert parameter.metadata["help"], name
        if isinstance(parameter.default, float):
            assert math.isfinite(parameter.metadata["parse"](parameter.default))
