from __future__ import annotations

from pathlib import Path

from distbench.layout import RunLayout


def test_every_path_is_inside_the_run_directory() -> None:
    layout = RunLayout(Path("results/x"))
    paths = [layout.config, layout.manifest, layout.status, layout.raw, layout.derived]
    assert {path.parent for path in paths} == {Path("results/x")}
    assert len(set(paths)) == len(paths)
