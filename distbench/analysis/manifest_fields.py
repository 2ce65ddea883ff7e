"""What a manifest may hold, so that whoever reads one need not look at the type of every value.

A manifest has no checksum: it may have been edited, damaged, or come from another run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_DEPTH = 8  # of tables in tables
_MOST_NUMBER = 2**63
_MOST_TEXT = 4096
_TABLES = ("environment", "horovod", "simulated_cluster", "tensorflow", "versions")
_TABLES_OF_TEXT = ("environment", "versions")
_TEXTS = ("git_commit", "mpi_library")
_TEXTS_OF_A_RANK = ("cpu", "driver", "governor", "gpu_uuid", "system")
_NUMBERS_OF_A_RANK = ("cores_of_node", "memory_bytes")


def problem_of_manifest(manifest: Mapping[str, Any], run_id: str) -> str | None:
    """What is wrong with the manifest of the run `run_id`, in words; None where nothing is."""
    if manifest.get("run_id", run_id) != run_id:
        return f"it is of the run {_shown(manifest['run_id'])} and not of {run_id!r}"
    if not _is_plain(manifest, MOST_DEPTH):
        return "it holds tables in tables, texts or numbers that no run writes"
    for name in _TABLES:
        if not isinstance(manifest.get(name, {}), dict):
            return f"its {name} is no table"
    for name in _TABLES_OF_TEXT:
        if not all(isinstance(value, str) for value in manifest.get(name, {}).values()):
            return f"its {name} holds more than texts"
    if not isinstance(manifest.get("simulated_cluster", {}).get("parameters", {}), dict):
        return "its simulated_cluster has no table of parameters"
    for name in _TEXTS:
        if not isinstance(manifest.get(name), (str, type(None))):
            return f"its {name} is no text"
    if not _is_number(manifest.get("process_sets_registered", 0)):
        return "its process_sets_registered is no number"
    unheard = manifest.get("unwatched_ranks", [])
    if not isinstance(unheard, list) or not all(isinstance(one, str) for one in unheard):
        return "its unwatched_ranks are no list of texts"
    ranks = manifest.get("ranks", [])
    if not isinstance(ranks, list) or not all(map(_describes_a_rank, ranks)):
        return "it does not describe the ranks"
    return None


def _shown(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str) else type(value).__name__


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, (dict, list)):
        inner = list(value.values()) + list(value) if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(one, depth - 1) for one in inner)
    if isinstance(value, str):
        return len(value) <= _MOST_TEXT
    return value is None or -_MOST_NUMBER < value < _MOST_NUMBER


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _describes_a_rank(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("device"), dict):
        return False
    device, cores = item["device"], item.get("cores_allowed")
    texts = (item.get("host"), device.get("kind"), device.get("name", ""))
    told = [item[name] for name in _TEXTS_OF_A_RANK if item.get(name) is not None]
    numbers = [item[name] for name in _NUMBERS_OF_A_RANK if item.get(name) is not None]
    return (
        all(isinstance(text, str) for text in (*texts, *told))
        and all(map(_is_number, (item.get("rank"), device.get("threads"), *numbers)))
        and isinstance(cores, list)
        and all(map(_is_number, cores))
    )
