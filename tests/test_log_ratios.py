from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from distbench.analysis.launch_intervals import unpaired_ratio
from distbench.analysis.log_ratios import (
    Contrast,
    holm,
    interval_half,
    log_ratio,
    simultaneous_confidence,
)

BASE = [10.0, 10.2, 9.9, 10.1, 10.05]
CANDIDATE = [10.6, 10.4, 10.5, 10.9]


def test_a_ratio_is_welchs_of_the_logarithms() -> None:
    found = log_ratio([Contrast(CANDIDATE, BASE)])
    test = stats.ttest_ind(np.log(CANDIDATE), np.log(BASE), equal_var=False)
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-9)
    assert found.freedom == pytest.approx(test.df)
    interval = test.confidence_interval(0.95)
    assert found.interval() == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert (found.ratio, *found.interval()) == pytest.approx(unpaired_ratio(CANDIDATE, BASE))


def test_a_higher_confidence_is_a_wider_interval() -> None:
    found = log_ratio([Contrast(CANDIDATE, BASE)])
    wider = stats.ttest_ind(np.log(CANDIDATE), np.log(BASE), equal_var=False)
    ends = wider.confidence_interval(simultaneous_confidence(10))
    assert found.interval(0.995) == pytest.approx((math.exp(ends.low), math.exp(ends.high)))


def test_a_and_b_may_change_places() -> None:
    there = log_ratio([Contrast(CANDIDATE, BASE)])
    back = log_ratio([Contrast(BASE, CANDIDATE)])
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.interval()[0] * back.interval()[1] == pytest.approx(1)
    assert there.p_value == pytest.approx(back.p_value)


def test_a_ratio_of_ratios_adds_up_the_variances() -> None:
    first, second = [2.0, 2.2, 2.1], [3.0, 3.3, 3.6]
    found = log_ratio([Contrast(CANDIDATE, BASE), Contrast(first, second, sign=-1)])
    parts = [np.var(np.log(x), ddof=1) / len(x) for x in (CANDIDATE, BASE, first, second)]
    freedom = sum(parts) ** 2 / sum(
        part**2 / (count - 1) for part, count in zip(parts, (4, 5, 3, 3))
    )
    assert found.error == pytest.approx(math.sqrt(sum(parts)))
    assert found.freedom == pytest.approx(freedom)
    ratios = [np.exp(np.mean(np.log(x))) for x in (CANDIDATE, BASE, first, second)]
    assert found.ratio == pytest.approx(ratios[0] / ratios[1] / (ratios[2] / ratios[3]))


def test_a_single_value_borrows_the_spread_of_the_other_side() -> None:
    """Student's test of one observation against a sample: sd · √(1 + 1/n), n − 1 degrees."""
    found = log_ratio([Contrast([10.6], BASE)])
    logs = np.log(BASE)
    error = float(np.std(logs, ddof=1)) * math.sqrt(1 + 1 / 5)
    assert (found.error, found.freedom) == (pytest.approx(error), pytest.approx(4))
    t = (math.log(10.6) - float(logs.mean())) / error
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(t), 4))


def test_single_values_have_no_interval() -> None:
    found = log_ratio([Contrast([2.0], [1.0])])
    assert found.ratio == pytest.approx(2)
    assert all(math.isnan(value) for value in (*found.interval(), found.p_value))


def test_values_without_any_spread_are_certain() -> None:
    same = log_ratio([Contrast([2.0, 2.0], [2.0, 2.0])])
    other = log_ratio([Contrast([4.0, 4.0], [2.0, 2.0])])
    assert (same.p_value, same.interval()) == (1.0, (1.0, 1.0))
    assert other.p_value == 0
    assert other.interval() == (pytest.approx(2), pytest.approx(2))


def test_holm_by_hand() -> None:
    # 0.01·4, then 0.02·3 = 0.06, then 0.025·2 = 0.05 (not below 0.06), then 0.9
    assert holm([0.025, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_does_not_count_what_has_no_p_value() -> None:
    found = holm([math.nan, 0.02, math.nan, 0.03])
    assert [math.isnan(p) for p in found] == [True, False, True, False]
    assert found[1::2] == pytest.approx([0.04, 0.04])


def test_the_confidence_of_each_of_many_intervals() -> None:
    assert simultaneous_confidence(1) == pytest.approx(0.95)
    assert simultaneous_confidence(10) == pytest.approx(0.995)
    assert simultaneous_confidence(0) == pytest.approx(0.95)


def test_half_an_interval_is_in_the_unit_of_the_values() -> None:
    values = [1.00, 1.02, 0.98, 1.01]
    logs = np.log(values)
    end = math.exp(logs.mean() + stats.t.ppf(0.975, 3) * logs.std(ddof=1) / 2)
    assert interval_half(values) == pytest.approx(end - math.exp(logs.mean()))
    assert math.isnan(interval_half([1.0]))
