"""The one document that describes a study or a tuning: written by this distbench, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from distbench.durable_files import MOST_DOCUMENT_BYTES
from distbench.errors import DistbenchError, RecordsError, UsageError
from distbench.regular_files import read_at_most

T = TypeVar("T")


class Schema(NamedTuple):
    """What a document says of itself."""

    name: str
    version: int

    def as_dict(self) -> dict[str, Any]:
        """The keys that `read_document` looks for."""
        return {"schema": self.name, "schema_version": self.version}


def read_document(path: Path, what: str, schema: Schema, build: Callable[[Any], T]) -> T:
    """What `build` makes of the document at `path`, which describes a `what`: a study or a tuning.

    Raises RecordsError where there is none, or where it is none of this schema.
    """
    try:
        document: Mapping[str, Any] = json.loads(read_at_most(path, MOST_DOCUMENT_BYTES))
        if (document["schema"], document["schema_version"]) != schema:
            raise ValueError(
                f"its schema is {document['schema']!r} version {document['schema_version']!r}"
            )
        return build(document)
    except OSError as error:
        raise RecordsError(
            f"{path} cannot be read ({error.strerror}); name the directory of a {what}"
        ) from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        UsageError,
    ) as error:
        reason = error.sentence if isinstance(error, DistbenchError) else error
        raise RecordsError(
            f"{path} is not the {path.name} of this distbench ({reason}); "
            f"bring it back from a copy of the {what}"
        ) from error
