"""Lifetimes of slots, and their Kaplan-Meier curves beside a naive version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.analysis.survival import Lives, kaplan_meier, lives


def weights(*written: str) -> np.ndarray:
    """One example with one head: a string a slot, with ``x`` where it is written."""
    return np.array([[[[float(slot[step] == "x") for slot in written]] for step in range(len(written[0]))]])


def test_a_life_ends_with_the_next_write_and_the_last_one_runs_on() -> None:
    found = lives(weights("x..x..", "......", ".x...."), np.array([6]))
    assert found.steps.tolist() == [3, 3, 5]
    assert found.running.tolist() == [False, True, True]


def test_what_follows_the_sequence_is_not_seen() -> None:
    found = lives(weights("x..x"), np.array([3]))
    assert (found.steps.tolist(), found.running.tolist()) == ([3], [True])


def test_heads_write_together_and_half_a_write_replaces() -> None:
    shared = np.full((1, 2, 2, 1), 0.25)
    assert lives(shared, np.array([2])).steps.tolist() == [1, 1]
    assert not len(lives(shared * 0.9, np.array([2])).steps)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=30))
def test_the_curve_is_the_product_of_the_shares_that_survive_each_step(sample: list[tuple[int, bool]]) -> None:
    """S(t) = Π_{s ≤ t} (1 − deaths(s) / at risk(s)), where all that live at least s steps are at risk at s."""
    found = Lives(np.array([steps for steps, _ in sample]), np.array([running for _, running in sample]))
    steps, shares = kaplan_meier(found)
    naive = 1.0
    for step, share in zip(steps, shares, strict=True):
        at_risk = sum(other >= step for other, _ in sample)
        naive *= 1 - sum(other == step and not running for other, running in sample) / at_risk
        assert share == pytest.approx(naive, abs=1e-12)
    assert steps.tolist() == sorted({steps for steps, _ in sample})


def test_a_life_that_runs_on_keeps_the_curve_up() -> None:
    ended, running = (kaplan_meier(Lives(np.array([2, 5]), np.array([False, still])))[1] for still in (False, True))
    assert ended.tolist() == [0.5, 0.0]
    assert running.tolist() == [0.5, 0.5]
