from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from distbench.config import SELF_ALLREDUCE
from distbench.errors import CorrectnessError, MismatchError
from distbench.worker import preflight
from distbench.worker.executed_ops import ALLREDUCE_OP, GROUPED_ALLREDUCE_OP
from distbench.worker.mean_pattern import MeanPattern
from distbench.worker.members import Members
from distbench.worker.phases import Phase
from distbench.worker.reduced_patterns import Pattern
from tests.fakes import FakeWorld, on_every_rank
from tests.tensorflow_fakes import lone_phases

tf = pytest.importorskip("tensorflow")

SHAPES = [(3, 3, 2, 4), (4,), (1500, 2), (7,)]


def counting(executed: int) -> preflight.OpCounter:
    return lambda phase: preflight.Executed(Counter({ALLREDUCE_OP: executed}), phase.run())


def phase(run: Callable[[], Any] = lambda: None, allreduces: int = 0, **more: Any) -> Phase:
    return Phase("a_phase", run, images_per_step=1, allreduces_per_step=allreduces, **more)


def test_the_expected_count_passes_and_any_other_fails() -> None:
    found = preflight.check_executed_allreduces(phase(lambda: "it", 32), counting(32))
    assert found == ("it", 32)
    for executed in (0, 31, 33):
        with pytest.raises(CorrectnessError, match=f"executed {executed} allreduces in a step"):
            preflight.check_executed_allreduces(phase(allreduces=32), counting(executed))


def test_a_grouped_op_counts_as_the_tensors_that_it_reduces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "tensors_of_grouped_ops", lambda function: (20, 12))
    grouped = phase(allreduces=32)

    def executed(groups: int) -> preflight.OpCounter:
        ops = Counter({GROUPED_ALLREDUCE_OP: groups})
        return lambda phase: preflight.Executed(ops, phase.run())

    assert preflight.check_executed_allreduces(grouped, executed(2)).allreduces == 32
    for groups in (0, 1, 3):
        with pytest.raises(CorrectnessError, match=f"executed {groups} grouped allreduces"):
            preflight.check_executed_allreduces(grouped, executed(groups))


def test_what_cannot_be_counted_is_run_and_said_to_be_uncounted() -> None:
    runs: list[int] = []
    hidden = phase(lambda: runs.append(1), allreduces=32, is_countable=False)
    assert preflight.check_executed_allreduces(hidden, counting(0)).allreduces is None
    assert runs == [1]


def means(size: int) -> list[Pattern]:
    return [MeanPattern(size)]


def allreduce_phase(reduce: Callable[[list[Any]], list[Any]]) -> Phase:
    """A phase whose `allreduce` is `reduce`."""
    inputs = [tf.Variable(tf.ones(shape)) for shape in SHAPES]

    def fill_inputs(values: Iterable[Any]) -> None:
        for one, value in zip(inputs, values, strict=True):
            one.assign(value)

    def run() -> Any:
        return reduce([one.read_value() for one in inputs])

    return phase(run, fill_inputs=fill_inputs)


def exact_allreduce(size: int) -> Callable[[Any], Any]:
    """What the mean of every rank's pattern is, summed in float32 as an allreduce does."""
    pattern = MeanPattern(size)

    def reduce(inputs: Any) -> Any:
        outputs = []
        for index, one in enumerate(inputs):
            total = tf.add_n([pattern.sent(rank, index, one.shape) for rank in range(size)])
            outputs.append(total * np.float32(1 / size))
        return outputs

    return reduce


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7, 8, 33, 64, 100])
def test_the_mean_of_the_pattern_is_exact_at_any_size(size: int) -> None:
    for rank in (0, size - 1):
        checked = allreduce_phase(exact_allreduce(size))
        preflight.check_reduced_values(checked, SHAPES, means(size), rank)


def spoilt(change: Callable[[list[Any]], list[Any]]) -> Phase:
    reduce = exact_allreduce(4)
    return allreduce_phase(lambda inputs: change(reduce(inputs)))


@pytest.mark.parametrize(
    "change",
    [
        lambda out: [*out[:-1], out[-1] * 0],  # a tensor that was left out
        lambda out: [out[0] + 2.0**-20, *out[1:]],  # hardly wrong
        lambda out: [out[0], out[3][:4], *out[2:]],  # swapped
        lambda out: [*out[:2], tf.roll(out[2], 1, axis=0), out[3]],  # shifted
        lambda out: [out[0] * np.nan, *out[1:]],
        lambda out: [*out[:2], out[2][:-1], out[3]],  # cut off, where the pattern repeats
        lambda out: [*out[:2], tf.transpose(out[2]), out[3]],
        lambda out: out[:-1],
    ],
)
def test_a_wrong_mean_is_found(change: Callable[[list[Any]], list[Any]]) -> None:
    with pytest.raises(CorrectnessError):
        preflight.check_reduced_values(spoilt(change), SHAPES, means(4), 0)


def test_an_allreduce_that_only_returns_its_input_is_found() -> None:
    lazy = allreduce_phase(list)
    with pytest.raises(CorrectnessError, match="off by"):
        preflight.check_reduced_values(lazy, SHAPES, means(4), 1)


def test_a_phase_is_prepared_before_it_is_counted() -> None:
    log: list[str] = []
    noted = phase(lambda: log.append("run"), allreduces=2, prepare=lambda: log.append("prepared"))
    preflight.check_executed_allreduces(noted, counting(2))
    assert log[:2] == ["prepared", "run"]


