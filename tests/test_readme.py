"""The README is true: its links lead somewhere, its flags, files and codes exist."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

import distbench
from distbench import config, errors
from distbench.report.build import report
from distbench.study.study import cells_of, read_study

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLE = ROOT / "results" / "example-2-cpus"


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md"])
def test_every_link_leads_to_a_file(page: str) -> None:
    folder = (ROOT / page).parent
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    assert all((folder / target).exists() for target in targets if "://" not in target)


def test_exit_codes_are_those_of_the_errors() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}
    assert codes == {0, 1} | {kind.exit_code for kind in errors.ERROR_KINDS.values()}


def test_flags_in_commands_exist() -> None:
    known = {config.flag_of(name) for name in config.settings()}
    known |= {"--mpi", "--gloo", "--use-current-env", "--toml", "--help"}
    known |= {"--dry-run", "--resume", "--repeat", "--emit", "--output"}  # of `distbench study`
    known |= {"--fail-above", "--json"}  # of `distbench compare`
    known |= {"--budget"}  # of `distbench tune`
    commands_only = re.sub(r"^```\w+\n.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    blocks = "\n".join(
        re.findall(r"^```\n(.*?)^```$", commands_only, flags=re.DOTALL | re.MULTILINE)
    )
    assert "distbench study study.toml --resume" in blocks
    for line in blocks.splitlines():
        words = shlex.split(line, comments=True)
        after = words[words.index("distbench") + 1 :] if "distbench" in words else words
        flags = [word for word in after if word.startswith("--")]
        assert set(flags) <= known, line


def test_the_study_that_is_shown_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    path = tmp_path / "study.toml"
    path.write_text(text)
    cells = cells_of(read_study(path))
    assert len(cells) == 2 * 2 * 2
    assert {cell.ranks for cell in cells} == {4}
    assert {cell.settings["sizes"] for cell in cells} == {(1, 2, 4)}


def test_the_phases_are_described() -> None:
    assert all(f"| `{phase}` |" in README for phase in config.PHASES)


def test_the_example_is_a_real_run_on_cpus_and_says_so(tmp_path: Path) -> None:
    run = distbench.load(str(EXAMPLE))
    assert (run.incomplete, run.problems, run.device_kind, run.size) == ((), (), "CPU", 2)
    assert (run.config.preset, run.config.is_vgg) == ("cpu", True)
    text = (EXAMPLE / "derived" / "report.md").read_text()
    assert "on 1 and 2 CPUs" in text
    assert "## Weak scaling, train_step" in text
    assert "measured on CPUs, not GPUs" in text


def test_the_example_report_can_be_made_again_from_its_records(tmp_path: Path) -> None:
    copy = tmp_path / "example"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("derived"))
    report(copy)
    for name in ("report.md", "summary.csv", "scaling.csv", "scaling_nvidia.md"):
        made = (copy / "derived" / name).read_text()
        assert made == (EXAMPLE / "derived" / name).read_text()
