"""The table of accuracy matrices: every entry of every run in phases, as training measured it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from palimpsest.analysis import runs
from palimpsest.analysis.accuracy_matrices import accuracy_matrices, read_accuracy_matrices
from palimpsest.analysis.frames import axes_of
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import read_json, write_json
from palimpsest.planning import plan
from tests.analysis import made_up
from tests.analysis.test_continual import read
from tests.training import presets, test_phases

RUN = "results/tiny/track=repaired/model=nema_lite/mem_lambda=0.1/write_threshold=0.5/seed=1"


def test_a_row_for_each_phase_on_each_phase_of_each_run(tmp_path: Path) -> None:
    params = read(tmp_path)
    made_up.write_tree(params, tmp_path)
    table = accuracy_matrices(params, tmp_path, "tiny")
    names = ["first", "second", "third"]
    for row in table.to_dict("records"):
        trained, phase = row["phases_trained"] - 1, row["phase"] - 1
        assert (row["after"], row["on"]) == (names[trained], names[phase])
        expected = made_up.accuracy_in_phases(trained, phase, row["seed"])
        assert row["test_accuracy"] == pytest.approx(expected)
        assert row["validation_accuracy"] == pytest.approx(expected - 0.125)
    keys = [*axes_of(table), "model", "seed", "after", "on"]
    assert len(table.drop_duplicates(keys)) == len(table) == 3 * 3 * 9
    assert table["chance"].unique().tolist() == [0.1]


def test_steps_are_those_of_all_phases_so_far(tmp_path: Path) -> None:
    """Three epochs of 48 examples in batches of 16, twice; then two epochs of 20."""
    params = read(tmp_path)
    made_up.write_tree(params, tmp_path)
    table = accuracy_matrices(params, tmp_path, "tiny")
    steps = table.groupby("after")["steps"].unique().map(list).to_dict()
    assert steps == {"first": [9], "second": [18], "third": [22]}
    assert read_json(tmp_path / RUN / "final.json")["steps"] == 22


def test_what_is_written_is_read(tmp_path: Path) -> None:
    params = read(tmp_path)
    made_up.write_tree(params, tmp_path)
    table, path = accuracy_matrices(params, tmp_path, "tiny"), tmp_path / "accuracy_matrices.csv"
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_accuracy_matrices(path), table, check_dtype=False)
    path.write_text(path.read_text().replace(",third,", ",,", 1))
    with pytest.raises(DataError, match=rf"^{path}: column 'on', row 4: ''; allowed: a name$"):
        read_accuracy_matrices(path)


def test_runs_without_phases_and_those_that_diverged_have_no_row(tmp_path: Path) -> None:
    alone = presets.read(tmp_path)
    made_up.write_tree(alone, tmp_path / "alone")
    empty = accuracy_matrices(alone, tmp_path / "alone", "tiny")
    assert empty.empty
    path = tmp_path / "empty.csv"
    empty.to_csv(path, index=False)
    assert read_accuracy_matrices(path).empty
    params = read(tmp_path)
    made_up.write_tree(params, tmp_path)
    write_json(tmp_path / RUN / "final.json", read_json(tmp_path / RUN / "final.json") | {"status": "diverged"})
    table = accuracy_matrices(params, tmp_path, "tiny")
    assert len(table) == (3 * 3 - 1) * 9
    assert table.query("mem_lambda == 0.1")["seed"].unique().tolist() == [0, 2]


def test_a_history_that_ends_early_is_one_line(tmp_path: Path) -> None:
    params = read(tmp_path)
    made_up.write_tree(params, tmp_path)
    path = tmp_path / RUN / "history.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(DataError, match=rf"^{path}: column 'epoch': 7 rows; allowed: epochs 1 to 8, in order$"):
        accuracy_matrices(params, tmp_path, "tiny")


def test_a_trained_run_has_the_values_that_stand_beside_it(tmp_path: Path) -> None:
    """The table agrees with ``phases.csv`` and with the steps that were taken, the metrics with the table."""
    params = test_phases.read(tmp_path)
    for base in ("model=nema_lite", "model=no_memory"):
        test_phases.train(params, tmp_path, base)
    table, collected = accuracy_matrices(params, tmp_path, "tiny"), runs.collect(params, tmp_path, "tiny")
    axes = axes_of(table)
    for row in collected.to_dict("records"):
        directory = runs.run_directory(row, axes)
        stored = test_phases.matrix_of(tmp_path / directory)
        own = [entry for entry in table.to_dict("records") if runs.run_directory(entry, axes) == directory]
        assert [entry["steps"] for entry in own if entry["phases_trained"] == 2] == [row["steps"]] * 2
        for entry in own:
            for split in ("validation", "test"):
                assert entry[f"{split}_accuracy"] == stored[entry["after"], entry["on"], split, "accuracy"]
        matrix = np.array([entry["test_accuracy"] for entry in own]).reshape(2, 2)
        assert row["test_average_accuracy"] == pytest.approx(matrix[1].mean())
        assert row["test_backward_transfer"] == pytest.approx(matrix[1, 0] - matrix[0, 0])
        assert row["test_forward_transfer"] == pytest.approx(matrix[0, 1] - 0.1)
    assert len(collected) == len(plan.cells(params)) * len(params.seeds)
