"""The settings that change the speed and not the network: which of them exist here, and their names.

What Horovod can do is what the source of 0.28.1 says. Hierarchical allreduce is compiled only into
builds with both NCCL and MPI, and is ignored where all ranks are on one node. Adasum is an operation of
MPI, on GPUs with NCCL inside the nodes; it knows the world only and powers of two, and the grouped
allreduce of Python fails with it. XLA knows HorovodAllreduce alone, and only in builds for GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

from distbench.config import Config, Overrides, flag_of
from distbench.errors import MissingPartError, UsageError
from distbench.winograd_layers import suited_layers

TF32_CAPABILITY = (8, 0)  # Ampere: the first with TF32 and with products of bfloat16
KNOBS = (
    "inter_op_threads",
    "precision",
    "loss_scale",
    "tf32",
    "layout",
    "convolution",
    "xla",
    "input",
    "compression",
    "grouped_allreduce",
    "reduction",
    "fusion_threshold_mb",
    "cycle_time_ms",
    "hierarchical_allreduce",
)
REDUCING_KNOBS = KNOBS[KNOBS.index("compression") :]  # without effect where nothing is reduced
_MIB = 2**20


class Place(NamedTuple):
    """What decides which settings exist: the device, the ranks, and how Horovod was built.

    `compute_capability` is that of a GPU of NVIDIA, None for others. `build` is what the library says of
    itself: nccl_built, mpi_enabled and so on.
    """

    is_gpu: bool
    compute_capability: tuple[int, int] | None
    nodes: int
    build: Mapping[str, Any]


def changed(config: Config) -> dict[str, Any]:
    """The knobs that do not stand at their defaults."""
    values = {name: getattr(config, name) for name in KNOBS}
    return {name: value for name, value in values.items() if value != getattr(Config, name)}


def label(config: Config) -> str:
    """What a title says of the knobs: 'bfloat16, XLA compute'; empty where all are as by default."""
    return ", ".join(_words(name, value) for name, value in changed(config).items())


def work_label(config: Config) -> str:
    """The network and, where they are not as by default, the knobs."""
    return ", ".join(filter(None, (config.network_label, label(config))))


def _words(name: str, value: Any) -> str:
    texts = {
        "inter_op_threads": f"{value} inter-op threads",
        "loss_scale": f"loss scale {value}",
        "tf32": f"TF32 {value}",
        "convolution": "Winograd convolutions",
        "xla": f"XLA {value}",
        "input": f"fed by the {value}",
        "compression": f"{value} on the wire",
        "grouped_allreduce": f"gradients in {value} group(s)",
        "reduction": {"scaled_sum": "sum of scaled gradients"}.get(value, str(value).capitalize()),
        "hierarchical_allreduce": "hierarchical allreduce",
    }
    if name == "fusion_threshold_mb":
        return f"fusion threshold {value:g} MiB"
    return f"cycle time {value:g} ms" if name == "cycle_time_ms" else texts.get(name, str(value))


def wire_bytes_per_gradient_byte(config: Config) -> float:
    """How much of a gradient travels: half of it where it is sent in 16 bits."""
    return 0.5 if config.compression == "fp16" else 1.0


def check_values(config: Config, world_size: int) -> None:
    """Raises UsageError where settings contradict each other, or the number of ranks."""
    for contradiction in _contradictions(config, world_size):
        raise UsageError(contradiction)


def _contradictions(config: Config, world_size: int) -> Iterator[str]:
    if config.loss_scale and config.precision != "float16":
        yield (
            f"--loss-scale is {config.loss_scale:g} and --precision is {config.precision}, which has the "
            "range that float16 lacks; leave the scale out"
        )
    if config.convolution == "winograd":
        yield from _against_winograd(config, world_size)
    groups, tensors = config.grouped_allreduce, config.network().tensor_count
    if groups > tensors:
        yield (
            f"--grouped-allreduce is {groups}, and this network has {tensors} gradient tensors; give at "
            "most as many groups"
        )
    if groups and config.xla == "all":
        yield (
            f"--grouped-allreduce is {groups} with --xla all, but XLA knows Horovod's single allreduce "
            "only; leave one of them out"
        )
    if config.reduction == "adasum":
        yield from _against_adasum(config, world_size)


def _against_winograd(config: Config, world_size: int) -> Iterator[str]:
    if config.precision != "float32":
        yield (
            f"--convolution winograd with --precision {config.precision}: its transforms would lose what "
            "16 bits hold; leave one of them out"
        )
    for ranks in config.sizes or (world_size,):
        images = config.batch_of(ranks)
        if not suited_layers(config.network(), images):
            yield (
                "--convolution winograd: no convolution of this network has the channels and, with "
                f"{images} image(s) per rank, the pixels to gain by it; leave it out"
            )


def _against_adasum(config: Config, world_size: int) -> Iterator[str]:
    if config.grouped_allreduce:
        yield (
            f"--grouped-allreduce is {config.grouped_allreduce} with --reduction adasum, with which "
            "Horovod 0.28.1's grouped allreduce fails; leave one of them out"
        )
    if config.sizes:
        yield (
            "--sizes with --reduction adasum: Adasum reduces all ranks of a job and no set of them; "
            "measure each size in a launch of its own, such as with `distbench study`"
        )
    if world_size & (world_size - 1):
        yield (
            f"--reduction adasum takes a power of two of ranks and this job has {world_size}; start "
            f"{1 << (world_size.bit_length() - 1)}"
        )


def check_place(config: Config, place: Place) -> None:
    """Raises MissingPartError where a setting does not exist on this device or in this build."""
    for reason in (*_missing_on_device(config, place), *_missing_in_build(config, place)):
        raise MissingPartError(reason)


def _missing_on_device(config: Config, place: Place) -> Iterator[str]:
    if config.tf32 != "default" and not place.is_gpu:
        yield (
            f"--tf32 {config.tf32}: TF32 is a mode of NVIDIA's GPUs, and this rank computes on a CPU; "
            "leave it out"
        )
    capability = place.compute_capability
    if capability is not None and capability < TF32_CAPABILITY:
        wanted = {"--tf32 on": config.tf32 == "on"}
        wanted["--precision bfloat16"] = config.precision == "bfloat16"
        for flag in (flag for flag, is_wanted in wanted.items() if is_wanted):
            yield (
                f"{flag}: this GPU has compute capability {capability[0]}.{capability[1]}, and it takes "
                "8.0 (Ampere) or more; leave it out"
            )
    if config.convolution == "winograd" and place.is_gpu:
        yield (
            "--convolution winograd: on GPUs cuDNN chooses the algorithm itself, this one among others; "
            "leave it out"
        )
    if config.layout == "NCHW" and not place.is_gpu:
        yield (
            "--layout NCHW: TensorFlow's kernels for CPUs know NHWC only, and it would rewrite the graph "
            "to that; leave it out"
        )


def _missing_in_build(config: Config, place: Place) -> Iterator[str]:
    if config.xla == "all" and not (place.is_gpu and _has_gpu_code(place.build)):
        what = (
            "this Horovod was built without one" if place.is_gpu else "this rank computes on a CPU"
        )
        yield (
            f"--xla all: Horovod's XLA ops are for GPUs, and {what}; --xla compute leaves the allreduce "
            "to Horovod alone"
        )
    if config.reduction == "adasum" and not place.build.get("mpi_enabled"):
        yield (
            "--reduction adasum: Horovod has Adasum over MPI only, and this job runs over Gloo; start it "
            "with mpirun"
        )
    if config.hierarchical_allreduce:
        yield from _against_hierarchical(place)


def _has_gpu_code(build: Mapping[str, Any]) -> bool:
    return bool(build.get("cuda_built") or build.get("rocm_built"))


def _against_hierarchical(place: Place) -> Iterator[str]:
    what = (
        "--hierarchical-allreduce: Horovod reduces inside the nodes first with NCCL under MPI only"
    )
    if not place.is_gpu:
        yield f"{what}, and this rank computes on a CPU; leave it out"
    elif not (place.build.get("nccl_built") and place.build.get("mpi_enabled")):
        yield f"{what}, and this job has not both; rebuild it with NCCL and start it with mpirun"
    elif place.nodes == 1:
        yield (
            "--hierarchical-allreduce: all ranks are on one node, where Horovod ignores it; leave it out"
        )


def horovod_variables(overrides: Overrides) -> dict[str, str]:
    """The variables through which Horovod is told of the knobs that somebody set."""
    found = {}
    if overrides.get("fusion_threshold_mb", -1.0) >= 0:
        found["HOROVOD_FUSION_THRESHOLD"] = str(round(overrides["fusion_threshold_mb"] * _MIB))
    if overrides.get("cycle_time_ms", -1.0) >= 0:
        found["HOROVOD_CYCLE_TIME"] = f"{overrides['cycle_time_ms']:g}"
    if overrides.get("hierarchical_allreduce"):
        found["HOROVOD_HIERARCHICAL_ALLREDUCE"] = "1"
    if overrides.get("xla") == "all":
        found["HOROVOD_ENABLE_XLA_OPS"] = "1"
    return found


_SETTING_OF = {
    "HOROVOD_FUSION_THRESHOLD": "fusion_threshold_mb",
    "HOROVOD_CYCLE_TIME": "cycle_time_ms",
    "HOROVOD_HIERARCHICAL_ALLREDUCE": "hierarchical_allreduce",
    "HOROVOD_ENABLE_XLA_OPS": "xla",
}


def set_horovod_variables(overrides: Overrides, environ: MutableMapping[str, str]) -> None:
    """Tells Horovod, which reads its variables when it is loaded and started.

    Raises UsageError where the launcher has set one of them to another value.
    """
    wanted = horovod_variables(overrides)
    for name, value in wanted.items():
        if name in environ and not _are_equal(environ[name], value):
            setting = _SETTING_OF[name]
            raise UsageError(
                f"{flag_of(setting)} asks for {name}={value}, and the environment holds "
                f"{name}={environ[name]}; unset the variable (a flag of horovodrun sets it too), or "
                "leave the setting out"
            )
    environ.update(wanted)


def _are_equal(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other
