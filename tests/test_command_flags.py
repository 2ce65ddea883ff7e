from __future__ import annotations

import pytest

from distbench import command_flags, config
from distbench.errors import UsageError
from distbench.simulation import cluster


def parser() -> command_flags.Parser:
    made = command_flags.Parser(prog="distbench")
    commands = made.add_subparsers()
    for add in (
        command_flags.add_run,
        command_flags.add_simulate,
        command_flags.add_study,
        command_flags.add_collect,
        command_flags.add_report,
        command_flags.add_compare,
    ):
        add(commands)
    return made


def test_a_flag_that_is_not_given_has_no_value() -> None:
    parsed = parser().parse_args(["run"])
    assert {name: getattr(parsed, name) for name in config.settings()} == dict.fromkeys(
        config.settings()
    )
    compared = parser().parse_args(["compare", "one", "other"])
    assert (compared.a, compared.b, compared.fail_above) == ("one", "other", None)
    assert (compared.json, compared.output, compared.despite_differences) == ("", "", False)


def test_simulate_has_the_clusters_flags_and_those_that_bear_on_time() -> None:
    text = parser().parse_args(["simulate", "--ranks", "2", "--slow-rank", "1:2", "--seed", "3"])
    assert (text.ranks, text.slow_rank, text.seed) == ("2", ["1:2"], "3")
    for name in cluster.MEANINGLESS_SETTINGS:
        with pytest.raises(UsageError, match="unrecognized arguments"):
            parser().parse_args(["simulate", "--ranks", "2", config.flag_of(name), "1"])


@pytest.mark.parametrize(
    "arguments", [["compare", "a"], ["report"], ["study"], ["compare", "a", "b", "--fail", "3%"]]
)
def test_what_is_missing_or_shortened_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match=r"see `distbench .*--help`"):
        parser().parse_args(arguments)


@pytest.mark.parametrize("command", ["run", "simulate", "study", "collect", "report", "compare"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "%%" not in text
    assert f"usage: distbench {command}" in text
