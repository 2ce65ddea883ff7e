from __future__ import annotations

from distbench import cli, errors


def test_every_kind_has_its_own_code_and_is_documented() -> None:
    kinds = errors.ERROR_KINDS.values()
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    for kind in kinds:
        assert f"\n  {kind.exit_code:<3} " in cli.EXIT_CODES
        assert kind.__name__ in (errors.__doc__ or "")


def test_the_message_carries_the_code() -> None:
    error = errors.OutputError("there is no room")
    assert str(error) == "there is no room (exit code 9)"
    assert error.sentence == "there is no room"


def test_all_errors_are_in_the_table() -> None:
    assert set(errors.ERROR_KINDS.values()) == set(errors.DistbenchError.__subclasses__())
