"""The variables of one rank that outlive a phase: weights, and one further set of their shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


class Replica:
    """One copy of the network's state, shared by all phases of all groups that this rank is in.

    `parameters` holds the variables that training changes. The `slots` are one further variable of each
    parameter's shape, which two phases use in turn: `train_step` as its momenta, `allreduce` as the
    gradients that it carries. What is there is made anew before each block (`Phase.prepare`), so that a
    rank holds no copy more than a training job does. `slots_hold` tells what is there.
    """

    def __init__(self, parameters: Sequence[tf.Variable]) -> None:
        self.parameters = parameters
        self.slots_hold: object = None

    @cached_property
    def slots(self) -> list[tf.Variable]:
        """Zero at first, and made at their first use: a run that only computes has none.

        In variables, since handing 32 tensors to a function costs Python half a millisecond.
        """
        import tensorflow as tf

        return [tf.Variable(tf.zeros_like(one), trainable=False) for one in self.parameters]

    def fill_slots(self, values: Iterable[Any], held: object = None) -> None:
        """Puts one value after the other there; `held` is what `slots_hold` says from now on."""
        self.slots_hold = None
        for slot, value in zip(self.slots, values, strict=True):
            _overwrite(slot, value)
        self.slots_hold = held

    def clear_slots(self) -> None:
        """Momenta at the start of a training."""
        self.slots_hold = None
        for slot in self.slots:
            _clear(slot)

    def snapshot(self) -> list[Any]:
        """The parameters' values as tensors in the host's memory, to be put back later."""
        import tensorflow as tf

        with tf.device("/CPU:0"):
            return [
                tf.raw_ops.DeepCopy(x=tf.identity(parameter.read_value()))
                for parameter in self.parameters
            ]

    def restore(self, values: Sequence[Any]) -> None:
        """Puts the parameters back, exactly, where they are finite."""
        for parameter, value in zip(self.parameters, values):
            _overwrite(parameter, value)


def _overwrite(variable: tf.Variable, value: Any) -> None:
    """Puts a value there, in the memory that the variable has.

    An assignment would take the new tensor's memory over instead. Block after block the variables would
    so wander through TensorFlow's pool, until no piece of it was left for VGG's largest gradient: that
    cost a rank up to 0.9 GB.
    """
    _clear(variable)
    variable.assign_add(value)


def _clear(variable: tf.Variable) -> None:
    """Puts zero there; a NaN or an infinity becomes a NaN, and so is not lost."""
    # The product is a copy: a tensor that shares the variable's memory would make TensorFlow move it.
    variable.assign_sub(variable * 1.0)
