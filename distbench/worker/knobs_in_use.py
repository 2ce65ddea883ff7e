"""Which settings are really in use on this rank: read back from graphs, TensorFlow and Horovod.

Horovod has no way to ask it for its fusion threshold, its cycle time or whether it reduces in the nodes
first: those are recorded as requested and not readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from distbench.config import Config
from distbench.errors import CorrectnessError
from distbench.knobs import REDUCING_KNOBS, horovod_variables
from distbench.winograd_layers import suited_layers
from distbench.worker.computing import Computing
from distbench.worker.graph_facts import GraphFacts

ANY = "default"  # whatever TensorFlow or Horovod does by itself
NOT_READABLE = "requested, not readable"
NO_SUCH_OP = "no graph of this rank holds such an op"


class Setting(NamedTuple):
    """One setting: what was asked for, what is in use (None: not known), and how that is known."""

    name: str
    requested: str
    in_use: str | None
    how: str


def settings_in_use(
    config: Config,
    facts: Sequence[GraphFacts],
    hvd: Any,
    is_gpu: bool,
    environ: Mapping[str, str],
) -> list[Setting]:
    """All settings that change the speed, as this rank has them. `facts` are those of its phases."""
    return [
        *_of_graphs(config, facts, hvd),
        *_of_tensorflow(config, is_gpu, environ),
        *_of_horovod(config, environ),
    ]


def check_in_use(settings: Iterable[Setting]) -> None:
    """Raises CorrectnessError where something else is in use than was asked for."""
    for setting in settings:
        if setting.in_use is None or setting.requested in (ANY, setting.in_use):
            continue
        raise CorrectnessError(
            f"{setting.name} is {setting.requested}, but {setting.in_use} is in use ({setting.how}); "
            "no speed is shown for settings that have no effect; please report this with the run "
            "directory"
        )


def _of_graphs(config: Config, facts: Sequence[GraphFacts], hvd: Any) -> Iterator[Setting]:
    scale = Computing.of(config).loss_scale
    computing = [one for one in facts if one.product_types]
    reducing = [one for one in facts if one.wire_types]
    wire = {"float32": "none", "float16": "fp16"}
    yield _read(
        "precision",
        config.precision,
        (kind for one in facts for kind in one.product_types),
        "Conv2D",
    )
    scales = (f"{found:g}" for one in facts for found in one.loss_scales)
    if scale != 1.0:
        yield _read("loss_scale", f"{scale:g}", scales, "the factor's constants")
    yield _read("layout", config.layout, (kind for one in facts for kind in one.layouts), "Conv2D")
    sizes = config.sizes or (hvd.size(),)
    algorithms = (_convolution(config, sizes, one.stacked_products) for one in computing)
    yield _read("convolution", config.convolution, algorithms, "stacked matrix products")
    yield _read("xla", config.xla, _compiled(config, computing), "_XlaMustCompile")
    fed = ("host" if one.is_fed else "device" for one in computing)
    yield _read("input", config.input, fed, "the functions' inputs")
    types = (wire.get(kind, kind) for one in reducing for kind in one.wire_types)
    yield _read("compression", config.compression, types, "what Horovod's ops reduce")
    groups = (str(len(one.grouped_tensors)) for one in reducing)
    yield _read("grouped_allreduce", str(config.grouped_allreduce), groups, "grouped ops")
    found = (_operation(hvd, number) for one in reducing for number in one.reduce_operations)
    yield _read("reduction", config.reduction, found, "reduce_op of Horovod's ops")


def _convolution(config: Config, sizes: Sequence[int], stacked_products: int) -> str:
    """Winograd's products: one of each convolution that it serves, and two more of its gradients."""
    if not stacked_products:
        return "library"
    network = config.network()
    served = [len(suited_layers(network, config.batch_of(size))) for size in sizes]
    is_whole = any(stacked_products in (count, 3 * count) for count in served)
    return "winograd" if is_whole else "winograd in part"


def _operation(hvd: Any, number: int) -> str:
    names = {hvd.Average: "average", hvd.Sum: "scaled_sum", hvd.Adasum: "adasum"}
    return names.get(number, f"Horovod's {number}")


def _read(name: str, requested: str, found: Iterable[str], where: str) -> Setting:
    values = sorted(set(found))
    if not values:
        return Setting(name, requested, None, NO_SUCH_OP)
    return Setting(name, requested, " and ".join(values), f"the graph: {where}")


def _compiled(config: Config, computing: Sequence[GraphFacts]) -> Iterator[str]:
    """What XLA compiles of each function that computes; where it reduces nothing, all of it is both."""
    for one in computing:
        if not (one.is_compiled_whole or one.is_compiled_in_part):
            yield "off"
        elif one.wire_types:
            yield "all" if one.is_compiled_whole else "compute"
        else:
            yield config.xla if config.xla != "off" else "compute"


def _of_tensorflow(config: Config, is_gpu: bool, environ: Mapping[str, str]) -> Iterator[Setting]:
    import tensorflow as tf

    threads = str(tf.config.threading.get_inter_op_parallelism_threads())
    requested = str(config.inter_op_threads or ANY)
    yield Setting("inter_op_threads", requested, threads, "TensorFlow; 0 is its own choice")
    if not is_gpu:
        yield Setting("tf32", config.tf32, None, "a mode of GPUs")
        return
    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    if environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        yield Setting("tf32", config.tf32, "off", "NVIDIA_TF32_OVERRIDE=0")
    else:
        yield Setting("tf32", config.tf32, "on" if allowed else "off", "TensorFlow")


def _of_horovod(config: Config, environ: Mapping[str, str]) -> Iterator[Setting]:
    variables = {
        "fusion_threshold_mb": "HOROVOD_FUSION_THRESHOLD",
        "cycle_time_ms": "HOROVOD_CYCLE_TIME",
        "hierarchical_allreduce": "HOROVOD_HIERARCHICAL_ALLREDUCE",
    }
    asked = horovod_variables(config.as_dict())
    for name in (name for name in REDUCING_KNOBS if name in variables):
        variable = variables[name]
        held = (
            f"{variable}={environ[variable]}" if variable in environ else f"{variable} is not set"
        )
        requested = str(getattr(config, name)) if variable in asked else ANY
        yield Setting(name, requested, None, f"{NOT_READABLE}; {held}")
