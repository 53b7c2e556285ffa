"""Statistics over seeds against independent computations."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from palimpsest.analysis import statistics

NUMBERS = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 6))
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


class TestProportions:
    @pytest.mark.parametrize(
        ("successes", "low", "high"),
        [(5, 0.025**0.2, 1.0), (0, 0.0, 1 - 0.025**0.2), (4, 0.2835821, 0.9949492)],
    )
    def test_of_five_are_those_of_a_textbook(self, successes, low, high):
        interval = statistics.proportion_interval(successes, 5, 0.95)
        assert (interval.n, interval.mean) == (5, successes / 5)
        assert (interval.low, interval.high) == pytest.approx((low, high))
        assert math.isnan(interval.sd)

    @given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.6, 0.99))
    def test_limits_are_where_the_tails_have_their_share(self, counts, confidence):
        successes, n = counts
        interval = statistics.proportion_interval(successes, n, confidence)
        assert interval.low <= interval.mean <= interval.high
        if successes:
            assert stats.binom.sf(successes - 1, n, interval.low) == pytest.approx((1 - confidence) / 2, abs=1e-6)
        if successes < n:
            assert stats.binom.cdf(successes, n, interval.high) == pytest.approx((1 - confidence) / 2, abs=1e-6)

    def test_of_nothing_are_unknown(self):
        assert all(map(math.isnan, statistics.proportion_interval(0, 0, 0.95)[1:]))


def test_interquartile_mean_wants_eight_values():
    assert statistics.interquartile_mean([100, 1, 2, 3, 4, 5, 6, -100]) == 3.5
    assert math.isnan(statistics.interquartile_mean([1] * 7))


class TestHolm:
    def test_is_that_of_the_textbook(self):
        """Adjusted p values of 0.01, 0.04, 0.03 and 0.005 are 0.03, 0.06, 0.06 and 0.02."""
        assert statistics.holm_steps([0.01, 0.04, 0.03, 0.005], 0.05) == [3, 2, 2, 4]

    @given(P_VALUES, st.floats(0.001, 0.5))
    def test_rejects_what_the_procedure_rejects(self, p_values, level):
        order = sorted(range(len(p_values)), key=p_values.__getitem__)
        rejected = set()
        for rank, index in enumerate(order):
            if p_values[index] * (len(p_values) - rank) > level:
                break
            rejected.add(index)
        steps = statistics.holm_steps(p_values, level)
        assert {index for index, p in enumerate(p_values) if p * steps[index] <= level} == rejected


def test_a_pair_without_its_other_half_is_nan():
    difference = statistics.paired_difference({0: 1.0, 1: 2.0, 2: math.nan}, {0: 0.25, 2: 1.0, 3: 1.0})
    assert difference[0] == 0.75
    assert [seed for seed, value in difference.items() if math.isnan(value)] == [1, 2, 3]


def test_binomial_p_value_is_a_sum_of_terms():
    exact = sum(math.comb(20, right) * 0.1**right * 0.9 ** (20 - right) for right in range(5, 21))
    assert statistics.above_floor(5, 20, 0.1) == pytest.approx(exact)


class TestSpearman:
    def test_with_ties(self):
        first, second = [0, 0.05, 0.1, 0.2], [0.4, 0, 0, 0]
        assert statistics.spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)

    def test_what_does_not_vary_moves_with_nothing(self):
        assert statistics.spearman([1, 2, 3], [0.5, 0.5, 0.5]) == 0

    @pytest.mark.parametrize(("first", "second"), [([1.0], [1.0]), ([1.0, 2.0], [1.0, math.nan])])
    def test_without_two_numbers_there_is_none(self, first, second):
        assert math.isnan(statistics.spearman(first, second))
