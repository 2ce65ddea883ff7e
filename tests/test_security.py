"""Hostile input: text that is run as code, paths that lead out, names that drive what shows them, secrets.

What reaches launchers and job scripts is tested in test_launchers and test_job_scripts, the names of
cells and hosts in test_study_fields, what the package calls in test_architecture.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from distbench.durable_files import write_atomically
from distbench.errors import OutputError, RecordsError, UsageError
from distbench.layout import RunLayout
from distbench.overrides import read_overrides
from distbench.rank_writer import RankWriter
from distbench.records import encode, raw_file_name
from distbench.report import html
from distbench.report.build import collect, report
from distbench.study import study_files
from distbench.study.launch_runner import Interrupts
from distbench.study.study_plan import Console
from distbench.study.study_runner import StudyRunner
from distbench.worker import host, run_directory
from distbench.worker.run_directory import gather_records
from tests import launching
from tests.fakes import RUN_ID, FakeWorld, header, ladder_blocks, small_config, write_run
from tests.study_fakes import stand_in_launcher, study_of

ROOT = Path(__file__).parent.parent
OWN_CODE = sorted(
    path
    for folder in ("launch", "benchmarks", "tests/real_ranks")
    for path in (ROOT / folder).rglob("*.py")
)
SCRIPTS = sorted((ROOT / "launch").rglob("*.sh"))
SECRET = "s3cr3t-of-this-test"
HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd()|' /C calc'!A0",
    "+1+cmd()",
    "@SUM(1)",
    "$\\frac{1}{",
    "\x1b[2J\x1b]0;title\x07",
    "](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "a\u202eb\u2066c",
    "a|b\nc\r\nd",
    '"><img src=x onerror=alert(1)>',
    "../../etc/passwd",
    "a,b\tc",
    "`rm`*_#",
)


# What runs text as code

BANNED = {"pickle", "cloudpickle", "dill", "yaml", "marshal", "shelve"}


@pytest.mark.parametrize("path", OWN_CODE, ids=lambda path: path.name)
def test_no_program_beside_the_package_runs_text_as_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            assert not {name.partition(".")[0] for name in names} & BANNED
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "os.system", "os.popen"), called
            assert not called.startswith(("os.exec", "os.spawn", "subprocess.getoutput")), called
            assert all(keyword.arg not in ("shell", "allow_pickle") for keyword in node.keywords)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_shell_script_runs_text_as_code(path: Path) -> None:
    lines = [line.partition(" #")[0] for line in path.read_text().splitlines()]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    assert not re.search(r"(^|[;&|]\s*|\s)eval\s|\bsh -c \"|curl[^\n]*\|\s*(ba)?sh", text)


def test_the_package_starts_no_shell() -> None:
    """Every subprocess gets a list of words, and none of them is a shell with text to run."""
    for path in (ROOT / "distbench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, (ast.List, ast.Tuple)) or len(node.elts) < 2:
                continue
            words = [getattr(element, "value", None) for element in node.elts[:2]]
            is_shell = isinstance(words[0], str) and words[0].rpartition("/")[2] in ("sh", "bash")
            assert not (is_shell and words[1] == "-c"), f"{path.name}:{node.lineno}"


# Paths that lead out of the directory


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/x", "a/../../b", "..", "a\0b", "-rf", "$(touch x)", "é" * 99, "x" * 300],
)
def test_a_studys_directory_stays_under_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        study = study_of(study={"name": name})
    except UsageError:
        return
    record = study_files.create(study, "", "")
    assert record.layout.directory.resolve().parent == tmp_path / "results"
    cells = [record.layout.cell(cell.id).resolve().parent for cell in record.cells]
    assert set(cells) == {record.layout.directory.resolve() / "cells"}


@pytest.mark.parametrize("cell_id", ["../../../x", "/tmp/x", "a\0b", ".", "a/b", "", [], {}])
def test_a_study_json_whose_cells_lead_out_is_refused(tmp_path: Path, cell_id: Any) -> None:
    study = study_of(axes={"config": ["A", "D"]})
    record = study_files.create(study, str(tmp_path / "study"), "")
    document = json.loads(record.layout.study.read_text())
    document["cells"][0]["id"] = cell_id
    record.layout.study.write_text(json.dumps(document))
    with pytest.raises(RecordsError):
        study_files.load(tmp_path / "study")


@pytest.mark.parametrize("run_id", ["../../x", "/etc/x", "a\0b", "..", *HOSTILE])
def test_a_run_id_in_the_records_names_no_file(tmp_path: Path, run_id: str) -> None:
    layout = write_run(tmp_path / "in" / "run", [ladder_blocks(rounds=1)])
    document = json.loads(layout.config.read_text())
    layout.config.write_text(json.dumps({**document, "run_id": run_id}))
    path = layout.raw / raw_file_name(0)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record.pop("crc32")
    path.write_bytes(b"".join(encode({**record, "run_id": run_id}) for record in records))
    before = files_below(tmp_path)
    collect(layout.directory)
    assert files_below(tmp_path) - before == {layout.derived / "steps.parquet"}


def files_below(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if not path.is_dir()}


def test_a_planted_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    layout = write_run(tmp_path / "run", [ladder_blocks()] * 2)
    layout.manifest.write_text(json.dumps({"ranks": []}))
    report(layout.directory)
    names = sorted(path.name for path in layout.derived.iterdir())
    assert "report.html" in names
    victims = {}
    for name in names:
        victim = tmp_path / f"victim-{name}"
        victim.write_text("untouched")
        (layout.derived / name).unlink()
        (layout.derived / name).symlink_to(victim)
        victims[name] = victim
    report(layout.directory)
    for name, victim in victims.items():
        assert victim.read_text() == "untouched", name
        assert not (layout.derived / name).is_symlink(), name


def test_a_rank_never_writes_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for target in (victim, tmp_path):
        (tmp_path / raw_file_name(0)).symlink_to(target)
        with pytest.raises(OutputError):
            RankWriter(tmp_path, RUN_ID, 0)
        (tmp_path / raw_file_name(0)).unlink()
    assert not victim.exists()


def test_documents_replace_a_link_and_guess_no_name(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    status = tmp_path / "status.json"
    status.symlink_to(victim)
    beside = tmp_path / f".status.json.{os.getpid()}.tmp"
    beside.symlink_to(victim)
    write_atomically(status, b"{}")
    assert victim.read_text() == "untouched"
    assert not status.is_symlink()
    assert status.read_bytes() == b"{}"


def test_a_run_directory_that_is_a_link_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="exists already"):
        run_directory.create(FakeWorld(0, 1), small_config(output=str(tmp_path / "run")), RUN_ID)
    (tmp_path / "run").unlink()
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"):
        run_directory.create(FakeWorld(0, 1), small_config(output=str(tmp_path / "run")), RUN_ID)
    assert not (tmp_path / "nowhere").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_gathered_records_do_not_replace_what_a_link_names(tmp_path: Path) -> None:
    world = FakeWorld(0, 1)
    run = run_directory.create(world, small_config(output=str(tmp_path / "run")), RUN_ID)
    (tmp_path / "victim").write_text("untouched")
    (run.layout.raw / raw_file_name(0)).symlink_to(tmp_path / "victim")
    gather_records(world, run)
    assert (tmp_path / "victim").read_text() == "untouched"


@pytest.mark.parametrize("path", ["a\0b", "a\nb", "\x1b[2J", ""])
def test_an_output_that_is_no_path_is_refused(path: str) -> None:
    if not path:
        return
    with pytest.raises(UsageError, match="--output"):
        read_overrides({"output": path}, {})


# Text that drives what shows it


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunLayout, str]:
    """The report of a run in which all that somebody chooses is hostile, and what the terminal got."""
    directory = tmp_path_factory.mktemp("hostile") / "run"
    evil = " ".join(HOSTILE)
    device = {"kind": "CPU", "name": evil, "nvml_name": evil, "threads": 1, "threads_reason": evil}
    blocks = [{**one, "group_size": len(HOSTILE)} for one in ladder_blocks()]
    layout = write_run(directory, [blocks] * len(HOSTILE), unfinished=[1])
    for rank_number, text in enumerate(HOSTILE):
        path = layout.raw / raw_file_name(rank_number)
        lines = path.read_bytes().splitlines(keepends=True)
        its_device = {**device, "name": text}
        told = {"host": text, "device": its_device, "transport": evil, "controller": evil}
        common = {"run_id": RUN_ID, "rank": rank_number}
        first = {**header(rank_number, len(HOSTILE), **told), **common, "kind": "header", "seq": 0}
        path.write_bytes(b"".join([encode(first), *lines[1:]]))
        if rank_number == 1:
            failure = {"sentence": evil, "traceback": evil, "is_echo": False}
            with open(path, "ab") as file:
                file.write(encode({**common, **failure, "kind": "failure", "seq": len(lines)}))
                file.write(encode({**common, "kind": evil, "seq": 999}))
    layout.status.write_text(json.dumps({"state": "failed", "cause": evil}))
    machine = {"host": evil, "device": device, "cores_allowed": [0], "cpu": evil, "driver": evil}
    manifest = {"ranks": [{"rank": 0, **machine}], "environment": {evil: evil}, "git_commit": evil}
    layout.manifest.write_text(json.dumps({**manifest, "versions": {evil: evil, "horovod": evil}}))
    _, text, _ = report(layout.directory)
    return layout, text


def drives_a_terminal(text: str) -> list[str]:
    """The characters that a terminal or a reader's eye is led astray by."""
    return [char for char in text if not char.isprintable() and char != "\n"]


