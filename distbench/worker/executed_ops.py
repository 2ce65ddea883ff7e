"""Counts the ops that TensorFlow really executed on this rank.

Horovod's timeline counts too, but has to be switched on for the whole process and slows Gloo's
cycles even when stopped. TensorFlow's profiler leaves nothing behind: its host tracer at level 3
records each executed op as 'name:Type' (level 2 records none of Horovod's).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ALLREDUCE_OP = "HorovodAllreduce"
GROUPED_ALLREDUCE_OP = "HorovodGroupedAllreduce"


def count_executed_ops(call: Callable[[], Any]) -> Counter[str]:
    """Runs `call` once under the profiler; returns how often each type of op was executed."""
    import tensorflow as tf

    options = tf.profiler.experimental.ProfilerOptions(
        host_tracer_level=3, python_tracer_level=0, device_tracer_level=0
    )
    with tempfile.TemporaryDirectory(prefix="distbench-profile-") as folder:
        tf.profiler.experimental.start(folder, options)
        try:
            call()
            tf.test.experimental.sync_devices()
        finally:
            tf.profiler.experimental.stop()
        return _executions(Path(folder))


def _executions(folder: Path) -> Counter[str]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    executions: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.xplane.pb")):
        space = xplane_pb2.XSpace()
        space.ParseFromString(path.read_bytes())
        for plane in space.planes:
            types = {key: _op_type(item.name) for key, item in plane.event_metadata.items()}
            for line in plane.lines:
                executions.update(types[event.metadata_id] for event in line.events)
    return executions


def _op_type(event_name: str) -> str:
    return event_name.rpartition(":")[2]
