"""Statistics over seeds against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
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
        assert all(map(math.isnan, statistics.proportion_beyond(0, 0, 0.5, above=True)))

    def test_tests_add_up_the_tail(self):
        # 4 or 5 of 5 fair coins: (5 + 1) / 32; at most 4: 31 / 32
        assert statistics.proportion_beyond(4, 5, 0.5, above=True) == pytest.approx((6 / 32, 31 / 32))
        assert statistics.proportion_beyond(4, 5, 0.5, above=False) == pytest.approx((31 / 32, 6 / 32))

    @given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.01, 0.99))
    def test_a_bound_below_the_interval_is_passed_and_one_within_is_not(self, counts, bound):
        successes, n = counts
        interval = statistics.proportion_interval(successes, n, 0.95)
        p = statistics.proportion_beyond(successes, n, bound, above=True)
        if abs(bound - interval.low) > 1e-6:
            assert (p.beyond <= 0.025) == (bound < interval.low)
        if abs(bound - interval.high) > 1e-6:
            assert (p.opposite <= 0.025) == (bound > interval.high)


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


class TestMeanBeyond:
    @given(st.lists(NUMBERS, min_size=2, max_size=12), NUMBERS)
    def test_agrees_with_scipy(self, values, bound):
        assume(np.std(values) > 1e-3)
        for above, word in ((True, "greater"), (False, "less")):
            p = statistics.mean_beyond(values, bound, above=above, inclusive=True)
            assert p.beyond == pytest.approx(stats.ttest_1samp(values, bound, alternative=word).pvalue, abs=1e-9)
            assert p.beyond + p.opposite == pytest.approx(1)

    @pytest.mark.parametrize(
        ("value", "above", "inclusive", "beyond"),
        [
            (0.3 - 0.1, True, True, True),  # 0.19999999999999998: lies on the bound, rounding aside
            (0.3 - 0.1, True, False, False),
            (0.3 - 0.1, False, True, True),
            (0.3 - 0.1, False, False, False),
            (0.21, True, False, True),
            (0.21, False, True, False),
        ],
    )
    def test_equal_values_decide_by_themselves(self, value, above, inclusive, beyond):
        p = statistics.mean_beyond([value] * 3, 0.2, above=above, inclusive=inclusive)
        assert p == (float(not beyond), float(beyond))

    @pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan], [math.nan, math.nan]])
    def test_too_little_decides_nothing(self, values):
        assert all(map(math.isnan, statistics.mean_beyond(values, 0.0, above=True, inclusive=True)))


class TestHolm:
    def test_is_that_of_the_textbook(self):
        # m = 4, sorted .005, .01, .03, .04: 4·.005, 3·.01, 2·.03, then .04 raised to .06
        assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    @given(P_VALUES)
    def test_never_smaller_keeps_the_order_stays_a_probability(self, p_values):
        adjusted = statistics.holm(p_values)
        assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
        order = np.argsort(p_values, kind="stable")
        assert (np.diff(np.array(adjusted)[order]) >= 0).all()

    @given(P_VALUES)
    def test_a_test_without_p_value_counts_into_the_family(self, p_values):
        *adjusted, last = statistics.holm([*p_values, math.nan])
        assert last == 1
        assert adjusted == statistics.holm([*p_values, 1.0])[:-1]


def test_a_pair_without_its_other_half_is_nan():
    difference = statistics.paired_difference({0: 1.0, 1: 2.0, 2: math.nan}, {0: 0.25, 2: 1.0, 3: 1.0})
    assert difference[0] == 0.75
    assert [seed for seed, value in difference.items() if math.isnan(value)] == [1, 2, 3]


def test_binomial_p_value_is_a_sum_of_terms():
    exact = sum(math.comb(20, right) * 0.1**right * 0.9 ** (20 - right) for right in range(5, 21))
    assert statistics.above_chance(5, 20, 0.1) == pytest.approx(exact)


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
