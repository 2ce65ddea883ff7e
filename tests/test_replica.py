from __future__ import annotations

import numpy as np
import pytest

from tests.tensorflow_fakes import lone_phases

tf = pytest.importorskip("tensorflow")


def test_restore_puts_the_weights_back() -> None:
    network, replica, phases = lone_phases(["train_step"])
    before = replica.snapshot()
    for _ in range(2):
        phases["train_step"].run()
    changed = [parameter.numpy() for parameter in network.parameters]
    assert any(not np.array_equal(*pair) for pair in zip(before, changed))
    replica.restore(before)
    for parameter, value in zip(network.parameters, before):
        np.testing.assert_array_equal(parameter.numpy(), value)


def test_slots_tell_what_they_hold_only_once_all_is_there() -> None:
    _, replica, _ = lone_phases([])
    ones = [tf.ones(slot.shape) for slot in replica.slots]
    assert not any(slot.numpy().any() for slot in replica.slots)
    replica.fill_slots(ones, "ones")
    assert replica.slots_hold == "ones"
    assert all(slot.numpy().all() for slot in replica.slots)
    with pytest.raises(ValueError, match="shorter"):
        replica.fill_slots(ones[:-1], "fewer")
    assert replica.slots_hold is None
    replica.fill_slots(ones, "ones")
    replica.clear_slots()
    assert replica.slots_hold is None
    assert not any(slot.numpy().any() for slot in replica.slots)


def address(variable: tf.Variable) -> int:
    """Where its numbers lie; the tensor that shares them is dropped again."""
    values = np.asarray(memoryview(variable.read_value()))
    return int(values.__array_interface__["data"][0])


def test_variables_stay_where_they_are_in_memory() -> None:
    """Else they wander through TensorFlow's pool, which then lies in pieces.

    A weight that is updated while the backward pass still reads it would be copied, too.
    """
    _, replica, phases = lone_phases(["allreduce", "train_step"])
    weights = replica.snapshot()
    found = []
    for _ in range(4):
        phases["allreduce"].prepare()
        assert replica.slots[0].numpy().any()
        phases["allreduce"].run()
        phases["train_step"].prepare()
        phases["train_step"].run()
        replica.restore(weights)
        found.append([address(one) for one in (*replica.parameters, *replica.slots)])
    # The first weights may lie in NumPy's memory, up to the first step that changes them.
    assert found[1] == found[2] == found[3]


def test_nothing_is_made_that_no_phase_needs() -> None:
    _, replica, phases = lone_phases(["forward", "forward_backward"])
    phases["forward_backward"].run()
    replica.restore(replica.snapshot())
    assert "slots" not in replica.__dict__
