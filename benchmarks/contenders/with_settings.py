"""distbench's phases by the DISTBENCH_* variables of this process; those of others are read by them."""

from __future__ import annotations

import os

from contenders.cores import bind_if_asked
from contenders.task import COMPUTING, Contender, Task
from contenders.with_distbench import build_with
from distbench.config import Config
from distbench.overrides import read_overrides

REDUCING = ("forward_backward", "allreduce", "forward_backward_allreduce")


def build(task: Task) -> Contender:
    """The phases that compute or, where there are ranks to reduce with, those that price that."""
    bind_if_asked()
    config = Config(**read_overrides({}, os.environ))
    names = REDUCING if task.ranks > 1 else COMPUTING
    return build_with(task, names, (config.convolution,), config)
