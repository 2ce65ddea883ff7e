"""config.json, manifest.json and status.json of a run, as far as they can be believed.

Without its configuration nothing can be said about a run. The two others only add to what the records
tell, so that one that is damaged is left out and named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from distbench.analysis.manifest_fields import problem_of_manifest
from distbench.config import Config, from_dict
from distbench.errors import RecordsError, UsageError
from distbench.layout import RunLayout
from distbench.plain_text import printable
from distbench.records import decoded_object, settings_checksum
from distbench.regular_files import read_at_most

MOST_CONFIG_BYTES = 1024 * 1024
MOST_MANIFEST_BYTES = 64 * 1024 * 1024
MOST_STATUS_BYTES = 16 * 1024 * 1024
LONGEST_CAUSE = 600


class RunDocuments(NamedTuple):
    """What the documents of a run tell; `problems` says which were left out, and why.

    `cause` is why the run failed by its status.json; empty where it did not, or that is not known.
    """

    config: Config
    run_id: str
    settings_crc32: str
    manifest: dict[str, Any]
    cause: str
    problems: tuple[str, ...]


def read_documents(layout: RunLayout) -> RunDocuments:
    """Reads the documents of a run. Raises RecordsError where config.json is none of distbench."""
    settings = _needed_object(layout.config)
    run_id = settings.pop("run_id", None)
    if not isinstance(run_id, str) or not run_id:
        raise RecordsError(
            f"{layout.config} has no run_id, by which the records of a run are known; bring it back "
            "from a copy of the run directory"
        )
    problems: list[str] = []
    manifest = _object(layout.manifest, MOST_MANIFEST_BYTES, problems)
    problem = problem_of_manifest(manifest, run_id)
    if problem:
        problems.append(f"{layout.manifest.name}: left out, since {printable(problem)}")
        manifest = {}
    status = _object(layout.status, MOST_STATUS_BYTES, problems)
    if status.get("run_id", run_id) != run_id:
        problems.append(f"{layout.status.name}: left out, since it is of another run")
        status = {}
    return RunDocuments(
        config=_config(layout.config, settings),
        run_id=run_id,
        settings_crc32=settings_checksum(settings),
        manifest=manifest,
        cause=_cause(status),
        problems=tuple(problems),
    )


def _config(path: Path, settings: dict[str, Any]) -> Config:
    for name, value in settings.items():
        wanted = type(getattr(Config, name, value))
        is_one = isinstance(value, (list, tuple) if wanted is tuple else wanted)
        if not is_one and not (wanted is float and type(value) is int):
            raise RecordsError(
                f"{path} has {name} as {type(value).__name__}, where a run writes {wanted.__name__}; "
                "bring it back from a copy of the run directory"
            )
    try:
        return from_dict(settings)
    except UsageError as error:
        raise RecordsError(f"{path}: {error.sentence}") from error


def _needed_object(path: Path) -> dict[str, Any]:
    try:
        return decoded_object(read_at_most(path, MOST_CONFIG_BYTES).decode())
    except OSError as error:
        raise RecordsError(
            f"{path} cannot be read ({error.strerror}); name the directory of a run, "
            "which holds config.json and raw/"
        ) from error
    except ValueError as error:
        raise RecordsError(
            f"{path} is not valid JSON ({error}); bring it back from a copy of the run directory"
        ) from error


def _object(path: Path, most_bytes: int, problems: list[str]) -> dict[str, Any]:
    """The object in a file; empty where there is no such file, or it cannot be used, which is named."""
    try:
        return decoded_object(read_at_most(path, most_bytes).decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(f"{path.name}: left out, since it cannot be read ({error.strerror})")
    except ValueError as error:
        problems.append(f"{path.name}: left out, since it is not valid JSON ({error})")
    return {}


def _cause(status: dict[str, Any]) -> str:
    if status.get("state") != "failed":
        return ""
    cause = status.get("cause")
    text = printable(cause) if isinstance(cause, str) and cause else "status.json says so"
    return text if len(text) <= LONGEST_CAUSE else f"{text[:LONGEST_CAUSE]}…"
