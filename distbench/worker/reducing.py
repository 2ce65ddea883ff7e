"""How gradients become one: what is asked of Horovod for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from distbench.config import Config


@dataclass(frozen=True)
class Reduction:
    """Among whom the gradients are reduced.

    `process_set` is Horovod's. With one rank only the control SELF_ALLREDUCE uses it.
    """

    ranks: int
    process_set: Any = None


class Reducing(NamedTuple):
    """The settings that bear on a reduction; `groups` is 0 where each tensor goes by itself.

    `operation` is 'average', 'adasum', or 'scaled_sum': Horovod divides an average by the ranks in a pass
    of its own over all gradients, which a loss that is divided before makes needless.
    """

    compression: str = "none"
    groups: int = 0
    operation: str = "average"

    @classmethod
    def of(cls, config: Config) -> Reducing:
        """As the configuration asks for it."""
        return cls(config.compression, config.grouped_allreduce, config.reduction)


BY_DEFAULT = Reducing()


class Reducer:
    """Asks Horovod (`hvd` is `horovod.tensorflow`) to reduce, by the settings."""

    def __init__(self, hvd: Any, reducing: Reducing) -> None:
        self._hvd = hvd
        self._reducing = reducing

    def scale(self, reduction: Reduction) -> float:
        """What the loss, and so each gradient, is multiplied by before Horovod gets it."""
        return 1 / reduction.ranks if self._reducing.operation == "scaled_sum" else 1.0

    def reduced(self, gradients: Sequence[Any], name: str, reduction: Reduction) -> list[Any]:
        """All gradients, reduced; the ops of a step are told apart by `name` and their number."""
        if not self._reducing.groups:
            return [
                self._hvd.allreduce(gradient, name=f"{name}_{index}", **self._how(reduction))
                for index, gradient in enumerate(gradients)
            ]
        return [
            gradient
            for index, group in enumerate(in_groups(gradients, self._reducing.groups))
            for gradient in self._hvd.grouped_allreduce(
                group, name=f"{name}_group_{index}", **self._how(reduction)
            )
        ]

    def tape(self, tape: Any, reduction: Reduction) -> Any:
        """Horovod's tape, which reduces each gradient, or each group, as soon as it is there."""
        how = self._changed()
        if self._reducing.groups:
            how["groups"] = self._reducing.groups
        return self._hvd.DistributedGradientTape(tape, process_set=reduction.process_set, **how)

    def _how(self, reduction: Reduction) -> dict[str, Any]:
        average = {"op": self._hvd.Average, "process_set": reduction.process_set}
        return {**average, **self._changed()}

    def _changed(self) -> dict[str, Any]:
        """What is asked for beside what Horovod does by itself."""
        how: dict[str, Any] = {}
        if self._reducing.compression == "fp16":
            how["compression"] = self._hvd.Compression.fp16
        if self._reducing.operation == "adasum":
            how["op"] = self._hvd.Adasum
        if self._reducing.operation == "scaled_sum":
            how["op"] = self._hvd.Sum
        return how


def in_groups(gradients: Sequence[Any], groups: int) -> list[Sequence[Any]]:
    """The gradients in order, in groups of nearly equal number: the first ones take the remainder.

    That is how Horovod's tape divides them, so that `allreduce` prices what the tape does.
    """
    each, remainder = divmod(len(gradients), groups)
    ends = [0]
    for index in range(groups):
        ends.append(ends[-1] + each + (index < remainder))
    return [gradients[start:end] for start, end in itertools.pairwise(ends)]
