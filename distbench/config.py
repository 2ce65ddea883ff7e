"""The frozen configuration of a run and the one place where its values are checked.

Precedence: defaults < preset < TOML file < DISTBENCH_* variables < flags. Which preset fills the gaps
depends on the device, which is known only on the rank, so that reading (`overrides.read_overrides`,
before any heavy import) and resolving (`resolving.resolve`, once the device is known) are two steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distbench import parsing, vgg
from distbench.errors import UsageError
from distbench.plain_text import printable
from distbench.presets import PRESETS

PHASES = (
    "forward",
    "forward_backward",
    "allreduce",
    "forward_backward_allreduce",
    "train_step",
)
# A control beside the ladder: forward_backward, then hvd.allreduce of a rank with itself, which shows
# what Horovod costs where nothing has to travel. A study with size 1 measures it; nobody asks for it.
SELF_ALLREDUCE = "forward_backward_self_allreduce"
SCALINGS = ("weak", "strong")
PLACEMENTS = ("packed", "spread")
PRECISIONS = ("float32", "bfloat16", "float16")
CONVOLUTIONS = ("library", "winograd")


def _setting(default: Any, parse: Callable[[Any], Any], help_text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help_text})


@dataclass(frozen=True)
class Config:
    """What one run measures; the defaults are those of a GPU."""

    preset: str = _setting(
        "gpu",
        parsing.one_of(*PRESETS),
        "named set of values: seed (the original benchmark), gpu (the same with the paper's head), "
        "cpu (batch 1, few steps), quick (smoke run, not VGG); by default gpu or cpu by device",
    )
    config: str = _setting(
        "D", parsing.one_of(*vgg.CONFIGURATIONS), "configuration of the paper's Table 1: A to E"
    )
    image_size: int = _setting(
        224, parsing.image_size, "side of the square images, a multiple of 32"
    )
    batch_size: int = _setting(32, parsing.whole_number(1), "images per rank and step")
    classes: int = _setting(1000, parsing.whole_number(1), "outputs of fc8")
    fc_units: int = _setting(4096, parsing.whole_number(1), "outputs of fc6 and fc7")
    width_multiplier: float = _setting(
        1.0, parsing.width_multiplier, "factor on the widths of the convolutions"
    )
    head: str = _setting(
        "linear", parsing.one_of(*vgg.HEADS), "linear (the paper's logits) or relu (a ReLU on fc8)"
    )
    phases: tuple[str, ...] = _setting(
        PHASES,
        parsing.names_of(*PHASES),
        "phases to time, separated by commas: " + ", ".join(PHASES),
    )
    warmup_steps: int = _setting(
        10, parsing.whole_number(0), "warm-up steps of each phase, recorded and marked"
    )
    steps: int = _setting(100, parsing.whole_number(1), "timed steps of each phase")
    blocks: int = _setting(
        10, parsing.whole_number(1), "blocks that a phase's timed steps are divided into"
    )
    sizes: tuple[int, ...] = _setting(
        (),
        parsing.sizes,
        "scaling study in one launch: numbers of ranks to measure, such as 1,2,4,8, or auto (powers "
        "of two and all ranks)",
    )
    rounds: int = _setting(
        6,
        parsing.whole_number(1),
        "with --sizes: rounds over all sizes and phases, which share the timed steps; below 6 there "
        "is no interval",
    )
    placement: str = _setting(
        "packed",
        parsing.one_of(*PLACEMENTS),
        "with --sizes: fill groups node by node (packed) or take the nodes in turn (spread)",
    )
    scaling: str = _setting(
        "weak",
        parsing.one_of(*SCALINGS),
        "weak: --batch-size images per rank; strong: --global-batch images in all",
    )
    global_batch: int = _setting(
        0, parsing.whole_number(0), "with --scaling strong: images per step of all ranks together"
    )
    threads_per_rank: int = _setting(
        0, parsing.whole_number(0), "CPU threads of each rank; 0 shares the allowed cores out"
    )
    inter_op_threads: int = _setting(
        0,
        parsing.whole_number(0),
        "ops at a time; 0: as many as CPU threads, on a GPU TensorFlow's own",
    )
    precision: str = _setting(
        "float32",
        parsing.one_of(*PRECISIONS),
        "of activations and products; weights, gradients, fc8 and loss stay float32",
    )
    loss_scale: float = _setting(
        0.0,
        parsing.number(0, 2**24),
        "with --precision float16: factor on what flows back, taken off in float32; 0: 1024",
    )
    tf32: str = _setting(
        "default", parsing.one_of("default", "on", "off"), "float32 products of GPUs in TF32"
    )
    layout: str = _setting(
        "NHWC", parsing.one_of("NHWC", "NCHW"), "of images and activations; NCHW on GPUs only"
    )
    convolution: str = _setting(
        "library",
        parsing.one_of(*CONVOLUTIONS),
        "library: as TensorFlow's library does it; winograd: 3×3 convolutions with many channels by "
        "Winograd's F(4×4, 3×3), on CPUs in float32 only",
    )
    xla: str = _setting(
        "off",
        parsing.one_of("off", "compute", "all"),
        "compute: compile forward and backward, reduce when all gradients are there (no overlap); all: "
        "the allreduce too, by Horovod's XLA ops, on GPUs only",
    )
    input: str = _setting(
        "device",
        parsing.one_of("device", "host"),
        "where a step finds its images: held on the device, or fed from host memory in every step",
    )
    compression: str = _setting(
        "none", parsing.one_of("none", "fp16"), "of gradients while they travel"
    )
    grouped_allreduce: int = _setting(
        0, parsing.whole_number(0), "groups that gradients are reduced in; 0: each by itself"
    )
    reduction: str = _setting(
        "average",
        parsing.one_of("average", "scaled_sum", "adasum"),
        "of gradients; scaled_sum: the mean as the sum of gradients of a loss that is divided by the "
        "ranks; adasum over MPI only",
    )
    fusion_threshold_mb: float = _setting(
        -1.0, parsing.number_or_minus_one(0, 2**20), "Horovod's fusion buffer in MiB; -1: its own"
    )
    cycle_time_ms: float = _setting(
        -1.0, parsing.number_or_minus_one(0, 1e6), "Horovod's cycle time; -1: its own"
    )
    hierarchical_allreduce: bool = _setting(
        False, parsing.switch, "reduce inside the nodes first; NCCL with MPI on several nodes only"
    )
    seed: int = _setting(
        0, parsing.whole_number(0), "seed of weights, images and the order of the blocks"
    )
    output: str = _setting("", parsing.path, "the run directory; by default results/<run id>")
    tensorflow_log: bool = _setting(
        False, parsing.switch, "show TensorFlow's own start-up messages"
    )
    measure_peak: bool = _setting(
        False, parsing.switch, "time a large matrix product on every device first, for the MFU"
    )
    device_peak_tflops: float = _setting(
        0.0, parsing.number(0, 1e9), "peak of each device in TFLOP/s, for the MFU; 0: not given"
    )
    link_gb_per_s: float = _setting(
        0.0,
        parsing.number(0, 1e9),
        "GB/s (10^9 bytes/s, one direction) of each rank's link to other nodes, in a job on one node "
        "of that between its ranks; 0: not given",
    )
    intra_link_gb_per_s: float = _setting(
        0.0, parsing.number(0, 1e9), "the same of each rank's link inside its node; 0: not given"
    )
    start_timeout: float = _setting(
        900.0, parsing.number(1, 1e9), "seconds from a rank's start to its first step"
    )
    step_timeout: float = _setting(
        0.0,
        parsing.number(0, 1e9),
        "seconds in which some rank must end a step; 0: 20 times the slowest step of the warm-up, "
        "and at least 60",
    )
    deadline: float = _setting(
        0.0,
        parsing.number(0, 1e9),
        "seconds for the whole run; 0: 5 times what the warm-up promises, and at least 600 more",
    )

    def network(self) -> vgg.Vgg:
        """The network that this configuration describes."""
        return vgg.build(
            self.config,
            self.image_size,
            self.classes,
            self.fc_units,
            self.width_multiplier,
            self.head,
        )

    @property
    def is_vgg(self) -> bool:
        """Whether the layers have the paper's widths."""
        return self.width_multiplier == 1.0 and self.fc_units == 4096

    @property
    def network_label(self) -> str:
        """What a table or chart calls the network; a reduced one is marked."""
        size = f"{self.image_size}×{self.image_size}"
        if self.classes != 1000:
            size += f", {self.classes} classes"
        if self.is_vgg:
            head = ", ReLU on fc8" if self.head == "relu" else ""
            return f"VGG-{self.config}, {size}{head}"
        return (
            f"NOT VGG: {self.config} with width ×{self.width_multiplier:g}, "
            f"{self.fc_units} FC units, {size}"
        )

    def batch_of(self, ranks: int) -> int:
        """Images per rank and step where `ranks` ranks work on one step together."""
        return self.batch_size if self.scaling == "weak" else self.global_batch // ranks

    @property
    def batch_label(self) -> str:
        """What a table or chart says of the batch, and so of the kind of scaling."""
        if self.scaling == "weak":
            return f"batch {self.batch_size} per rank"
        return f"global batch {self.global_batch} (strong scaling)"

    def steps_of_blocks(self) -> tuple[int, ...]:
        """How many timed steps each block of a phase has; the first ones take the remainder."""
        each, remainder = divmod(self.steps, self.blocks)
        return tuple(each + (index < remainder) for index in range(self.blocks))

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON knows them."""
        lists = {"phases": list(self.phases), "sizes": list(self.sizes)}
        return {**dataclasses.asdict(self), **lists}


Overrides = dict[str, Any]  # the checked values that somebody gave, by setting


def settings() -> dict[str, dataclasses.Field[Any]]:
    """Name and field of every setting, in order."""
    return {item.name: item for item in dataclasses.fields(Config)}


def flag_of(name: str) -> str:
    """The command-line flag of a setting: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def from_dict(values: Mapping[str, Any]) -> Config:
    """The configuration that `as_dict` wrote; UsageError where it was not one."""
    unknown = sorted(set(values) - set(settings()))
    if unknown:
        raise UsageError(f"config.json has the unknown key {unknown[0]!r}; was it edited?")
    checked = {
        name: checked_value(name, raw, f"config.json key {name}")
        for name, raw in values.items()
        if not (name == "output" and raw == "")
    }
    if checked.get("sizes") == parsing.AUTO_SIZES:
        raise UsageError("config.json key sizes is 'auto'; a run holds the sizes themselves")
    return Config(**checked)


def checked_value(name: str, raw: Any, source: str) -> Any:
    """The value of setting `name`; UsageError with its source, what was found and what was wanted."""
    try:
        return settings()[name].metadata["parse"](raw)
    except ValueError as wanted:
        raise UsageError(f"{source} is {shown(raw)}; it must be {wanted}") from None


def shown(raw: Any) -> str:
    """A value in a sentence: printable and short."""
    text = raw if isinstance(raw, str) else repr(raw)
    clean = printable(text)
    return repr(clean) if len(clean) <= 60 else repr(clean[:60]) + "…"
