from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distbench.config import PHASES, SELF_ALLREDUCE
from distbench.worker.computing import Computing
from distbench.worker.network import Network
from distbench.worker.phases import LEARNING_RATE, MOMENTUM, PhaseLadder
from distbench.worker.reducing import Reducing, Reduction
from distbench.worker.replica import Replica
from tests.fakes import small_config
from tests.tensorflow_fakes import lone_phases

tf = pytest.importorskip("tensorflow")


def test_each_phase_returns_all_that_it_is_timed_for() -> None:
    network, _, phases = lone_phases(PHASES)
    assert list(phases) == list(PHASES)
    shapes = [tuple(shape) for shape in network.vgg.parameter_shapes]
    assert phases["forward"].run().shape == (2,)
    for name in PHASES[1:]:
        assert [tuple(tensor.shape) for tensor in phases[name].run()] == shapes, name


def test_images_and_allreduces_of_a_step() -> None:
    _, _, phases = lone_phases(PHASES)
    assert [phases[name].images_per_step for name in PHASES] == [2, 2, 0, 2, 2]
    assert [phases[name].allreduces_per_step for name in PHASES] == [0] * 5  # one rank
    assert [phase.name for phase in phases.values() if phase.changes_parameters] == ["train_step"]


def test_allreduce_carries_what_forward_backward_returns() -> None:
    network, replica, _ = lone_phases([])
    ladder = PhaseLadder(network, None, replica)
    returned = [tf.random.normal(shape) for shape in network.vgg.parameter_shapes]
    ladder.__dict__["_forward_backward"] = SimpleNamespace(run=lambda: returned)
    phase = ladder.build(["allreduce"], Reduction(ranks=1))["allreduce"]
    phase.prepare()
    carried = phase.run()
    for left, right in zip(carried, returned):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_momenta_and_what_allreduce_carries_take_turns() -> None:
    """Each phase finds its own in the slots, whichever ran before it."""
    network, replica, _ = lone_phases([])
    calls: list[str] = []
    returned = [tf.random.normal(shape) for shape in network.vgg.parameter_shapes]

    def compute() -> list[Any]:
        calls.append("forward_backward")
        return returned

    ladder = PhaseLadder(network, None, replica)
    ladder.__dict__["_forward_backward"] = SimpleNamespace(run=compute)
    phases = ladder.build(["allreduce", "train_step"], Reduction(ranks=1))
    allreduce, train_step = phases["allreduce"], phases["train_step"]
    assert allreduce.fill_inputs is not None

    def carries_gradients() -> bool:
        pairs = zip(allreduce.run(), returned)
        return all(bool(tf.reduce_all(left == right)) for left, right in pairs)

    for _ in range(2):  # what is still there is not computed again
        allreduce.prepare()
        assert carries_gradients()
    assert len(calls) == 1
    train_step.prepare()
    assert not any(slot.numpy().any() for slot in replica.slots)
    train_step.run()
    allreduce.prepare()
    assert carries_gradients()
    allreduce.fill_inputs([tf.zeros(shape) for shape in network.vgg.parameter_shapes])
    assert not carries_gradients()
    allreduce.prepare()
    assert carries_gradients()
    assert len(calls) == 3


def test_train_step_is_sgd_with_momentum() -> None:
    network, replica, phases = lone_phases(["train_step"])
    expected = replica.snapshot()
    momenta = [np.zeros_like(value) for value in expected]
    for _ in range(3):
        gradients = [gradient.numpy() for gradient in phases["train_step"].run()]
        momenta = [MOMENTUM * old + new for old, new in zip(momenta, gradients)]
        expected = [value - LEARNING_RATE * step for value, step in zip(expected, momenta)]
    assert any(np.abs(step).max() > 0 for step in momenta)
    for parameter, value in zip(network.parameters, expected):
        np.testing.assert_allclose(parameter.numpy(), value, rtol=1e-5, atol=1e-9)


def test_starting_an_allreduce_costs_little_beside_computing() -> None:
    """With one rank `allreduce` moves nothing: what is left is the call, which must not cost a step."""
    _, _, phases = lone_phases(["forward_backward", "allreduce"])

    def fastest_s(name: str) -> float:
        phases[name].run()
        times = []
        for _ in range(10):
            start = time.perf_counter()
            phases[name].run()
            times.append(time.perf_counter() - start)
        return min(times)

    assert fastest_s("allreduce") < fastest_s("forward_backward") / 2


# Of the graphs before there were any settings of the speed: what is timed by default is as it was.
NODES = {"forward": 129, "forward_backward": 311, "allreduce": 129, "train_step": 439}


def test_settings_at_their_defaults_leave_the_graphs_as_they_were() -> None:
    _, _, phases = lone_phases(list(NODES))
    for name, count in NODES.items():
        definition = phases[name].function.graph.as_graph_def()
        nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
        assert len(nodes) == count, name
        assert "Cast" not in {node.op for node in nodes}
    assert phases["forward"].run is phases["forward"].function  # nothing between the clock and it


