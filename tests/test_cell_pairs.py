from __future__ import annotations

from distbench.analysis.cell_pairs import differences_of, pair_cells
from tests.compare_fakes import FACTS, launch, side

MS = [10.0, 10.0]


def cell(run_id: str = "run-1", facts: dict[str, str] | None = None, **varied: str):  # type: ignore[no-untyped-def]
    return launch(MS, run_id=run_id, varied=varied, facts={**FACTS, **varied, **(facts or {})})


def test_two_runs_are_a_pair_whatever_they_differ_in() -> None:
    a, b = side(cell(facts={"config": "A"})), side(cell(facts={"config": "B"}))
    pairs, apart = pair_cells(a, b)
    assert [(pair.label, pair.a, pair.b) for pair in pairs] == [("", a.launches, b.launches)]
    assert apart == []


def test_cells_of_equal_axes_are_compared_and_the_others_are_named() -> None:
    a = side(cell("1", config="A"), cell("2", config="D"), cell("3", config="D"))
    b = side(cell("4", config="D"), cell("5", config="E"))
    pairs, apart = pair_cells(a, b)
    assert [pair.label for pair in pairs] == ["config D"]
    assert [one.run_id for one in pairs[0].a] == ["2", "3"]
    assert [one.run_id for one in pairs[0].b] == ["4"]
    assert apart == ["only A has config A", "only B has config E"]


def test_a_run_is_compared_with_the_cell_of_its_settings() -> None:
    run = side(launch(MS, facts={**FACTS, "HOROVOD_CYCLE_TIME": "5"}))
    study = side(cell("1", HOROVOD_CYCLE_TIME="1"), cell("2", HOROVOD_CYCLE_TIME="5"))
    pairs, apart = pair_cells(run, study)
    assert [pair.b[0].run_id for pair in pairs] == ["2"]
    assert apart == ["only B has HOROVOD_CYCLE_TIME 1"]


def test_axes_that_tell_nothing_apart_do_not_part_the_sides() -> None:
    """One deliberately sets a variable, in a study of one cell each."""
    a, b = side(cell(HOROVOD_CYCLE_TIME="1")), side(cell(HOROVOD_CYCLE_TIME="5"))
    pairs, apart = pair_cells(a, b)
    assert len(pairs) == 1
    assert apart == []
    ((difference, cells),) = differences_of(pairs)
    assert (difference.name, difference.a, difference.b) == ("HOROVOD_CYCLE_TIME", "1", "5")
    assert cells == ()


def test_a_difference_of_some_cells_names_them() -> None:
    a = side(cell(config="A"), cell(config="D"))
    b = side(
        cell(config="A", facts={"device": "GPU: y", "seed": "1"}),
        cell(config="D", facts={"seed": "1"}),
    )
    found = differences_of(pair_cells(a, b)[0])
    assert [(one.name, cells) for one, cells in found] == [("device", ("config A",)), ("seed", ())]
