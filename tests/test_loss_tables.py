from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

from distbench.report.loss_shown import shown
from distbench.report.loss_tables import (
    LOSS_COLUMNS,
    WITHOUT_BASELINE_COLUMNS,
    loss_lines,
    loss_markdown,
    loss_notes,
    loss_rows,
    loss_table,
)
from tests.test_loss import study
from tests.test_loss_shown import budget_of

SLOW_WIRE = budget_of(0.06632, 0.0, 0.003, 0.002, 0.0123, 0.010, 0.0039)


def test_the_sentence_says_how_much_is_lost_where_and_what_helps() -> None:
    (line,) = loss_lines([SLOW_WIRE])
    assert line == (
        "8 ranks reach 68.0 % (train_step; 31.20 ms of 97.52 ms lost). Largest part: exposed "
        "communication (wire's lower bound), 12.30 ms, 12.6 points: a faster link, fewer bytes "
        "(--compression fp16) or a larger batch per rank helps."
    )


def test_the_table_goes_from_ideal_to_measured() -> None:
    rows = loss_rows(shown(SLOW_WIRE))
    assert rows[0] == ("ideal: as efficient as the baseline", "66.32 ms", "", "100.0", "")
    assert rows[4] == (
        "exposed communication (wire's lower bound)",
        "12.30 ms",
        "11.07 to 13.53 ms",
        "12.6",
        "39 %",
    )
    assert rows[-3] == ("residual", "0.00 ms", "0.00 to 0.00 ms", "0.0", "0 %")
    assert rows[-2] == ("lost in all", "31.20 ms", "28.08 to 34.32 ms", "32.0", "100 %")
    assert rows[-1] == ("measured train_step", "97.52 ms", "", "68.0", "")
    assert all(len(row) == len(LOSS_COLUMNS) for row in rows)


def test_a_large_residual_is_flagged_in_words() -> None:
    large = budget_of(0.1, 0.0, 0.01, residual_s=0.002)
    (line,) = loss_lines([large])
    assert (
        "The residual of 2.0 ms is more than 10 % of the loss: what was measured does not" in line
    )
    assert loss_rows(shown(large))[3][0] == "residual (over 10 % of the loss)"
    small = budget_of(0.1, 0.0, 0.01, residual_s=0.001)
    assert "residual" not in loss_lines([small])[0]
    assert loss_rows(shown(small))[3][0] == "residual"


def test_a_residual_that_is_the_largest_part_is_told_once() -> None:
    (line,) = loss_lines([budget_of(0.1, 0.0, 0.01, residual_s=0.02)])
    assert "Largest part: residual, 20.0 ms" in line
    assert line.count("does not explain it") == 1


def test_a_loss_within_the_noise_names_no_part() -> None:
    (line,) = loss_lines([budget_of(0.1, 0.001, loss_low_s=-0.001, loss_high_s=0.002)])
    assert line == (
        "8 ranks reach 99.0 % (train_step): the loss of 1.00 ms in a step of 101.00 ms (95 % interval "
        "-1.00 to 2.00 ms) cannot be told from none."
    )


def test_no_loss_is_said() -> None:
    gain = budget_of(0.1, -0.01, loss_low_s=-0.012, loss_high_s=-0.009)
    assert loss_lines([gain]) == [
        "8 ranks reach 111.1 % (train_step; 90.00 ms, ideal 100.00 ms): nothing to speak of is lost."
    ]


def test_a_part_within_the_noise_says_so() -> None:
    budget = budget_of(0.1, 0.0, 0.01)
    waiting = budget.parts[1]
    wide = type(waiting)("waiting for slow ranks", 0.01, -0.001, 0.02, 0.1, -0.01, 0.2)
    (line,) = loss_lines([dataclasses.replace(budget, parts=(wide, *budget.parts[2:]))])
    assert (
        "10.00 ms, 10.0 points (95 % interval -1.00 to 20.00 ms, which includes 0): repair" in line
    )


