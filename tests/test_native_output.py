from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from distbench.worker.native_output import stderr_kept_back


def write(text: str) -> None:
    os.write(2, text.encode())


def test_what_is_written_inside_is_kept_back(capfd: Any) -> None:
    with stderr_kept_back(active=True):
        write("inside")
        subprocess.run(["sh", "-c", "echo child >&2"], check=True)
    write("outside")
    assert capfd.readouterr().err == "outside"


def test_it_is_shown_where_something_failed(capfd: Any) -> None:
    def fail() -> None:
        with stderr_kept_back(active=True):
            write("the reason")
            raise ImportError("no library")

    with pytest.raises(ImportError):
        fail()
    assert "the reason" in capfd.readouterr().err


def test_nothing_is_kept_back_where_it_is_asked_for(capfd: Any) -> None:
    with stderr_kept_back(active=False):
        write("inside")
    assert capfd.readouterr().err == "inside"
