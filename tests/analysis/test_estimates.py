"""Intervals and p values of means that have bounds, against textbooks and against each other."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from palimpsest.analysis.estimates import Sample, interval, p_values, share_variance

SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=10)


def share(values, examples=1000):
    mean = float(np.mean(values))
    return Sample(tuple(values), "share", examples, share_variance(mean, examples), 0.0, 1.0)


class TestShares:
    @given(SHARES, st.floats(0.5, 0.999))
    @settings(max_examples=50)
    def test_intervals_hold_the_mean_stay_in_bounds_and_have_a_width(self, values, confidence):
        found = interval(share(values), confidence)
        assert 0 <= found.low <= found.mean <= found.high <= 1
        assert found.low < found.high

    @given(SHARES)
    @settings(max_examples=30)
    def test_a_higher_level_gives_a_wider_interval(self, values):
        limits = [interval(share(values), level) for level in (0.8, 0.9, 0.95, 0.99, 0.999)]
        assert all(one.low >= two.low - 1e-9 for one, two in pairwise(limits))
        assert all(one.high <= two.high + 1e-9 for one, two in pairwise(limits))

    def test_seeds_that_are_all_right_have_the_exact_interval_of_the_examples(self):
        found = interval(share([1.0] * 5), 0.95)
        assert (found.low, found.high) == pytest.approx((0.025 ** (1 / 1000), 1.0))

    def test_more_examples_leave_less_open(self):
        widths = [interval(share([0.9] * 5, examples), 0.95) for examples in (100, 1000, 10_000)]
        assert [round(one.high - one.low, 3) for one in widths] == sorted(
            (round(one.high - one.low, 3) for one in widths), reverse=True
        )

    def test_far_from_bounds_and_with_many_examples_it_is_students(self):
        values = [0.45, 0.5, 0.52, 0.55, 0.48]
        found = interval(share(values, 10**9), 0.95)
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1.5e-3)

    @given(SHARES, st.floats(0.01, 0.99))
    @settings(max_examples=40)
    def test_a_p_value_is_where_the_limit_meets_the_bound(self, values, bound):
        found = p_values(share(values), bound, above=True)
        for p, side in ((found.beyond, "low"), (found.opposite, "high")):
            if 1e-6 < p < 0.5:
                assert getattr(interval(share(values), 1 - 2 * p), side) == pytest.approx(bound, abs=1e-5)

    def test_sides_are_mirrored(self):
        above, below = (p_values(share([0.8, 0.82, 0.85, 0.79]), 0.75, above=side) for side in (True, False))
        assert (above.beyond, above.opposite) == (below.opposite, below.beyond)


class TestSuccess:
    @pytest.mark.parametrize("count", range(6))
    def test_is_the_exact_binomial(self, count):
        sample = Sample((1.0,) * count + (0.0,) * (5 - count), "success", low=0.0, high=1.0)
        exact = stats.binomtest(count, 5).proportion_ci(0.95, "exact")
        found = interval(sample, 0.95)
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
        expected = stats.binomtest(count, 5, 0.5, alternative="greater").pvalue
        assert p_values(sample, 0.5, above=True).beyond == pytest.approx(expected, abs=1e-6)


class TestOthers:
    def test_plain_is_students(self):
        values = (1.0, 2.5, 0.5, 3.0)
        expected = stats.ttest_1samp(values, 0.2, alternative="greater")
        found, p = interval(Sample(values), 0.9), p_values(Sample(values), 0.2, above=True)
        limits = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        assert (found.low, found.high) == pytest.approx((limits.low, limits.high))
        assert p.beyond == pytest.approx(expected.pvalue)

    def test_equal_plain_values_have_no_interval_and_no_p_value(self):
        found = interval(Sample((2.0,) * 5), 0.95)
        assert (found.mean, found.sd) == (2.0, 0.0)
        assert math.isnan(found.low)
        assert math.isnan(p_values(Sample((2.0,) * 5), 1.0, above=True).beyond)

    def test_a_reduction_is_taken_of_logarithms(self):
        logs = tuple(np.log([0.5, 0.6, 0.4]))
        found = interval(Sample(logs, "reduction"), 0.95)
        assert found.mean == pytest.approx(1 - (0.5 * 0.6 * 0.4) ** (1 / 3))
        limits = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((1 - math.exp(limits.high), 1 - math.exp(limits.low)))

    @given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.integers(4, 12))
    @settings(max_examples=40)
    def test_a_correlation_stays_between_minus_one_and_one(self, values, points):
        found = interval(Sample(tuple(values), "correlation", points=points), 0.95)
        assert -1 <= found.low < found.high <= 1

    def test_three_points_leave_a_correlation_open(self):
        assert math.isnan(p_values(Sample((-1.0,) * 9, "correlation", points=3), -0.5, above=False).beyond)

    def test_equal_counts_are_known_to_a_half(self):
        found = interval(Sample((4.0,) * 5, "count", points=8, low=0.0, high=8.0), 0.95)
        assert 3.5 < found.low < 4 < found.high < 4.5

    def test_equal_differences_leave_the_examples(self):
        variance = 2 * share_variance(0.9, 1000)
        found = interval(Sample((0.0,) * 5, "difference", 1000, variance, -1.0, 1.0), 0.95)
        assert found.high == pytest.approx(-found.low)
        assert found.high == pytest.approx(1.96 * math.sqrt(variance), rel=0.05)

    @pytest.mark.parametrize("values", [(), (0.5,), (0.5, math.nan)])
    def test_too_little_says_nothing(self, values):
        sample = Sample(values, "share", 1000, 0.001, 0.0, 1.0)
        assert math.isnan(interval(sample, 0.95).low)
        assert math.isnan(p_values(sample, 0.1, above=True).beyond)
