"""Measures of continual learning, beside naive loops over the equations, and what must hold between them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from palimpsest.analysis import claims, continual, runs
from palimpsest.analysis.continual import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forgetting_curves,
    forward_transfer,
    learnt_accuracy,
)
from palimpsest.analysis.ranges import range_of
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.planning.specs import RunSpec
from tests.analysis import made_up
from tests.training import presets

PHASES = {"first": {}, "second": {"data": "other"}, "third": {"data": "short", "training": {"num_epochs": 2}}}
DATA = {"other": {"seed": 2}, "short": {"config": {"num_train": 20}}}

SQUARES = st.integers(2, 6).flatmap(
    lambda phases: arrays.arrays(np.float64, (phases, phases), elements=st.floats(0, 1))
)


def read(directory: Path, **changes: Any) -> Params:
    """The smallest preset in three phases, the last of which is shorter."""
    return presets.read(directory, data=DATA, phases=PHASES, **changes)


def spec_of(params: Params) -> RunSpec:
    return specs.resolve(params, plan.cells(params)[0])[0]


def naive(matrix: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    """Every measure as a loop over its equation."""
    last = len(matrix) - 1
    lost = changed = ahead = 0.0
    for phase in range(last):
        best = -1.0
        for trained in range(last):
            best = max(best, matrix[trained][phase])
        lost += best - matrix[last][phase]
        changed += matrix[last][phase] - matrix[phase][phase]
        ahead += matrix[phase][phase + 1] - chance[phase + 1]
    return {
        "average_accuracy": sum(matrix[last][phase] for phase in range(last + 1)) / (last + 1),
        "learnt_accuracy": sum(matrix[phase][phase] for phase in range(last + 1)) / (last + 1),
        "forgetting": lost / last,
        "backward_transfer": changed / last,
        "forward_transfer": ahead / last,
    }


def measured(matrix: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    return {
        "average_accuracy": average_accuracy(matrix),
        "learnt_accuracy": learnt_accuracy(matrix),
        "forgetting": forgetting(matrix),
        "backward_transfer": backward_transfer(matrix),
        "forward_transfer": forward_transfer(matrix, chance),
    }


@given(SQUARES, st.floats(0, 1))
def test_measures_are_the_loops_over_their_equations_and_stay_in_their_ranges(matrix: np.ndarray, low: float) -> None:
    chance = np.linspace(0, low, len(matrix))
    found, expected = measured(matrix, chance), naive(matrix, chance)
    assert found == pytest.approx(expected, abs=1e-12)
    assert set(found) == set(continual.RANGES)
    for name, value in found.items():
        ends = range_of(f"test_{name}")
        assert ends == continual.RANGES[name]
        assert ends.low - 1e-12 <= value <= ends.high + 1e-12


@given(SQUARES)
def test_what_is_forgotten_is_at_least_what_is_lost_since_training(matrix: np.ndarray) -> None:
    assert forgetting(matrix) >= -backward_transfer(matrix) - 1e-12
    phases = len(matrix)
    lost = average_accuracy(matrix) - learnt_accuracy(matrix)
    assert lost == pytest.approx(backward_transfer(matrix) * (phases - 1) / phases, abs=1e-12)


@given(arrays.arrays(np.float64, st.integers(2, 6), elements=st.floats(0, 1)))
def test_nothing_is_forgotten_where_nothing_changes(row: np.ndarray) -> None:
    matrix = np.tile(row, (len(row), 1))
    assert (forgetting(matrix), backward_transfer(matrix)) == (0, 0)
    assert average_accuracy(matrix) == learnt_accuracy(matrix) == pytest.approx(row.mean())
    assert forward_transfer(matrix, row) == 0


@given(SQUARES)
def test_two_phases_forget_what_they_do_not_transfer_backward(matrix: np.ndarray) -> None:
    """With T = 2 the best accuracy on the first phase is the one after its training."""
    two = matrix[:2, :2]
    assert forgetting(two) == -backward_transfer(two)


def test_forgetting_is_negative_where_the_last_phase_helps() -> None:
    assert forgetting(np.array([[0.5, 0.1], [0.75, 1.0]])) == -0.25


@given(SQUARES)
def test_a_curve_begins_directly_after_training_and_ends_with_the_last_phase(matrix: np.ndarray) -> None:
    curves, phases = forgetting_curves(matrix), len(matrix)
    for phase in range(phases):
        for since in range(phases):
            value = curves[since, phase]
            assert value == matrix[phase + since, phase] if phase + since < phases else np.isnan(value)


@pytest.mark.parametrize(
    "measure",
    [average_accuracy, learnt_accuracy, forgetting, backward_transfer, forgetting_curves],
)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3,)])
def test_a_matrix_of_another_shape_is_refused(measure: Callable[[np.ndarray], Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"accuracies {re.escape(str(shape))}; allowed: \(T, T\)"):
        measure(np.zeros(shape))


def test_every_phase_has_its_own_chance() -> None:
    with pytest.raises(ValueError, match=r"chance \(3,\); allowed: \(2,\), one for each phase"):
        forward_transfer(np.zeros((2, 2)), np.zeros(3))


class TestOfRuns:
    def test_runs_in_phases_have_measures_of_both_splits_and_others_none(self, tmp_path: Path) -> None:
        params = read(tmp_path)
        made_up.write_tree(params, tmp_path)
        table = runs.collect(params, tmp_path)
        for row in table.to_dict("records"):
            matrix = np.array([[made_up.accuracy_in_phases(i, j, row["seed"]) for j in range(3)] for i in range(3)])
            for name, value in naive(matrix, np.full(3, 0.1)).items():
                assert row[f"test_{name}"] == pytest.approx(value)
            assert row["validation_average_accuracy"] == pytest.approx(row["test_average_accuracy"] - 0.125)
            assert row["validation_forgetting"] == pytest.approx(row["test_forgetting"])
        alone = presets.read(tmp_path, phases={"only": {}})
        made_up.write_tree(alone, tmp_path / "alone")
        assert not [name for name in runs.collect(alone, tmp_path / "alone") if "forgetting" in name]

    def test_chance_is_that_of_the_data_of_each_phase(self, tmp_path: Path) -> None:
        assert continual.chances(spec_of(read(tmp_path))).tolist() == [0.1, 0.1, 0.1]

    def test_what_is_equal_has_no_rounding_left(self, tmp_path: Path) -> None:
        spec = spec_of(read(tmp_path))
        same = {"first": 0.1 + 0.2, "second": 0.7, "third": 0.9}
        metrics = {
            f"{split}_accuracy_after_{after}_on_{on}": value if after != "first" else round(value, 15)
            for split in continual.SPLITS
            for after in same
            for on, value in same.items()
        }
        found = continual.measures(metrics, spec, tmp_path)
        assert (found["test_forgetting"], found["test_backward_transfer"]) == (0, 0)

    def test_an_accuracy_that_is_not_finite_leaves_nothing_behind(self, tmp_path: Path) -> None:
        spec = spec_of(read(tmp_path))
        metrics = dict.fromkeys(made_up.accuracies_in_phases(spec))
        assert all(np.isnan(value) for value in continual.measures(metrics, spec, tmp_path).values())

    def test_a_missing_accuracy_is_one_line(self, tmp_path: Path) -> None:
        spec = spec_of(read(tmp_path))
        metrics: dict[str, float | None] = {**made_up.accuracies_in_phases(spec)}
        del metrics["test_accuracy_after_second_on_third"]
        path = tmp_path / "final.json"
        with pytest.raises(
            DataError, match=rf"^{path}: metrics.test_accuracy_after_second_on_third: missing; allowed: "
        ):
            continual.measures(metrics, spec, path)


class TestClaims:
    """A claim names a measure as it names any metric."""

    FORGETS_LESS: ClassVar[dict[str, Any]] = {
        "kind": "difference",
        "group": "ours",
        "metric": "test_forgetting",
        "minus": {"group": "other"},
        "scale": "plain",
        "bound": {"less_than": 0},
    }
    LEARNT: ClassVar[dict[str, Any]] = {
        "learnt": [{"groups": ["ours"], "metric": "test_learnt_accuracy"}],
    }

    def decide(self, tmp_path: Path, test: dict[str, Any], learnt: float = 0.9, ours: float = 0.1) -> dict[str, Any]:
        """The verdict on ten seeds each, of which every one of ours is at the floor on the first phase."""
        noise = np.linspace(-0.03, 0.03, 10)
        cells = [
            made_up.cell(
                model,
                {
                    "test_forgetting": (forgets + sign * noise).tolist(),
                    "test_learnt_accuracy": (learnt + noise).tolist(),
                    "test_accuracy_on": (0.1 + noise / 10).tolist(),
                },
            )
            for model, forgets, sign in (("nema_lite", ours, 1), ("write_all", 0.4, -1))
        ]
        table = made_up.table(*cells)
        table["flags"] = "at_floor"
        groups = {"ours": {"model": "nema_lite"}, "other": {"model": "write_all"}}
        asked = made_up.claims(tmp_path, groups, test, conditions=self.LEARNT)
        (row,) = claims.decide(table, asked, 0.95, resolved=made_up.known(table)).table.to_dict("records")
        return row

    def test_forgetting_less_is_decided_where_each_phase_was_learnt(self, tmp_path: Path) -> None:
        row = self.decide(tmp_path, self.FORGETS_LESS)
        assert row["verdict"] == "holds"
        assert row["estimate"] == pytest.approx(-0.3)
        assert self.decide(tmp_path, self.FORGETS_LESS, ours=0.6)["verdict"] == "fails"

    def test_who_learns_nothing_forgets_nothing_and_is_untested(self, tmp_path: Path) -> None:
        row = self.decide(tmp_path, self.FORGETS_LESS, learnt=0.2)
        assert row["verdict"] == "untested"
        assert "test_learnt_accuracy" in row["reason"]

    def test_what_may_be_negative_is_no_share(self, tmp_path: Path) -> None:
        value = {"kind": "value", "group": "ours", "metric": "test_forgetting", "bound": {"at_most": 0}}
        with pytest.raises(
            ParameterError, match="scale: share, but test_forgetting has a mean of -0.2; allowed: plain"
        ):
            self.decide(tmp_path, value, ours=-0.2)
