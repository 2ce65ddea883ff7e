from __future__ import annotations

import time

import numpy as np
import pytest

from distbench.config import PHASES
from distbench.worker.phases import LEARNING_RATE, MOMENTUM
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
    network, ladder, _ = lone_phases([])
    returned = [tf.random.normal(shape) for shape in network.vgg.parameter_shapes]
    ladder.__dict__["_gradient_function"] = lambda keep_prob: returned
    carried = ladder.build(["allreduce"])["allreduce"].run()
    for left, right in zip(carried, returned):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_train_step_is_sgd_with_momentum() -> None:
    network, ladder, phases = lone_phases(["train_step"])
    expected = ladder.snapshot()
    momenta = [np.zeros_like(value) for value in expected]
    for _ in range(3):
        gradients = [gradient.numpy() for gradient in phases["train_step"].run()]
        momenta = [MOMENTUM * old + new for old, new in zip(momenta, gradients)]
        expected = [value - LEARNING_RATE * step for value, step in zip(expected, momenta)]
    assert any(np.abs(step).max() > 0 for step in momenta)
    for parameter, value in zip(network.parameters, expected):
        np.testing.assert_allclose(parameter.numpy(), value, rtol=1e-5, atol=1e-9)


def test_restore_puts_weights_and_momenta_back() -> None:
    network, ladder, phases = lone_phases(["train_step"])
    before = ladder.snapshot()
    run_twice = [phases["train_step"].run() for _ in range(2)]
    assert run_twice
    changed = [parameter.numpy() for parameter in network.parameters]
    assert any(not np.array_equal(*pair) for pair in zip(before, changed))
    ladder.restore(before)
    for parameter, value in zip(network.parameters, before):
        np.testing.assert_array_equal(parameter.numpy(), value)
    assert all(not momentum.numpy().any() for momentum in ladder._momenta)


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
