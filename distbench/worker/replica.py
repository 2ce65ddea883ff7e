"""The variables of one rank that outlive a phase: weights, momenta and one set of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


class Replica:
    """One copy of the network's state, shared by all phases of all groups that this rank is in.

    `parameters` holds the variables that training changes. Everything else is made at its first use,
    so that a run which never trains holds no momenta.
    """

    def __init__(self, parameters: Sequence[tf.Variable]) -> None:
        self.parameters = parameters

    @cached_property
    def momenta(self) -> list[tf.Variable]:
        """The optimizer's state, one variable of the parameter's shape each, zero at first."""
        return [self._zeros(parameter) for parameter in self.parameters]

    @cached_property
    def gradients(self) -> list[tf.Variable]:
        """What the phase `allreduce` carries: one variable of each parameter's shape.

        In variables, since handing 32 tensors to a function costs Python half a millisecond.
        """
        return [self._zeros(parameter) for parameter in self.parameters]

    def snapshot(self) -> list[Any]:
        """The parameters' values as tensors in the host's memory, to be put back later."""
        import tensorflow as tf

        with tf.device("/CPU:0"):
            return [
                tf.raw_ops.DeepCopy(x=tf.identity(parameter.read_value()))
                for parameter in self.parameters
            ]

    def restore(self, values: Sequence[Any]) -> None:
        """Puts the parameters back and the momenta to zero.

        By copies that TensorFlow makes: those of NumPy's arrays lie outside of its memory pool, in pages
        that are new each time and take ten times as long to fill.
        """
        import tensorflow as tf

        for parameter, value in zip(self.parameters, values):
            with tf.device("/CPU:0"):
                copy = tf.raw_ops.DeepCopy(x=value)
            parameter.assign(copy)
        if "momenta" in self.__dict__:
            for momentum in self.momenta:
                momentum.assign(tf.zeros_like(momentum))

    @staticmethod
    def _zeros(parameter: tf.Variable) -> tf.Variable:
        import tensorflow as tf

        return tf.Variable(tf.zeros_like(parameter), trainable=False)
