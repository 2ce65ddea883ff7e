"""distbench: how well does data-parallel training of VGG scale on these machines?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distbench.analysis.collect import Run

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(directory: str) -> Run:
    """The frames of one run directory, for notebooks: `load("results/<run id>").steps`.

    Raises RecordsError where the directory holds no readable records.
    """
    from distbench.analysis.collect import load_run

    return load_run(directory)
