"""distbench with the convolutions of TensorFlow's library alone: what it gains by other means."""

from __future__ import annotations

from contenders.task import COMPUTING, Contender, Task
from contenders.with_distbench import build_with


def build(task: Task) -> Contender:
    """The phases that compute and do not communicate."""
    return build_with(task, COMPUTING, ("library",))
