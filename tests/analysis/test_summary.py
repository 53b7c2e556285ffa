"""What tables say of a cell, against textbooks and SciPy; shares stay shares."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from palimpsest.analysis import summary
from tests.analysis import made_up

NUMBERS = st.floats(-1e3, 1e3, allow_nan=False)
SHARES = st.floats(0, 1, allow_nan=False)


class TestMetricInterval:
    def test_without_a_known_range_is_that_of_a_textbook(self):
        # n = 5, mean 3, s = √2.5, t_{.975, 4} = 2.776445: 3 ± 1.963243
        interval = summary.metric_interval("test_utilisation_slope", [1.0, 2.0, 3.0, 4.0, 5.0], 0.95)
        assert (interval.n, interval.mean) == (5, 3)
        assert interval.sd == pytest.approx(1.58113883)
        assert (interval.low, interval.high) == pytest.approx((1.0367568, 4.9632432))

    @given(st.lists(NUMBERS, min_size=2, max_size=20), st.floats(0.6, 0.99))
    def test_without_a_known_range_agrees_with_scipy(self, values, confidence):
        interval = summary.metric_interval("test_age_slope", values, confidence)
        if interval.sd > 1e-6:
            assert interval.low <= interval.mean <= interval.high
            expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
            assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)

    @given(st.lists(SHARES, min_size=2, max_size=20), st.sampled_from([0.8, 0.95, 0.99]))
    @pytest.mark.parametrize(
        "metric",
        [
            "test_accuracy_at_100",
            "sequence_accuracy",
            "test_write_ratio",
            "validation_read_focus",
            "test_slots_written",
        ],
    )
    def test_of_a_share_stays_between_0_and_1(self, metric, values, confidence):
        interval = summary.metric_interval(metric, values, confidence)
        if interval.sd > 1e-6:
            assert 0 <= interval.low < interval.mean < interval.high <= 1

    def test_of_a_share_is_narrower_than_students_where_that_is_impossible(self):
        values = [0.97, 0.99, 0.7, 0.98, 0.2]  # one seed has not learnt: Student's ends at 1.19
        student = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert student.high > 1
        assert summary.metric_interval("test_accuracy_on", values, 0.95).high < 1

    def test_of_what_is_not_negative_ends_at_0(self):
        assert summary.metric_interval("test_loss_on", [0.0, 0.0, 0.3], 0.95).low == 0
        assert summary.metric_interval("train_objective", [0.0, 0.0, 0.3], 0.95).low < 0

    def test_of_a_share_that_is_none_is_not_forced_into_the_range(self):
        assert summary.metric_interval("accuracy", [1.0, 2.0, 3.0], 0.95).mean == 2

    @given(st.lists(NUMBERS, min_size=1, max_size=20), st.randoms(), st.sampled_from(["accuracy", "objective"]))
    def test_order_does_not_matter(self, values, random, metric):
        shuffled = random.sample(values, len(values))
        first, second = (summary.metric_interval(metric, numbers, 0.95) for numbers in (values, shuffled))
        assert str(first) == str(second)

    @pytest.mark.parametrize("metric", ["test_accuracy_on", "train_objective"])
    def test_equal_values_have_no_interval_although_they_round(self, metric):
        interval = summary.metric_interval(metric, [0.3 - 0.1, 0.2, 0.9 - 0.7], 0.95)
        assert (interval.mean, interval.sd) == (pytest.approx(0.2), 0)
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)

    def test_one_value_has_no_interval(self):
        interval = summary.metric_interval("test_accuracy_on", [0.5], 0.95)
        assert (interval.n, interval.mean) == (1, 0.5)
        assert all(map(math.isnan, interval[2:]))

    @pytest.mark.parametrize("values", [[], [1.0, math.nan, 0.2], [math.inf, 1.0]])
    def test_what_is_not_finite_is_not_left_out(self, values):
        interval = summary.metric_interval("test_accuracy_on", values, 0.95)
        assert interval.n == len(values)
        assert all(map(math.isnan, interval[1:]))


class TestSummarise:
    RUNS = made_up.table(
        made_up.cell("nema_lite", {"accuracy": [0.5, 0.7, 0.9]}, {"mem_lambda": 0.1, "write_threshold": 0.5}),
        made_up.cell("write_all", {"accuracy": [0.5, math.nan, 0.75]}, diverged=[1]),
        made_up.cell("write_none", {"accuracy": [0.1, math.nan, 0.1], "ratio": [0.0, 0.0, 0.0]}),
    )

    def test_means_are_over_completed_runs_and_count_them(self):
        cells = summary.summarise(self.RUNS, made_up.AXES, 0.95).set_index("model")
        assert list(cells["n"]) == [3, 2, 3]
        assert list(cells["diverged"]) == [0, 1, 0]
        assert cells["accuracy_mean"].iloc[:2].tolist() == pytest.approx([0.7, 0.625])
        assert math.isnan(cells.loc["write_none", "accuracy_mean"])
        assert cells.loc["write_none", "ratio_mean"] == 0
        assert math.isnan(cells.loc["nema_lite", "accuracy_iqm"])

    def test_columns_stand_in_order(self):
        names = list(summary.summarise(self.RUNS, made_up.AXES, 0.95).columns)
        metrics = [
            f"{metric}_{part}" for metric in ("accuracy", "ratio") for part in ("mean", "sd", "low", "high", "iqm")
        ]
        assert names == ["experiment", "track", "model", *made_up.AXES, "n", "diverged", *metrics]

    def test_the_order_of_rows_does_not_matter(self):
        shuffled = self.RUNS.sample(frac=1, random_state=0)
        first, second = (summary.summarise(runs, made_up.AXES, 0.95) for runs in (self.RUNS, shuffled))
        pd.testing.assert_frame_equal(first, second)

    def test_a_cell_without_completed_runs_is_listed(self):
        runs = made_up.table(made_up.cell("write_all", {"accuracy": [math.nan]}, diverged=[0]))
        cells = summary.summarise(runs, made_up.AXES, 0.95)
        assert cells[["n", "diverged"]].to_numpy().tolist() == [[0, 1]]
        assert math.isnan(cells["accuracy_mean"].iloc[0])
