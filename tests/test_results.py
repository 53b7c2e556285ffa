"""What must be true of the committed results, whatever they are."""

from __future__ import annotations

import pandas as pd
import pytest

from palimpsest.analysis import claims
from palimpsest.analysis.frames import axes_of
from palimpsest.analysis.runs import resolved
from palimpsest.analysis.tables import read_runs
from palimpsest.planning import plan
from palimpsest.planning.presets import read_params
from tests.training.presets import PROJECT

EXPERIMENTS = sorted(path.stem for path in (PROJECT / "tables/runs").glob("*.csv"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_some_model_has_learnt_every_experiment(experiment: str) -> None:
    """Half-way from the informed floor to the ceiling, in the mean over seeds, at some size of the test split."""
    runs = read_runs(PROJECT, experiment)
    cells = runs.groupby(["track", "model", *axes_of(runs)], dropna=False)
    shares = []
    for floor in (name for name in runs if name == "floor" or name.startswith("floor_")):
        accuracy = "test_accuracy_on" if floor == "floor" else f"test_accuracy_{floor.removeprefix('floor_')}"
        way = (runs[accuracy] - runs[floor]) / (runs["ceiling"] - runs[floor])
        shares.append(way.groupby([cells.ngroup()]).mean().max())
    assert pd.Series(shares).max() > 0.5


def test_a_second_look_is_taken_where_the_first_leaves_a_chance_and_nowhere_else() -> None:
    """The rule of ``docs/decisions.md``, on the committed runs: only by it have grids more seeds than that look."""
    preset = read_params(PROJECT / "params/default.yaml")
    known = claims.read_claims(PROJECT / "params/claims")
    decided = claims.decide(read_runs(PROJECT), known, preset.confidence, resolved=resolved(preset), looks=preset.looks)
    promising = {
        (test.measured.experiment, ruling.track)
        for ruling in decided.first
        if ruling.promising
        for test in ruling.tests
    }
    first, last = preset.looks
    again = {(cell.experiment, cell.track) for cell in plan.cells(preset) if len(cell.seeds) > first}
    assert again == promising
    assert {len(cell.seeds) for cell in plan.cells(preset) if len(cell.seeds) > first} == {last}
