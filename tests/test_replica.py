from __future__ import annotations

import numpy as np
import pytest

from tests.tensorflow_fakes import lone_phases

tf = pytest.importorskip("tensorflow")


def test_restore_puts_weights_and_momenta_back() -> None:
    network, replica, phases = lone_phases(["train_step"])
    before = replica.snapshot()
    run_twice = [phases["train_step"].run() for _ in range(2)]
    assert run_twice
    changed = [parameter.numpy() for parameter in network.parameters]
    assert any(not np.array_equal(*pair) for pair in zip(before, changed))
    replica.restore(before)
    for parameter, value in zip(network.parameters, before):
        np.testing.assert_array_equal(parameter.numpy(), value)
    assert all(not momentum.numpy().any() for momentum in replica.momenta)


def test_nothing_is_made_that_no_phase_needs() -> None:
    _, replica, phases = lone_phases(["forward", "forward_backward"])
    phases["forward_backward"].run()
    replica.restore(replica.snapshot())
    assert not {"momenta", "gradients"} & set(replica.__dict__)