def test_a_fed_step_computes_what_one_with_held_images_does() -> None:
    held_network, _, held = lone_phases(["forward", "forward_backward"])
    config = small_config()
    fed_network = Network(
        config.network(), 2, 0, 0, held_network.parameters, Computing(is_fed=True)
    )
    ladder = PhaseLadder(fed_network, None, Replica(fed_network.parameters))
    fed = ladder.build(["forward", "forward_backward"], Reduction(ranks=1))
    assert isinstance(fed_network.images, np.ndarray)
    np.testing.assert_array_equal(fed["forward"].run(), held["forward"].run())
    for one, other in zip(*(p["forward_backward"].with_keep_prob(1.0) for p in (fed, held))):  # type: ignore[misc]
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-7)
    fed_network.images *= 0  # each call takes what the host holds then
    assert float(tf.norm(fed["forward_backward"].with_keep_prob(1.0)[0])) == 0.0  # type: ignore[misc]


def test_what_xla_compiles_computes_the_same() -> None:
    network, replica, phases = lone_phases(["forward_backward"])
    ladder = PhaseLadder(network, None, replica, xla="compute")
    compiled = ladder.build(["train_step"], Reduction(ranks=1))["train_step"]
    pairs = zip(*(p.with_keep_prob(1.0) for p in (phases["forward_backward"], compiled)))  # type: ignore[misc]
    for one, other in pairs:
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-3, atol=1e-6)


def test_each_phase_is_traced_once_for_all_groups() -> None:
    network, replica, _ = lone_phases([])
    ladder = PhaseLadder(network, None, replica)
    first = ladder.build(PHASES, Reduction(ranks=1))
    again = ladder.build(["forward", "train_step"], Reduction(ranks=1))
    assert again["train_step"] is first["train_step"]
    assert again["forward"] is first["forward"]


def test_what_a_group_reduces_goes_to_its_process_set() -> None:
    """Horovod is recorded here; that it does reduce is proven by real ranks."""
    asked: list[Any] = []

    class Recorder:
        Average = "average"

        def allreduce(self, tensor: Any, **how: Any) -> Any:
            asked.append(how)
            return tensor

        def DistributedGradientTape(self, tape: Any, process_set: Any) -> Any:
            asked.append(process_set)
            return tape

    network, replica, _ = lone_phases([])
    ladder = PhaseLadder(network, Recorder(), replica)
    two, three = Reduction(2, "set of two"), Reduction(3, "set of three")
    phases = ladder.build(["forward_backward_allreduce", "train_step"], two)
    assert asked == ["set of two"] * 2
    assert phases["train_step"].allreduces_per_step == 32
    asked.clear()
    ladder.build(["allreduce"], three)
    assert {how["process_set"] for how in asked} == {"set of three"}
    assert {how["op"] for how in asked} == {"average"}
    assert len({how["name"] for how in asked}) == 32


def test_a_rank_hands_its_gradients_to_horovod_though_it_is_alone() -> None:
    handed_over: list[Any] = []

    class Doubler:
        Average = "average"

        def allreduce(self, tensor: Any, **how: Any) -> Any:
            handed_over.append(how)
            return 2 * tensor

    network, replica, phases = lone_phases(["forward_backward"])
    ladder = PhaseLadder(network, Doubler(), replica)
    phase = ladder.build([SELF_ALLREDUCE], Reduction(1, "set of one"))[SELF_ALLREDUCE]
    assert {how["process_set"] for how in handed_over} == {"set of one"}
    assert len({how["name"] for how in handed_over}) == 32
    assert phase.allreduces_per_step == 32
    assert phase.images_per_step == 2
    assert phase.with_keep_prob is not None
    assert phases["forward_backward"].with_keep_prob is not None
    own = phases["forward_backward"].with_keep_prob(1.0)
    for reduced, gradient in zip(phase.with_keep_prob(1.0), own):
        np.testing.assert_allclose(reduced.numpy(), 2 * gradient.numpy(), rtol=1e-4, atol=1e-7)


def test_a_scaled_sum_of_equal_ranks_is_their_gradient() -> None:
    """Four ranks with the same gradients: summed by the fake Horovod, as the ranks would."""

    class FourTimes:
        Average, Sum = "average", "sum"

        def allreduce(self, tensor: Any, **how: Any) -> Any:
            assert how["op"] == "sum"
            return 4 * tensor

        def DistributedGradientTape(self, tape: Any, **how: Any) -> Any:
            assert how["op"] == "sum"
            return SimpleNamespace(
                gradient=lambda loss, of: [4 * one for one in tape.gradient(loss, of)]
            )

    network, replica, phases = lone_phases(["forward_backward"])
    reducing = Reducing(operation="scaled_sum")
    names = ["allreduce", "forward_backward_allreduce"]
    for xla in ("off", "compute"):
        ladder = PhaseLadder(network, FourTimes(), replica, reducing, xla)
        built = ladder.build(names, Reduction(4, "all"))
        whole, alone = built["forward_backward_allreduce"], phases["forward_backward"]
        assert whole.with_keep_prob is not None
        assert alone.with_keep_prob is not None
        for reduced, gradient in zip(whole.with_keep_prob(1.0), alone.with_keep_prob(1.0)):
            np.testing.assert_allclose(reduced.numpy(), gradient.numpy(), rtol=1e-4, atol=1e-7)
        # what allreduce carries is scaled already
        ladder.__dict__["_forward_backward"] = SimpleNamespace(
            run=lambda: [tf.ones(shape) for shape in network.vgg.parameter_shapes]
        )
        replica.slots_hold = None
        built["allreduce"].prepare()
        assert all(bool(tf.reduce_all(one == 0.25)) for one in replica.slots)
        assert all(bool(tf.reduce_all(one == 1.0)) for one in built["allreduce"].run())
