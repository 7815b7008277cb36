"""Against scipy and against R's p.adjust."""

import math

import numpy as np
import pytest
from scipy import stats

from geodesic.experiments.sweeping import statistics


def test_paired_differences_are_scipys():
    rng = np.random.default_rng(0)
    ours, baseline = ({seed: value for seed, value in enumerate(rng.normal(size=5))} for _ in range(2))
    found = statistics.paired(ours, baseline)
    expected = stats.ttest_rel(list(ours.values()), list(baseline.values()))
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx((np.mean(list(ours.values())) - np.mean(list(baseline.values())), low, high))


def test_only_seeds_that_both_have_are_compared():
    found = statistics.paired({0: 1.0, 1: 2.0, 2: 9.0}, {1: 1.5, 0: 0.0, 7: 3.0})
    assert found.seeds == 2 and found.interval.mean == pytest.approx(0.75)


def test_one_seed_has_no_interval_and_no_p():
    found = statistics.paired({0: 1.0}, {0: 0.5})
    assert found.interval.mean == 0.5 and math.isnan(found.interval.low) and math.isnan(found.p)
    assert statistics.paired({0: 1.0}, {1: 0.5}).seeds == 0


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_differences_without_any_spread(difference, p):
    baseline = {0: 0.0, 1: 0.0, 2: 0.0}
    assert statistics.paired({seed: difference for seed in baseline}, baseline).p == p


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = [(lambda found: found.low <= 3.0 <= found.high)(statistics.interval(rng.normal(3.0, 1.0, 3)))
               for _ in range(800)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


def test_holm_as_r_does():
    # R: p.adjust(c(.01, .04, .03, .005), "holm")
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = statistics.holm([0.02, math.nan, 0.9, 0.8])
    assert adjusted[0] == pytest.approx(0.06) and math.isnan(adjusted[1]) and adjusted[2:] == [1.0, 1.0]


def test_every_label_against_the_baseline_with_p_adjusted_for_their_number():
    values = {"base": {0: 1.0, 1: 2.0, 2: 3.0}, "a": {0: 1.1, 1: 2.3, 2: 3.2}, "b": {0: 1.0, 1: 2.1, 2: 2.8}}
    found = statistics.against("base", values)
    assert list(found) == ["a", "b"]
    assert found["a"].interval == statistics.paired(values["a"], values["base"]).interval
    assert [one.p_adjusted for one in found.values()] == statistics.holm([one.p for one in found.values()])
