from __future__ import annotations

import pytest

from distbench.analysis.loss_ladder import COMPUTING, OPTIMIZER, PARTS
from distbench.report.loss_advice import advice
from tests.test_loss_shown import budget_of


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("changes", [{}, {"scaling": "strong"}, {"has_baseline": False}])
def test_every_part_has_its_advice(part: str, changes: dict[str, object]) -> None:
    text = advice(budget_of(0.1, 0.05, **changes), part)  # type: ignore[arg-type]
    assert len(text) > 20
    assert text == text.strip(".")


def test_strong_scaling_has_advice_of_its_own() -> None:
    weak, strong = budget_of(0.1, 0.05), budget_of(0.1, 0.05, scaling="strong")
    assert "bind ranks" in advice(weak, COMPUTING)
    assert "a larger global batch helps" in advice(strong, COMPUTING)
    assert "however small the batch" in advice(strong, OPTIMIZER)