def test_a_part_that_gives_much_back_is_told() -> None:
    budget = budget_of(0.1, 0.0, 0.0, 0.0, 0.0, 0.05, -0.02)
    (line,) = loss_lines([budget])
    assert line.endswith(
        "Negative is optimizer, -20.0 ms: the whole step takes less than its parts when they are measured "
        "apart."
    )
    assert "Negative" not in loss_lines([budget_of(0.1, 0.0, 0.0, 0.0, 0.0, 0.05, -0.003)])[0]
    *others, optimizer, residual = budget.parts
    for unclear in (0.01, math.nan):
        wide = (*others, dataclasses.replace(optimizer, high_s=unclear), residual)
        assert "Negative" not in loss_lines([dataclasses.replace(budget, parts=wide)])[0]


def test_interference_is_said_and_not_clipped() -> None:
    disturbed = budget_of(
        0.1,
        0.0,
        0.01,
        exposed_s=0.012,
        exposed_low_s=0.0115,
        exposed_high_s=0.013,
        allreduce_s=0.01,
    )
    (line,) = loss_lines([disturbed])
    assert line.endswith(
        "Communication disturbs computing (interference): 12.0 ms of it are exposed, more than the "
        "10.0 ms of the allreduce alone."
    )
    negative = budget_of(
        0.1, 0.0, 0.01, exposed_s=-0.002, exposed_low_s=-0.003, exposed_high_s=-0.001
    )
    assert "faster than computing alone, by 2.00 ms" in loss_lines([negative])[0]


def test_what_helps_depends_on_where_it_runs() -> None:
    def network(**changes: object) -> str:
        return loss_lines([budget_of(0.1, 0.0, 0.0, 0.0, 0.0, 0.05, **changes)])[0]  # type: ignore[arg-type]

    assert "NCCL_IB_HCA" in network()
    assert "nvidia-smi topo -m" in network(nodes=1)
    assert "HOROVOD_GLOO_IFACE" in network(device_kind="CPU")
    assert "NCCL" not in network(device_kind="CPU")


def test_without_a_baseline_there_is_no_efficiency() -> None:
    budget = budget_of(0.06632, 0.0, 0.0312, has_baseline=False)
    (line,) = loss_lines([budget])
    assert line.startswith(
        "8 ranks: of a step of 97.52 ms (train_step), 66.32 ms are the typical rank's own computing and "
        "31.20 ms are not (no baseline was measured). Largest part: waiting for slow ranks, 31.20 ms, "
        "32.0 % of the step: "
    )
    rows = loss_rows(shown(budget))
    assert (rows[0][0], rows[0][3], rows[-1][3]) == (
        "the typical rank's own computing",
        "68.0",
        "100.0",
    )
    assert WITHOUT_BASELINE_COLUMNS[3] in "\n".join(loss_table([budget]))
    assert "reach" not in "\n".join(loss_markdown([budget]))


def test_what_is_simulated_says_so_everywhere() -> None:
    budget = budget_of(0.1, 0.0, 0.05, is_simulated=True)
    assert loss_lines([budget])[0].startswith("SIMULATED: 8 ranks")
    assert loss_table([budget])[0].startswith("SIMULATED: 8 ranks on 2 nodes reach 66.7 %")
    headings = [line for line in loss_markdown([budget]) if line.startswith("#")]
    assert len(headings) == 2
    assert all("SIMULATED" in line for line in headings)


def test_the_terminal_shows_the_largest_size_and_markdown_all(run_directory: Path) -> None:
    budgets = study(run_directory)
    assert loss_table(budgets)[0] == "4 ranks on 2 nodes reach 78.7 %, train_step:"
    markdown = "\n".join(loss_markdown(budgets))
    assert re.findall(r"### (\d) ranks", markdown) == ["2", "4"]
    assert "| computing | 0.30 ms | 0.30 to 0.30 ms |" in markdown
    assert "max(0, wire's bound − backward)" in markdown


def test_notes_stand_once_for_all_sizes() -> None:
    budgets = [budget_of(0.1, 0.05, notes=("why",), size=size) for size in (2, 4)]
    assert loss_notes(budgets).count("why") == 1
    assert len(loss_notes(budgets)) == 2  # nothing is exposed, so that no formula is needed for it


def test_nothing_is_shown_of_no_budget() -> None:
    assert (loss_lines([]), loss_table([]), loss_markdown([])) == ([], [], [])
