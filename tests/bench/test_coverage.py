"""The simulation of coverage: deterministic, and the committed table is the one that it writes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench import coverage
from palimpsest.rendering.coverage import COLUMNS
from tests.training.presets import PROJECT


def test_two_simulations_give_the_same_table() -> None:
    first, second = coverage.simulate(3), coverage.simulate(3)
    assert tuple(first.columns) == COLUMNS
    pd.testing.assert_frame_equal(first, second)


def test_a_net_is_right_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    for net in (coverage.Net(0.9), coverage.Net(0.9, fails=True)):
        draws = [
            net.answers(generator, 10, coverage.HARD * generator.standard_normal(coverage.EXAMPLES)).mean()
            for _ in range(300)
        ]
        assert abs(np.mean(draws) - net.mean) < 0.01


def test_committed_intervals_cover_what_they_say_where_they_can() -> None:
    """No interval of a mean knows of failures that it did not see, so that only alike seeds are asked of means."""
    table = pd.read_csv(PROJECT / coverage.RESULT)
    sure = table[(table["seeds"] == "alike") | (table["quantity"] == "share that succeeds")]
    assert sure["coverage"].min() >= 0.93
    assert (table["coverage"] >= table["coverage_student"] - 0.02).all()
