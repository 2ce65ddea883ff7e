"""What every contender is asked to build and time, and what it must hand to its rank."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distbench import vgg

SMOKE_IMAGE_SIZE, SMOKE_CLASSES, SMOKE_FC_UNITS, SMOKE_WIDTH = 32, 10, 128, 0.25
COMPUTING = ("forward", "forward_backward")
REDUCING = ("forward_backward_allreduce", "train_step")
SEED = 0
IMAGE_STANDARD_DEVIATION = 0.1
DROPOUT_RATE = 0.5
LEARNING_RATE = 1e-6
MOMENTUM = 0.9


@dataclass(frozen=True)
class Task:
    """One configuration of VGG on some ranks."""

    config: str
    batch_size: int  # of each rank
    ranks: int
    threads: int  # of each rank
    smoke: bool = False

    def network(self) -> vgg.Vgg:
        """The layers; for a smoke run a reduced network that is no VGG."""
        if not self.smoke:
            return vgg.build(self.config)
        return vgg.build(self.config, SMOKE_IMAGE_SIZE, SMOKE_CLASSES, SMOKE_FC_UNITS, SMOKE_WIDTH)

    @property
    def label(self) -> str:
        """'VGG-D, 224x224, batch 8 per rank, 2 rank(s), 1 thread(s) each'."""
        network = self.network()
        name = f"VGG-{self.config}" + (", a quarter wide (not VGG)" if self.smoke else "")
        return (
            f"{name}, {network.image_size}x{network.image_size}, batch {self.batch_size} per rank, "
            f"{self.ranks} rank(s), {self.threads} thread(s) each"
        )

    @property
    def training_phases(self) -> tuple[str, ...]:
        """What a framework can do here: one rank reduces nothing."""
        return (*COMPUTING, *REDUCING) if self.ranks > 1 else (*COMPUTING, "train_step")

    def flags(self) -> list[str]:
        """The task as arguments of a rank, read by `from_flags`."""
        flags = ["--config", self.config, "--batch-size", str(self.batch_size)]
        flags += ["--ranks", str(self.ranks), "--threads", str(self.threads)]
        return [*flags, *(["--smoke"] if self.smoke else [])]

    @classmethod
    def from_flags(cls, flags: Sequence[str]) -> Task:
        """The other way."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--config", required=True)
        for name in ("--batch-size", "--ranks", "--threads"):
            parser.add_argument(name, type=int, required=True)
        parser.add_argument("--smoke", action="store_true")
        return cls(**vars(parser.parse_args(flags)))


@dataclass
class Contender:
    """What a rank times. `phases` return everything that they are timed for.

    `gradients` are those of one forward_backward, as `proof.Gradient`s; None for contenders that have
    none. `before_block` is told the phase, outside of the timed span.
    """

    rank: int
    phases: Mapping[str, Callable[[], Any]]
    synchronise: Callable[[], Any] = lambda: None
    before_block: Callable[[str], Any] = lambda phase: None
    gradients: Callable[[], Sequence[Any]] | None = None
    reduced_sum: Callable[[], float] | None = None  # of all |gradient| after the allreduce
    close: Callable[[], Any] = lambda: None
    facts: dict[str, Any] = field(default_factory=dict)  # what the reader must know of it
