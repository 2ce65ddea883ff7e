"""The direction of the imports, lazy ones too, and what must not be in the code."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "distbench"
HEAVY = {"tensorflow", "horovod", "mpi4py", "keras"}
REPORTING = {"pandas", "pyarrow", "matplotlib", "scipy"}
STANDARD_LIBRARY_ONLY = [
    "config",
    "cpu_quota",
    "errors",
    "disk_space",
    "durable_files",
    "groups",
    "job_scripts",
    "knobs",
    "launched",
    "launchers",
    "layout",
    "overrides",
    "parsing",
    "plain_text",
    "plan",
    "presets",
    "process_stat",
    "record_fields",
    "rank_writer",
    "records",
    "regular_files",
    "resolving",
    "units",
    "vgg",
    "winograd_layers",
]
SHARED = {*STANDARD_LIBRARY_ONLY, ""}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    .removesuffix("__init__")
    .rstrip("."): path
    for path in PACKAGE.rglob("*.py")
}


def imported(path: Path, with_types: bool = False) -> Iterator[str]:
    """Every module that a file imports anywhere, but for those that only types need."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types and not with_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> set[str]:
    """The modules of distbench that a module imports, by their name inside the package."""
    found = set()
    for target in imported(MODULES[name]):
        if target == "distbench" or target.startswith("distbench."):
            inner = target.removeprefix("distbench").lstrip(".")
            while inner not in MODULES:  # the last part was a name inside a module
                inner = inner.rpartition(".")[0]
            found.add(inner)
    return found


def outside(name: str) -> set[str]:
    return {target.split(".")[0] for target in imported(MODULES[name])}


def test_the_walk_sees_imports_inside_functions() -> None:
    assert "worker.rank" in own("cli")
    assert "tensorflow" in outside("worker.network")


def test_no_circle_lazy_imports_counted() -> None:
    graph = {name: own(name) - {name} for name in MODULES}
    graph[""] -= {"analysis.collect"}  # load(), for notebooks, is the package's own front door
    tuple(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_halves_share_only_the_shared(name: str) -> None:
    part = name.split(".")[0] if name.split(".")[0] in ("worker", "analysis", "report") else ""
    allowed = {
        "worker": {"worker"},
        "analysis": {"analysis"},
        "report": {"report", "analysis"},
    }
    if not part:
        return
    for target in own(name):
        assert target in SHARED or target.split(".")[0] in allowed[part], f"{name} imports {target}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_heavy_packages_stay_on_their_side(name: str) -> None:
    if not name.startswith(("worker", "doctor.probe_")):  # which run as processes of their own
        assert not outside(name) & HEAVY
    if not name.startswith(("analysis", "report")):
        assert not outside(name) & REPORTING


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_what_is_shared_needs_the_standard_library_only(name: str) -> None:
    assert outside(name) <= set(sys.stdlib_module_names) | {"distbench"}


def test_measuring_knows_no_framework() -> None:
    assert outside("worker.measure") <= set(sys.stdlib_module_names) | {"distbench"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_dangerous_is_called(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    banned_modules = {"pickle", "cloudpickle", "yaml", "marshal", "shelve"}
    assert not outside(name) & banned_modules
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "os.system", "os.popen"), called
            assert not called.endswith(("read_pickle", "allgather_object", "broadcast_object"))
            assert all(keyword.arg not in ("shell", "allow_pickle") for keyword in node.keywords)
            if "worker" in name:
                assert called not in ("time.time", "datetime.now"), "wall clocks time nothing"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_functions_and_modules_stay_small(name: str) -> None:
    text = MODULES[name].read_text()
    assert len(text.splitlines()) <= 340, "split this module"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_has_its_test(name: str) -> None:
    if name in ("__main__", "") or MODULES[name].name == "__init__.py":
        return  # packages; __main__ and load() are tested by test_cli and test_collect
    assert (Path(__file__).parent / f"test_{name.rpartition('.')[2]}.py").exists()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["doctor", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom distbench.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('loaded:', sorted({name.split('.')[0] for name in sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.rpartition("loaded:")[2].replace("'", "").strip(" []\n").split(", "))
    assert not loaded & (HEAVY | REPORTING | {"numpy"})


def test_reports_need_no_tensorflow(tmp_path: Path) -> None:
    from tests.fakes import ladder_blocks, write_run

    write_run(tmp_path / "run", [ladder_blocks(), ladder_blocks()])
    blocked = ", ".join(f"{name!r}: None" for name in sorted(HEAVY))
    code = (
        f"import sys\nsys.modules.update({{{blocked}}})\n"
        f"from distbench.cli import main\nsys.exit(main(['report', {str(tmp_path / 'run')!r}]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
