"""From files of runs to tables: exactly the runs that are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from palimpsest.analysis import runs
from palimpsest.analysis.frames import axes_of, metrics_of
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import read_json
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.planning.plan import Cell
from palimpsest.planning.presets import read_params
from palimpsest.planning.specs import RunSpec
from tests.analysis import made_up
from tests.training import presets

CELL = "results/tiny/track=repaired/model=nema_lite/mem_lambda=0.1/write_threshold=0.5"


@pytest.fixture
def params(tmp_path: Path) -> Params:
    params = presets.read(tmp_path)
    made_up.write_tree(params, tmp_path)
    return params


def test_examples_are_counted_over_all_phases(tmp_path: Path) -> None:
    """Two epochs of 48 examples, then a stream of 20 examples in 3 steps of 8, 8 and 4, in two epochs."""
    stream = {"num_epochs": 2, "batch_size": 8, "order": "stream"}
    params = presets.read(
        tmp_path,
        training={"num_epochs": 2},
        data={"short": {"config": {"num_train": 20}}},
        phases={"first": {}, "second": {"data": "short", "training": stream}},
    )
    spec = specs.resolve(params, plan.cells(params)[0])[0]
    assert [runs._seen(spec, [2, 2], epoch)["examples_seen"] for epoch in range(5)] == [0, 48, 96, 96 + 8, 96 + 20]
    assert [runs._seen(spec, [1, 2], epoch)["examples_seen"] for epoch in range(4)] == [0, 48, 48 + 8, 48 + 20]


def edit(path: Path, key: str, value: Any) -> None:
    """Set one value of a JSON file; dots in the key go down."""
    content = json.loads(path.read_text())
    *way, last = key.split(".")
    inner = content
    for name in way:
        inner = inner[name]
    inner[last] = value
    path.write_text(json.dumps(content))


class TestCollect:
    def test_a_row_for_each_run_in_the_order_of_paths(self, params, tmp_path):
        table = runs.collect(params, tmp_path)
        directories = [runs.run_directory(row, axes_of(table)) for row in table.to_dict("records")]
        asked = [cell.directory(seed).as_posix() for cell in plan.cells(params) for seed in params.seeds]
        assert directories == asked
        assert list(table.columns[:6]) == ["experiment", "track", "model", "mem_lambda", "write_threshold", "seed"]
        assert metrics_of(table) == sorted(metrics_of(table))
        assert table.loc[table["model"] == "no_memory", ["mem_lambda", "test_write_ratio"]].isna().all(axis=None)

    def test_zero_has_no_sign(self, params, tmp_path):
        edit(tmp_path / CELL / "seed=0/final.json", "metrics.test_loss_on", -0.0)
        table = runs.collect(params, tmp_path)
        assert not np.signbit(table["test_loss_on"]).any()

    def test_a_missing_run_is_named(self, params, tmp_path):
        path = tmp_path / CELL / "seed=1/final.json"
        path.unlink()
        with pytest.raises(DataError, match=rf"^{path}: no such run.*snakemake --cores all"):
            runs.collect(params, tmp_path)

    @pytest.mark.parametrize("content", ["{", "[]", "{}", '{"status": "completed"}', "\0"])
    def test_a_corrupt_run_is_named_on_one_line(self, params, tmp_path, content):
        path = tmp_path / CELL / "seed=1/final.json"
        path.write_text(content)
        with pytest.raises(DataError) as caught:
            runs.collect(params, tmp_path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("key", "value", "shown"),
        [
            ("spec.training.num_epochs", 7, "spec.training.num_epochs: 7; allowed: 3"),
            ("spec.config.capacity", 8, "spec.config.capacity: 8; allowed: 16"),
            ("spec.seed", 2, "spec.seed: 2; allowed: 1"),
            ("spec.config.further", 1, "spec.config.further: 1; allowed: nothing"),
            ("spec.task", 1, "spec.task: 1; allowed: {"),
        ],
    )
    def test_another_run_than_asked_for_is_refused(self, params, tmp_path, key, value, shown):
        path = tmp_path / CELL / "seed=1/final.json"
        edit(path, key, value)
        with pytest.raises(DataError) as caught:
            runs.collect(params, tmp_path)
        assert str(caught.value).startswith(f"{path}: {shown}")

    def test_a_stray_run_is_reported_and_never_counted(self, params, tmp_path):
        before = runs.collect(params, tmp_path)
        cell = plan.cells(params)[0]
        spec = specs.resolve(params, cell)[0]
        for name in ("results/tiny/run_20251211", "results/other/seed=0", cell.directory(99).as_posix()):
            made_up.write_run(tmp_path / name, spec)
        pd.testing.assert_frame_equal(runs.collect(params, tmp_path), before)
        assert runs.stray(params, tmp_path) == sorted(
            ["results/tiny/run_20251211", "results/other/seed=0", f"{cell.base}/seed=99"]
        )

    @pytest.mark.parametrize(("further", "found"), [({"test_read_focus": 0.5}, ["memory_unused"]), ({}, [])])
    def test_a_memory_that_is_read_softly_may_be_unused(self, params, tmp_path, further, found):
        metrics = {"test_accuracy_on": 0.75, "test_accuracy_off": 0.75, "test_loss_on": 1.0, "test_loss_off": 1.0}
        content = read_json(tmp_path / CELL / "seed=1/final.json") | {"metrics": {**metrics, **further}}
        assert runs.flags(runs.Final.model_validate(content)) == found

    def test_without_strays_there_are_none(self, params, tmp_path):
        assert runs.stray(params, tmp_path) == []

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, ""),
            ({"metrics.test_write_ratio": 0.0}, "writes_nothing"),
            ({"metrics.test_write_ratio": 1.0}, "writes_everything"),
            ({"metrics.test_accuracy_off": 0.75}, ""),
            ({"metrics.test_accuracy_off": 0.75, "metrics.test_loss_off": 0.5}, "memory_unused"),
            ({"metrics.test_loss_on": None}, "not_finite"),
            ({"status": "diverged"}, "not_finite"),
            ({"metrics.test_accuracy_on": 6 / 24}, "at_floor"),  # P(X ≥ 6), X ~ B(24, .125), is .070
            ({"metrics.test_accuracy_on": 7 / 24}, ""),  # P(X ≥ 7) is .022
            ({"metrics.test_accuracy_on": 6 / 24, "floor": 0.1}, ""),  # P(X ≥ 6), X ~ B(24, .1), is .028
            ({"metrics.test_accuracy_on": 6 / 24, "answers": 240}, ""),  # P(X ≥ 60), X ~ B(240, .125), is 1e-7
        ],
    )
    def test_flags(self, params, tmp_path, changes, expected):
        for key, value in changes.items():
            edit(tmp_path / CELL / "seed=1/final.json", key, value)
        table = runs.collect(params, tmp_path)
        row = table[(table["mem_lambda"] == 0.1) & (table["seed"] == 1)]
        assert row["flags"].tolist() == [expected]

    def test_the_floors_of_slices_stand_behind_the_flags_by_size_and_are_no_metrics(self, params, tmp_path):
        edit(tmp_path / CELL / "seed=1/final.json", "floors", {"100": 0.53, "20": 0.59})
        table = runs.collect(params, tmp_path)
        first = list(table.columns).index("flags") + 1
        assert list(table.columns[first : first + 2]) == ["floor_at_20", "floor_at_100"]
        assert not [name for name in metrics_of(table) if name.startswith("floor")]
        row = table[(table["mem_lambda"] == 0.1) & (table["seed"] == 1)]
        assert row[["floor", "floor_at_20", "floor_at_100"]].to_numpy().tolist() == [[0.125, 0.59, 0.53]]

    @pytest.mark.parametrize("key", ["answers", "floor", "floors"])
    def test_a_run_that_was_measured_without_a_floor_is_refused(self, params, tmp_path, key):
        path = tmp_path / CELL / "seed=1/final.json"
        path.write_text(json.dumps({name: value for name, value in read_json(path).items() if name != key}))
        with pytest.raises(DataError, match=rf"^{path}: {key}: .*snakemake --cores all"):
            runs.collect(params, tmp_path)

    def test_a_net_without_memory_does_not_leave_it_unused(self, params, tmp_path):
        path = tmp_path / "results/tiny/track=repaired/model=no_memory/seed=0/final.json"
        for name in ("accuracy", "loss"):
            edit(path, f"metrics.test_{name}_off", json.loads(path.read_text())["metrics"][f"test_{name}_on"])
        table = runs.collect(params, tmp_path)
        assert table.loc[table["model"] == "no_memory", "flags"].tolist() == ["", "", ""]


class TestHistories:
    def test_every_epoch_of_every_run(self, params, tmp_path):
        table = runs.histories(params, tmp_path, "tiny")
        assert len(table) == 3 * len(runs.collect(params, tmp_path))
        assert table["epoch"].tolist()[:3] == [1, 2, 3]
        assert table["train_loss"].tolist()[:3] == [1, 1 / 2, 1 / 3]
        table.to_csv(tmp_path / "h.csv", index=False)
        pd.testing.assert_frame_equal(runs.read_histories(tmp_path / "h.csv"), table)

    def test_what_is_not_finite_is_empty(self, params, tmp_path):
        (tmp_path / CELL / "seed=1/history.csv").write_text("epoch,train_loss\n1,0.5\n2,nan\n3,inf\n")
        table = runs.histories(params, tmp_path, "tiny")
        assert table["train_loss"].isna().sum() == 2

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("", "empty"),
            ("epoch,train_loss\n1,1\n2,1\n", "2 rows; allowed: epochs 1 to 3"),
            ("epoch,train_loss\n1,1\n2,x\n3,1\n", "column 'train_loss', epoch 2: 'x'; allowed: a number"),
            ("epoch,train_loss\n1,1\n2\n3,1\n", "row 3: 1 fields; allowed: 2"),
            ("step,train_loss\n1,1\n2,1\n3,1\n", "column 'step'; allowed: 'epoch' first"),
        ],
    )
    def test_a_corrupt_history_is_named(self, params, tmp_path, content, problem):
        path = tmp_path / CELL / "seed=1/history.csv"
        path.write_text(content)
        with pytest.raises(DataError) as caught:
            runs.histories(params, tmp_path, "tiny")
        assert str(caught.value).startswith(f"{path}: ")
        assert problem in str(caught.value)

    def test_a_run_that_stopped_has_its_own_epochs(self, tmp_path):
        stopping = presets.read(tmp_path, training={"stop_within": 0.1})
        made_up.write_tree(stopping, tmp_path)
        edit(tmp_path / CELL / "seed=1/final.json", "epochs", 2)
        (tmp_path / CELL / "seed=1/history.csv").write_text("epoch,train_loss\n1,0.5\n2,0.25\n")
        table = runs.histories(stopping, tmp_path, "tiny")
        assert len(table) == 3 * len(runs.collect(stopping, tmp_path)) - 1

    @pytest.mark.parametrize(("epochs", "problem"), [(2, "3 rows; allowed: epochs 1 to 2"), (4, "4 epochs of phase")])
    def test_a_history_that_is_not_as_long_as_the_run_says_is_named(self, tmp_path, epochs, problem):
        stopping = presets.read(tmp_path, training={"stop_within": 0.1})
        made_up.write_tree(stopping, tmp_path)
        edit(tmp_path / CELL / "seed=1/final.json", "epochs", epochs)
        path = tmp_path / CELL / "seed=1/history.csv"
        if epochs == 4:
            path.write_text("epoch,train_loss\n" + "".join(f"{epoch},1\n" for epoch in range(1, 5)))
        with pytest.raises(DataError) as caught:
            runs.histories(stopping, tmp_path, "tiny")
        assert str(caught.value).startswith(f"{path}: ")
        assert problem in str(caught.value)

    def test_phases_that_stop_are_counted_by_themselves(self, tmp_path):
        phases = {"first": {}, "second": {"training": {"stop_within": None}}}
        stopping = presets.read(tmp_path, training={"stop_within": 0.1, "num_epochs": 2}, phases=phases)
        made_up.write_tree(stopping, tmp_path)
        for path in tmp_path.glob("results/**/final.json"):
            edit(path, "epochs", 3)
            path.with_name("history.csv").write_text("epoch,phase,train_loss\n1,1,1\n2,2,1\n3,2,1\n")
        assert runs.histories(stopping, tmp_path, "tiny")["examples_seen"].tolist()[:3] == [48, 96, 144]
        path.with_name("history.csv").write_text("epoch,phase,train_loss\n1,1,1\n2,1,1\n3,2,1\n")
        with pytest.raises(DataError, match="1 epochs of phase 'second'; allowed: 2"):
            runs.histories(stopping, tmp_path, "tiny")

    def test_an_unknown_experiment_is_refused(self, params, tmp_path):
        with pytest.raises(ParameterError, match=r"'tinny'.*allowed: tiny"):
            runs.histories(params, tmp_path, "tinny")


@pytest.mark.parametrize("preset", ["default", "smoke"])
def test_directories_follow_from_the_rows_in_every_preset(preset: str):
    # rows have the axes in alphabetical order, paths in that of the grid: both have to be the same
    params = read_params(presets.PROJECT / f"params/{preset}.yaml")
    names = runs.axes(params)

    def row(cell: Cell, spec: RunSpec) -> dict[str, Any]:
        key = {"experiment": spec.experiment, "track": spec.track, "model": spec.model, "seed": spec.seed}
        return {**dict.fromkeys(names), **cell.values, **key}

    asked = list(runs.asked(params))
    assert [runs.run_directory(row(*one), names) for one in asked] == [
        cell.directory(spec.seed).as_posix() for cell, spec in asked
    ]


def test_axes_are_those_of_all_grids(tmp_path: Path):
    further = {"random": {"model": "random_writer", "axes": {"write_probability": [0.5], "learning_rate": [0.1]}}}
    params = presets.read(tmp_path, grids=further)
    assert runs.axes(params) == ["learning_rate", "mem_lambda", "write_probability", "write_threshold"]
    assert runs.axes(params, "other") == []


def test_axes_that_are_words_stay_words(tmp_path: Path):
    params = presets.read(tmp_path, grids={"sweep": {"axes": {"read": ["sigmoid", "topk_cosine"]}}})
    made_up.write_tree(params, tmp_path)
    table = runs.collect(params, tmp_path)
    assert sorted(table["read"].dropna().unique()) == ["sigmoid", "topk_cosine"]
