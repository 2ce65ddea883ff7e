from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# TensorFlow reads these once, when a test first imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# A shell starts what it runs in the background with SIGINT ignored, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No DISTBENCH_* setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("DISTBENCH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A path for a run directory, which does not exist yet."""
    return tmp_path / "run"
