"""Windows of training steps, against means taken one by one, and step logs that must be refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.analysis import steps
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import write_text
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from tests.analysis import made_up
from tests.training import presets

RUN = "results/tiny/track=repaired/model=nema_lite/mem_lambda=0.1/write_threshold=0.5/seed=1"


def tree(root: Path, number: int = 9) -> Params:
    """A tree of runs of ``number`` steps; only those with a memory have a write ratio."""
    params = presets.read(
        root, training={"batch_size": 16, "num_epochs": 3}, task={"config": {"num_train": number * 5}}
    )
    made_up.write_tree(params, root)
    total = 3 * math.ceil(5 * number / 16)
    for cell in plan.cells(params):
        for spec in specs.resolve(params, cell):
            header = "step,loss,write_ratio" if "write_threshold" in spec.config else "step,loss"
            lines = [f"{step},{step / 2 + spec.seed},{step}" for step in range(1, total + 1)]
            rows = [line if "ratio" in header else line.rsplit(",", 1)[0] for line in lines]
            write_text(root / cell.directory(spec.seed) / "steps.csv", "\n".join([header, *rows]) + "\n")
    return params


class TestWindows:
    @given(count=st.integers(0, 400), metrics=st.integers(1, 3), seed=st.integers(0, 99))
    def test_hold_every_step_once_and_their_mean(self, count, metrics, seed):
        values = np.random.default_rng(seed).normal(size=(count, metrics))
        windows = steps.window_means(values)
        assert len(windows) == min(count, steps.WINDOWS)
        start = 0
        for stop, means in windows:
            for metric, mean in enumerate(means):
                inside = [float(values[step, metric]) for step in range(start, stop)]
                assert mean == pytest.approx(math.fsum(inside) / len(inside))
            start = stop
        assert start == count

    @given(count=st.integers(1, 400))
    def test_differ_by_one_step_at_most(self, count):
        last = [0, *(stop for stop, _ in steps.window_means(np.zeros((count, 1))))]
        sizes = np.diff(last)
        assert sizes.min() >= 1
        assert sizes.max() - sizes.min() <= 1

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_with_a_number_that_is_not_finite_have_no_mean_in_that_metric_alone(self, bad):
        values = np.zeros((100, 2))
        values[3, 0] = bad
        means = np.array([means for _, means in steps.window_means(values)])
        assert np.isnan(means).tolist() == [[window == 1, False] for window in range(50)]


class TestSteps:
    def test_of_a_short_run_are_all_there(self, tmp_path):
        params = tree(tmp_path)
        table = steps.steps(params, tmp_path, "tiny")
        run = table[(table["mem_lambda"] == 0.1) & (table["seed"] == 1)]
        assert run["step"].tolist() == list(range(1, 10))
        assert run["loss"].tolist() == [step / 2 + 1 for step in range(1, 10)]
        assert list(table.columns) == [
            *("experiment", "track", "model", "mem_lambda", "write_threshold"),
            *("seed", "step", "loss", "write_ratio"),
        ]

    def test_of_a_long_run_are_fifty_windows(self, tmp_path):
        params = tree(tmp_path, number=330)  # 104 steps an epoch, 312 in all
        table = steps.steps(params, tmp_path, "tiny")
        run = table[(table["mem_lambda"] == 0) & (table["seed"] == 2)]
        assert len(run) == 50
        assert run["step"].iloc[[0, -1]].tolist() == [6, 312]
        assert run["write_ratio"].iloc[0] == 3.5  # (1 + … + 6) / 6

    def test_leave_empty_what_a_model_does_not_have(self, tmp_path):
        table = steps.steps(tree(tmp_path), tmp_path, "tiny")
        lacking = table.groupby("model")["write_ratio"].agg(lambda column: column.isna().all())
        assert lacking.to_dict() == {"nema_lite": False, "no_memory": True}

    def test_read_back_as_they_were(self, tmp_path):
        table = steps.steps(tree(tmp_path), tmp_path, "tiny")
        table.to_csv(tmp_path / "s.csv", index=False)
        pd.testing.assert_frame_equal(steps.read_steps(tmp_path / "s.csv"), table)

    def test_of_an_unknown_experiment_are_refused(self, tmp_path):
        with pytest.raises(ParameterError, match="'tini': no such experiment; allowed: tiny"):
            steps.steps(tree(tmp_path), tmp_path, "tini")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("step,loss", "epoch,loss", "column 'epoch'; allowed: 'step' first"),
        ("write_ratio", "loss", "column 'loss': not a metric, or repeated"),
        ("write_ratio", "", "column '': not a metric, or repeated"),
        ("write_ratio", "seed", "column 'seed': not a metric, or repeated"),
        ("\n5,3.5,5\n", "\n", "column 'step': 8 rows; allowed: steps 1 to 9, in order"),
        ("\n5,3.5,5\n", "\n6,3.5,5\n", "column 'step': 9 rows; allowed: steps 1 to 9, in order"),
        ("\n5,3.5,5\n", "\n5,many,5\n", "column 'loss', step 5: 'many'; allowed: a number"),
        ("\n5,3.5,5\n", "\n5,3.5\n", "row 6: 2 fields; allowed: 3"),
        ("\n5,3.5,5\n", "\n5,3.5,\n", "column 'write_ratio', step 5: ''; allowed: a number"),
    ],
)
def test_a_broken_log_is_named_on_one_line(tmp_path: Path, old: str, new: str, problem: str):
    params = tree(tmp_path)
    path = tmp_path / RUN / "steps.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        steps.steps(params, tmp_path, "tiny")
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_log_is_named(tmp_path: Path):
    params = tree(tmp_path)
    (tmp_path / RUN / "steps.csv").unlink()
    with pytest.raises(DataError, match=f"{RUN}/steps.csv: no such file"):
        steps.steps(params, tmp_path, "tiny")


def test_a_run_that_diverged_has_empty_windows(tmp_path: Path):
    params = tree(tmp_path)
    path = tmp_path / RUN / "steps.csv"
    path.write_text(path.read_text().replace("\n5,3.5,5\n", "\n5,nan,5\n"))
    table = steps.steps(params, tmp_path, "tiny")
    assert table[table["loss"].isna()][["mem_lambda", "seed", "step"]].to_numpy().tolist() == [[0.1, 1, 5]]
