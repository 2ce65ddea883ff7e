"""Published throughput of VGG-16, to be shown beside a measured curve and never mixed with it."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from distbench.config import Config


class Published(NamedTuple):
    """One published point; NaN where the source does not give a number."""

    label: str  # on what, by whom and when
    ranks: int
    batch_per_rank: float
    images_per_s: float
    efficiency: float
    step_s: float


def published_points() -> list[Published]:
    """The points of published_vgg16.csv, which names the source and the date of each."""
    text = files("distbench.report").joinpath("published_vgg16.csv").read_text()
    return [
        Published(
            label=f"{row['hardware']}, {row['network']}, {row['reduction']} "
            f"({row['source']}, {row['date']})",
            ranks=int(row["gpus"]),
            batch_per_rank=_number(row["batch_per_gpu"]),
            images_per_s=_number(row["images_per_s"]),
            efficiency=_number(row["efficiency"]),
            step_s=int(row["gpus"]) * _number(row["batch_per_gpu"]) / _number(row["images_per_s"]),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def _number(text: str) -> float:
    return float(text) if text else math.nan


def comparable(config: Config, points: Sequence[Published]) -> Sequence[Published]:
    """The points that may stand beside a run: all were of VGG-16 with a fixed batch per GPU."""
    return points if config.config == "D" and config.is_vgg and config.scaling == "weak" else ()
