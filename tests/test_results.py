"""What must be true of the committed results, whatever they are."""

from __future__ import annotations

import pandas as pd
import pytest

from palimpsest.analysis.frames import axes_of
from palimpsest.analysis.tables import read_runs
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
