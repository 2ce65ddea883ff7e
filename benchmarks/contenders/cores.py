"""A rank kept on cores of its own, as a launcher's --bind-to would keep it."""

from __future__ import annotations

import os

from distbench.launched import launched_as

BIND_VARIABLE = "SETTINGS_BIND"


def bind_if_asked() -> None:
    """Leaves this rank its share of the allowed cores, if the variable is set; before threads start."""
    if BIND_VARIABLE not in os.environ:
        return
    place = launched_as(os.environ)
    ranks = place.local_size or 1
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[(place.local_rank or 0) :: ranks]))