def test_the_terminal_gets_no_control_character(shown: tuple[RunLayout, str]) -> None:
    assert drives_a_terminal(shown[1]) == []
    assert "alert(1)" in shown[1]


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_holds_no_element_that_the_records_named(shown: tuple[RunLayout, str]) -> None:
    page = (shown[0].derived / "report.html").read_text()
    elements = _Elements()
    elements.feed(page)
    names = {name for name, _ in elements.found}
    assert not names & {"script", "iframe", "object", "embed", "form", "base", "link"}
    for _, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png"))
    assert drives_a_terminal(page) == []
    policies = [one.get("content") for _, one in elements.found if "http-equiv" in one]
    assert policies == [html.POLICY]


def test_markdown_holds_no_link_image_or_element_of_the_records(
    shown: tuple[RunLayout, str],
) -> None:
    text = (shown[0].derived / "report.md").read_text()
    assert drives_a_terminal(text) == []
    bare = re.sub(r"\\.", "", text)  # what is escaped is shown as it is
    images = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", bare)
    assert images
    assert all((shown[0].derived / name).is_file() for name in images)
    assert re.findall(r"(?<!!)\[[^\]]*\]\([^)]*\)", bare) == []
    assert not re.search(r"<[a-z/!]", bare, re.IGNORECASE)