def test_a_mean_without_one_rank_is_found_at_odd_sizes() -> None:
    with pytest.raises(CorrectnessError):
        preflight.check_reduced_values(allreduce_phase(exact_allreduce(6)), SHAPES, means(7), 0)


def test_ranks_must_hold_the_same_bits() -> None:
    def body(world: FakeWorld, difference: float) -> str:
        tensor = tf.constant([1.0, 2.0 + difference * world.rank])
        return preflight.check_same_bits("it", [tensor], Members(world, range(world.size)))

    first, second = on_every_rank(2, lambda world: body(world, 0.0))
    assert first == second
    found = on_every_rank(2, lambda world: body(world, 2.0**-22))
    assert [type(error) for error in found] == [CorrectnessError] * 2
    assert "it differs between rank 0 and rank 1" in found[1].sentence


def test_ranks_must_hold_the_same_configuration() -> None:
    def body(world: FakeWorld) -> None:
        identity = {"config.batch_size": 8 + (world.rank == 2), "version of python": "3.11"}
        preflight.check_same_everywhere(world, identity)

    found = on_every_rank(3, body)
    assert [type(error) for error in found] == [MismatchError] * 3
    assert "rank 2 has config.batch_size = 9, rank 0 has 8" in found[0].sentence
    assert found[0].exit_code == 3


NAMES = ["forward", "forward_backward", "allreduce", "forward_backward_allreduce", "train_step"]


def test_a_whole_preflight_on_one_rank() -> None:
    network, _, phases = lone_phases(NAMES)
    shapes = network.vgg.parameter_shapes
    members = Members(FakeWorld(0, 1), [0])
    for name in ("forward", "forward_backward"):
        found = preflight.prove_computing(name, phases[name], network, members, "CPU")
    assert found is not None
    assert found < 1e-4
    proof = preflight.prove_phases(phases, NAMES, shapes, members, counting(0), means(1))
    assert proof["executed_allreduces"] == dict.fromkeys(NAMES, 0)
    assert set(proof["reduced_gradients_digest"]) == {"forward_backward_allreduce", "train_step"}
    final = preflight.prove_after_timing(phases, NAMES, shapes, members)
    assert set(final) == {"reduced_gradients_digest"}


def test_a_rank_outside_of_the_group_only_has_to_be_there() -> None:
    network, _, phases = lone_phases(NAMES)
    shapes = network.vgg.parameter_shapes

    def body(world: FakeWorld) -> Any:
        members = Members(world, [1])
        own = phases if world.rank == 1 else {}
        preflight.prove_computing("forward", own.get("forward"), network, members, "CPU")
        found = preflight.prove_phases(own, NAMES, shapes, members, counting(0), means(1))
        preflight.prove_parameters(network.parameters, shapes, members)
        preflight.prove_after_timing(own, NAMES, shapes, members)
        return found

    outside, inside = on_every_rank(2, body)
    assert inside["executed_allreduces"] == dict.fromkeys(NAMES, 0)
    assert outside["executed_allreduces"] == dict.fromkeys(NAMES, None)
    assert outside["reduced_gradients_digest"] == inside["reduced_gradients_digest"]


def test_a_control_that_communicates_is_refused() -> None:
    network, _, phases = lone_phases(["forward_backward", "train_step"])
    shapes = network.vgg.parameter_shapes
    members = Members(FakeWorld(0, 1), [0])
    names = list(phases)
    found = preflight.prove_uncoupled(phases, names, shapes, members, counting(0))
    assert found == {"executed_allreduces": {"train_step": 0}}
    with pytest.raises(CorrectnessError, match="train_step executed 32 allreduces in a step"):
        preflight.prove_uncoupled(phases, names, shapes, members, counting(32))


def test_a_rank_that_reduces_with_itself_must_do_so() -> None:
    network, _, phases = lone_phases(["forward_backward"])
    shapes = network.vgg.parameter_shapes
    members = Members(FakeWorld(0, 1), [0])
    own = {SELF_ALLREDUCE: dataclasses.replace(phases["forward_backward"], allreduces_per_step=32)}
    found = preflight.prove_uncoupled(own, [SELF_ALLREDUCE], shapes, members, counting(32))
    assert found == {"executed_allreduces": {SELF_ALLREDUCE: 32}}
    with pytest.raises(CorrectnessError, match="executed 0 allreduces in a step instead of 32"):
        preflight.prove_uncoupled(own, [SELF_ALLREDUCE], shapes, members, counting(0))


def test_weights_that_ran_away_are_found_after_the_timing() -> None:
    network, _, _ = lone_phases(["forward_backward"])
    network.parameters[3].assign(network.parameters[3] * np.nan)
    with pytest.raises(
        CorrectnessError, match="the network holds a NaN or an infinity in tensor 3"
    ):
        preflight.prove_finite(
            network.parameters, network.vgg.parameter_shapes, Members(FakeWorld(0, 1), [0])
        )


def test_uncounted_allreduces_are_proven_by_the_values_that_come_back() -> None:
    network, _, phases = lone_phases(["train_step"])
    members = Members(FakeWorld(0, 1), [0])

    def proof(factor: float) -> Any:
        return preflight.prove_by_value(
            phases, NAMES[4:], network, members, "CPU", lambda own: [factor * one for one in own]
        )

    assert proof(1.0)["train_step"] < 1e-4
    with pytest.raises(CorrectnessError, match="differs from an allreduce of eager gradients"):
        proof(0.5)  # what the phase would return had it left the other ranks out
