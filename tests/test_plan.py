from __future__ import annotations

from collections import Counter
from itertools import pairwise

from distbench.config import PHASES, SELF_ALLREDUCE, Config
from distbench.groups import WORLD, Group, plan_groups
from distbench.plan import PlannedBlock, phases_of, plan_blocks

ALL = Group(WORLD, (0, 1))
STUDY = Config(sizes=(1, 2, 4), steps=12, blocks=6, rounds=6, warmup_steps=3)


def test_the_plan_has_every_phase_once_in_each_round() -> None:
    config = Config(warmup_steps=3, steps=10, blocks=4)
    plan = plan_blocks(config, [ALL])
    assert [item.warmup for item in plan] == [True] * 5 + [False] * 20
    for start in range(0, len(plan), 5):
        assert sorted(item.phase for item in plan[start : start + 5]) == sorted(PHASES)
    timed: Counter[str] = Counter()
    for item in plan[5:]:
        timed[item.phase] += item.steps
    assert timed == dict.fromkeys(PHASES, 10)
    assert plan[0].steps == 3


def test_a_round_of_a_study_holds_every_phase_of_every_group_once() -> None:
    groups = plan_groups(STUDY, [0, 0, 0, 0])
    plan = plan_blocks(STUDY, groups)
    # 3 sizes: the world and two ranks with 5 phases each, four turns with 3, the controls with 1 and 2
    each_round = 2 * 5 + 4 * 3 + 1 + 2
    assert len(plan) == 7 * each_round
    for start in range(0, len(plan), each_round):
        one_round = plan[start : start + each_round]
        assert len({(item.phase, item.group.name) for item in one_round}) == each_round
        assert len({(item.block, item.warmup) for item in one_round}) == 1
    assert [item.warmup for item in plan] == [True] * each_round + [False] * 6 * each_round


def test_sizes_are_mixed_within_a_round() -> None:
    groups = plan_groups(STUDY, [0, 0, 0, 0])
    names = [item.group.name for item in plan_blocks(STUDY, groups)[25:50]]
    changes = sum(first != second for first, second in pairwise(names))
    assert changes > len(set(names))  # sorted by group there would be one change fewer than groups


def test_the_order_follows_from_the_seed_alone() -> None:
    assert plan_blocks(Config(seed=1), [ALL]) == plan_blocks(Config(seed=1, batch_size=2), [ALL])
    orders = [
        tuple(item.phase for item in plan_blocks(Config(seed=seed), [ALL])) for seed in range(8)
    ]
    assert len(set(orders)) == 8


def test_no_warm_up_is_possible() -> None:
    config = Config(warmup_steps=0, steps=1, blocks=1, phases=("forward",))
    assert plan_blocks(config, [ALL]) == [PlannedBlock("forward", ALL, 1, 1, warmup=False)]


def test_ranks_that_reduce_nothing_measure_no_communication() -> None:
    alone, control = (
        Group("alone-turn-0", (0,), "alone"),
        Group("independent", (0, 1), "independent"),
    )
    assert phases_of(STUDY, ALL) == PHASES
    assert phases_of(STUDY, alone) == ("forward", "forward_backward", "train_step")
    assert phases_of(STUDY, control) == ("forward_backward", "train_step")
    with_itself = Group("with_itself", (0,), "with_itself")
    assert phases_of(STUDY, with_itself) == (SELF_ALLREDUCE,)
    without_training = Config(sizes=(1, 2), phases=PHASES[:4])
    assert phases_of(without_training, alone) == (
        "forward",
        "forward_backward",
        "forward_backward_allreduce",
    )