def csv_cells(layout: RunLayout) -> list[tuple[str, str]]:
    """Every cell of every CSV file of a report, with the file's name."""
    paths = sorted(layout.derived.glob("*.csv"))
    assert {"summary.csv", "stragglers.csv"} <= {path.name for path in paths}
    rows = ((path.name, row) for path in paths for row in csv.reader(io.StringIO(path.read_text())))
    return [(name, cell) for name, row in rows for cell in row]


def test_tables_for_spreadsheets_hold_no_formula(shown: tuple[RunLayout, str]) -> None:
    for name, cell in csv_cells(shown[0]):
        is_number = re.fullmatch(r"[-+]?(\d+\.?\d*(e[-+]?\d+)?|inf|nan)", cell)
        assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), name


def test_tables_hold_no_control_character(shown: tuple[RunLayout, str]) -> None:
    assert [name for name, cell in csv_cells(shown[0]) if drives_a_terminal(cell)] == []


def test_charts_are_drawn_with_hostile_names_and_hold_no_element_of_them(
    shown: tuple[RunLayout, str],
) -> None:
    charts = sorted(shown[0].derived.glob("*.svg"))
    assert charts
    for path in charts:
        text = path.read_text()
        elements = _Elements()
        elements.feed(text)
        assert not {name for name, _ in elements.found} & {"script", "img", "foreignobject", "a"}
        assert not set(text) & {"\x1b", "\u202e"}


# Secrets

SECRET_NAMES = (
    "AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN GITHUB_TOKEN HF_TOKEN WANDB_API_KEY HOROVOD_SECRET_KEY "
    "HOROVOD_API_TOKEN HOROVOD_PASSWORD NCCL_AUTH NCCL_TOKEN XLA_CREDENTIALS OMP_PASSPHRASE UCX_SECRET "
    "TF_USE_KEY OMPI_MCA_btl_tcp_key OMPI_MCA_orte_secret SLURM_JWT KUBERNETES_SERVICE_TOKEN "
    "SSH_AUTH_SOCK PS1 horovod_cycle_time XHOROVOD_CYCLE_TIME"
)
SECRETS = dict.fromkeys(SECRET_NAMES.split(), SECRET)


def test_no_secret_passes_the_allow_list() -> None:
    assert host.environment(SECRETS) == {}
    kept = {"HOROVOD_CYCLE_TIME": "1", "HOROVOD_TIMELINE": f"/home/{SECRET}/timeline.json"}
    assert SECRET not in json.dumps(host.environment({**SECRETS, **kept}))


def test_a_study_writes_no_variable_that_it_was_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    environ = {**SECRETS, **stand_in_launcher(tmp_path / "bin")}
    study = study_of(horovod={"HOROVOD_CYCLE_TIME": [2]})
    record = study_files.create(study, str(tmp_path / "study"), "")
    console = Console(io.StringIO(), io.StringIO())
    StudyRunner(study, record, environ, console, Interrupts()).run_missing()
    assert list((tmp_path / "study").rglob("argv.json"))
    assert without_secrets(tmp_path / "study")


def without_secrets(directory: Path) -> bool:
    """Whether no file below a directory, nor its name, holds the secret."""
    paths = list(directory.rglob("*"))
    assert paths
    return not any(
        SECRET in str(path) or (path.is_file() and SECRET.encode() in path.read_bytes())
        for path in paths
    )


@pytest.mark.real
def test_a_real_run_keeps_no_secret_of_its_environment(tmp_path: Path) -> None:
    ended = launching.run(
        launching.distbench(*launching.TINY, "--output", "run"), tmp_path, **SECRETS
    )
    assert ended.returncode == 0, ended.stderr
    environment = json.loads((tmp_path / "run" / "manifest.json").read_text())["environment"]
    assert environment["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert without_secrets(tmp_path / "run")
    assert SECRET not in ended.stdout + ended.stderr


@pytest.mark.parametrize("name", [*SECRETS, "PATH", "LD_PRELOAD", "PYTHONPATH"])
def test_a_study_sets_no_variable_but_those_of_horovod(name: str) -> None:
    if name.startswith("HOROVOD_"):
        return
    with pytest.raises(UsageError):
        study_of(horovod={name: ["x"]})
