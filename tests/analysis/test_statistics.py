"""Statistics over seeds against independent computations."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from palimpsest.analysis import statistics
from tests.analysis import made_up

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


class TestMeanInterval:
    def test_is_that_of_a_textbook(self):
        # n = 5, mean 3, s = √2.5, t_{.975, 4} = 2.776445: 3 ± 1.963243
        interval = statistics.mean_interval([1, 2, 3, 4, 5], 0.95)
        assert interval.n == 5
        assert interval.mean == 3
        assert interval.sd == pytest.approx(1.58113883)
        assert (interval.low, interval.high) == pytest.approx((1.0367568, 4.9632432))

    @given(st.lists(NUMBERS, min_size=2, max_size=20), st.floats(0.6, 0.99))
    def test_agrees_with_scipy_and_contains_the_mean(self, values, confidence):
        interval = statistics.mean_interval(values, confidence)
        assert interval.low <= interval.mean <= interval.high
        if interval.sd > 1e-6:
            expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
            assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)

    @given(st.lists(NUMBERS, min_size=1, max_size=20), st.randoms())
    def test_order_does_not_matter(self, values, random):
        shuffled = random.sample(values, len(values))
        assert str(statistics.mean_interval(values, 0.95)) == str(statistics.mean_interval(shuffled, 0.95))

    def test_equal_values_give_a_point_although_they_round(self):
        interval = statistics.mean_interval([0.3 - 0.1, 0.2, 0.9 - 0.7], 0.95)
        assert interval.sd == 0
        assert interval.low == interval.mean == interval.high == pytest.approx(0.2)

    def test_one_value_has_no_interval(self):
        interval = statistics.mean_interval([0.5], 0.95)
        assert (interval.n, interval.mean) == (1, 0.5)
        assert all(map(math.isnan, interval[2:]))

    @pytest.mark.parametrize("values", [[], [1.0, math.nan, 2.0], [math.inf, 1.0]])
    def test_what_is_not_finite_is_not_left_out(self, values):
        interval = statistics.mean_interval(values, 0.95)
        assert interval.n == len(values)
        assert all(map(math.isnan, interval[1:]))


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


class TestSummarise:
    RUNS = made_up.table(
        made_up.cell("nema_lite", {"accuracy": [0.5, 0.7, 0.9]}, {"mem_lambda": 0.1, "write_threshold": 0.5}),
        made_up.cell("write_all", {"accuracy": [0.5, math.nan, 0.75]}, diverged=[1]),
        made_up.cell("write_none", {"accuracy": [0.1, math.nan, 0.1], "ratio": [0.0, 0.0, 0.0]}),
    )

    def test_means_are_over_completed_runs_and_count_them(self):
        summary = statistics.summarise(self.RUNS, made_up.AXES, 0.95).set_index("model")
        assert list(summary["n"]) == [3, 2, 3]
        assert list(summary["diverged"]) == [0, 1, 0]
        assert summary["accuracy_mean"].iloc[:2].tolist() == pytest.approx([0.7, 0.625])
        assert math.isnan(summary.loc["write_none", "accuracy_mean"])
        assert summary.loc["write_none", "ratio_high"] == 0
        assert math.isnan(summary.loc["nema_lite", "accuracy_iqm"])

    def test_columns_stand_in_order(self):
        names = list(statistics.summarise(self.RUNS, made_up.AXES, 0.95).columns)
        metrics = [
            f"{metric}_{part}" for metric in ("accuracy", "ratio") for part in ("mean", "sd", "low", "high", "iqm")
        ]
        assert names == ["experiment", "track", "model", *made_up.AXES, "n", "diverged", *metrics]

    def test_the_order_of_rows_does_not_matter(self):
        shuffled = self.RUNS.sample(frac=1, random_state=0)
        first, second = (statistics.summarise(runs, made_up.AXES, 0.95) for runs in (self.RUNS, shuffled))
        pd.testing.assert_frame_equal(first, second)

    def test_a_cell_without_completed_runs_is_listed(self):
        runs = made_up.table(made_up.cell("write_all", {"accuracy": [math.nan]}, diverged=[0]))
        summary = statistics.summarise(runs, made_up.AXES, 0.95)
        assert summary[["n", "diverged"]].to_numpy().tolist() == [[0, 1]]
        assert math.isnan(summary["accuracy_mean"].iloc[0])
