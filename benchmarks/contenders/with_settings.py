"""distbench's phases that price communication, by the DISTBENCH_* variables of this process."""

from __future__ import annotations

import os

from contenders.task import Contender, Task
from contenders.with_distbench import build_with
from distbench.config import Config
from distbench.overrides import read_overrides
from distbench.worker.reducing import Reducing

PHASES = ("forward_backward", "allreduce", "forward_backward_allreduce")


def build(task: Task) -> Contender:
    """The variables of Horovod and MPI are read by them."""
    reducing = Reducing.of(Config(**read_overrides({}, os.environ)))
    return build_with(task, PHASES, ("library",), reducing)
