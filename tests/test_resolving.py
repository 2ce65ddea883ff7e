from __future__ import annotations

from typing import Any

import pytest

from distbench.config import Config
from distbench.errors import UsageError
from distbench.overrides import read_overrides
from distbench.resolving import resolve


def resolved(on_gpu: bool = False, environ: dict[str, str] | None = None, **flags: Any) -> Config:
    return resolve(read_overrides(flags, environ or {}), on_gpu=on_gpu, world_size=8)


def test_sizes_are_ascending_and_auto_means_powers_of_two_and_all() -> None:
    assert resolved(sizes="4,1,2").sizes == (1, 2, 4)
    assert resolved(sizes="auto").sizes == (1, 2, 4, 8)
    of_six = resolve({"sizes": "auto"}, on_gpu=True, world_size=6)
    assert of_six.sizes == (1, 2, 4, 6)
    assert resolve({"sizes": "auto"}, on_gpu=True, world_size=1).sizes == (1,)
    assert resolved().sizes == ()


def test_a_size_beyond_the_job_is_refused() -> None:
    with pytest.raises(UsageError, match="--sizes asks for 16 ranks and this job has 8; start it"):
        resolved(sizes="1,16")


def test_a_study_is_divided_into_rounds() -> None:
    study = resolved(sizes="1,2", preset="quick")
    assert (study.rounds, study.blocks) == (6, 6)
    assert resolved(sizes="1,2", on_gpu=True, rounds="9").blocks == 9
    assert resolved(sizes="1,2", steps="4").blocks == 4
    assert resolved(blocks="5").rounds == 5
    with pytest.raises(UsageError, match="--blocks is 5, but a study is divided by --rounds"):
        resolved(sizes="1,2", blocks="5")
    with pytest.raises(UsageError, match="--rounds is 5, but --rounds is for --sizes"):
        resolved(rounds="5")
    with pytest.raises(UsageError, match="--rounds is 9 and --steps is 8"):
        resolved(sizes="1,2", steps="8", rounds="9")


def test_what_only_a_study_has_is_refused_without_one() -> None:
    with pytest.raises(UsageError, match="--placement is spread, which is for --sizes; give the"):
        resolved(placement="spread")


def test_a_study_that_would_measure_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--sizes 1 with --phases allreduce measures nothing"):
        resolved(sizes="1", phases="allreduce")
    assert resolve({"sizes": (1,), "phases": ("allreduce",)}, on_gpu=False, world_size=1).sizes


def test_strong_scaling_divides_one_batch() -> None:
    strong = resolved(sizes="1,2,4", scaling="strong", global_batch="64")
    assert [strong.batch_of(size) for size in (1, 2, 4)] == [64, 32, 16]
    assert strong.batch_size == 16
    assert strong.batch_label == "global batch 64 (strong scaling)"
    weak = resolved(sizes="1,2,4", batch_size="16")
    assert [weak.batch_of(size) for size in (1, 2, 4)] == [16, 16, 16]
    assert weak.batch_label == "batch 16 per rank"


def test_a_plain_run_of_a_global_batch_divides_it_among_all_ranks() -> None:
    assert resolved(scaling="strong", global_batch="64").batch_of(8) == 8


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            {"sizes": "1,2,3", "scaling": "strong", "global_batch": "16"},
            "--global-batch 16 cannot be divided among 3 ranks; of up to 8 ranks it can among "
            "1, 2, 4, 8",
        ),
        ({"scaling": "strong", "global_batch": "20"}, "cannot be divided among 8 ranks"),
        ({"scaling": "strong"}, "divides one batch among the ranks; give --global-batch"),
        ({"scaling": "strong", "global_batch": "8", "batch_size": "1"}, "and no --batch-size"),
        ({"global_batch": "8"}, "--global-batch is 8, which is for --scaling strong"),
    ],
)
def test_weak_and_strong_are_not_mixed(flags: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(**flags)
    assert said in caught.value.sentence
