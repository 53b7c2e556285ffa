"""The stored tables: what is written is read back unchanged, for one experiment and for all, and faults are named."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from palimpsest.analysis import runs, tables
from palimpsest.analysis.frames import axes_of, metrics_of
from palimpsest.analysis.summary import summarise, summarised_metrics
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.planning.parameters import Params
from tests.analysis import made_up
from tests.training import presets

RUNS_CSV, SUMMARY_CSV = Path("tables/runs/tiny.csv"), Path("tables/summary/tiny.csv")


@pytest.fixture
def params(tmp_path: Path) -> Params:
    """A preset whose runs are there, with all stored tables."""
    preset = presets.read(tmp_path)
    made_up.write_tree(preset, tmp_path)
    for experiment in preset.experiments:
        tables.write_experiment(preset, tmp_path, experiment)
    tables.write_index(preset, tmp_path)
    return preset


def two_experiments(root: Path) -> pd.DataFrame:
    """Runs of two experiments with different axes and metrics; one run has diverged, and zero has a sign."""
    first = made_up.table(
        made_up.cell("nema_lite", {"test_a": [0.5, 0.7, -0.0]}, {"mem_lambda": 0.1, "write_threshold": 0.5}),
        made_up.cell("write_all", {"test_a": [0.5, math.nan, 0.75], "test_b": [1.0, math.nan, 2.0]}, diverged=[1]),
    )
    second = made_up.table(made_up.cell("no_memory", {"test_c": [1e-9, 3.0, 1 / 3]})).assign(experiment="other")
    second = second.drop(columns=axes_of(second))
    for frame, name in ((first, "nema_lite"), (second, "other")):
        tables.write_frames(root, name, frame, summarise(frame, axes_of(frame), 0.95))
    rows = ["nema_lite,000,6,2,2,tables/runs/nema_lite.csv", "other,000,3,1,1,tables/runs/other.csv"]
    (root / tables.INDEX).write_text("\n".join(["experiment,source,runs,cells,metrics,file", *rows]) + "\n")
    return pd.concat([first, second], ignore_index=True)


class TestWhatIsWrittenIsRead:
    def test_runs_of_one_experiment(self, params, tmp_path):
        pd.testing.assert_frame_equal(tables.read_runs(tmp_path, "tiny"), runs.collect(params, tmp_path, "tiny"))

    def test_means_of_one_experiment(self, params, tmp_path):
        collected = runs.collect(params, tmp_path, "tiny")
        summary = summarise(collected, axes_of(collected), params.confidence)
        found = tables.read_summary(tmp_path, "tiny")
        pd.testing.assert_frame_equal(found, summary)

    def test_runs_of_all_have_the_axes_and_metrics_of_all(self, tmp_path):
        wanted = two_experiments(tmp_path)
        found = tables.read_runs(tmp_path)
        assert axes_of(found) == ["mem_lambda", "write_threshold"]
        assert metrics_of(found) == ["test_a", "test_b", "test_c"]
        pd.testing.assert_frame_equal(found, wanted[list(found.columns)], check_exact=True)

    def test_floors_of_slices_are_kept_where_experiments_are_joined(self, tmp_path):
        two_experiments(tmp_path)
        second = made_up.table(made_up.cell("no_memory", {"test_c": [1e-9, 3.0, 1 / 3]}))
        second = second.assign(experiment="other", floor_at_20=0.6, floor_at_100=0.5).drop(columns=axes_of(second))
        tables.write_frames(tmp_path, "other", second, summarise(second, [], 0.95))
        found = tables.read_runs(tmp_path)
        assert metrics_of(found) == ["test_a", "test_b", "test_c"]
        assert found["floor_at_20"].dropna().tolist() == [0.6] * 3
        assert found["floor_at_100"].isna().tolist() == [True] * 6 + [False] * 3

    def test_means_of_all_are_those_of_the_joined_runs(self, tmp_path):
        joined = two_experiments(tmp_path)
        summary = summarise(joined, axes_of(joined), 0.95)
        found = tables.read_summary(tmp_path)
        assert list(found.columns) == list(summary[found.columns].columns)
        assert summarised_metrics(found) == ["test_a", "test_b", "test_c"]
        key = ["experiment", "model"]
        pd.testing.assert_frame_equal(
            found.sort_values(key, ignore_index=True), summary[found.columns].sort_values(key, ignore_index=True)
        )

    def test_a_cell_without_a_completed_run_is_kept(self, tmp_path):
        frame = made_up.table(made_up.cell("write_all", {"test_a": [math.nan, math.nan]}, diverged=[0, 1]))
        tables.write_frames(tmp_path, "nema_lite", frame, summarise(frame, axes_of(frame), 0.95))
        found = tables.read_summary(tmp_path, "nema_lite")
        assert found[["model", "n", "diverged"]].to_numpy().tolist() == [["write_all", 0, 2]]

    def test_a_file_has_only_the_columns_of_its_experiment(self, tmp_path):
        two_experiments(tmp_path)
        header = (tmp_path / "tables/runs/other.csv").read_text().splitlines()[0].split(",")
        assert header == ["experiment", "track", "model", *runs.RUNS.middle, "test_c"]

    def test_numbers_have_no_sign_at_zero(self, tmp_path):
        two_experiments(tmp_path)
        assert "-0" not in (tmp_path / "tables/runs/nema_lite.csv").read_text()

    def test_words_on_an_axis_stay_words(self, tmp_path):
        params = presets.read(tmp_path, grids={"sweep": {"axes": {"read": ["sigmoid", "topk_cosine"]}}})
        made_up.write_tree(params, tmp_path)
        collected, _ = tables.write_experiment(params, tmp_path, "tiny")
        pd.testing.assert_frame_equal(tables.read_runs(tmp_path, "tiny"), collected)


class TestLongTable:
    def test_every_metric_of_every_run_has_a_row(self, params, tmp_path):
        long = pd.read_parquet(tmp_path / tables.METRICS)
        wide = tables.read_runs(tmp_path)
        assert len(long) == int(wide[metrics_of(wide)].notna().to_numpy().sum())
        assert list(long.columns) == ["experiment", "track", "model", "cell", "seed", "metric", "value"]
        cell = long.loc[long["model"] == "nema_lite", "cell"].iloc[0]
        assert cell.startswith("mem_lambda=")
        assert "/write_threshold=" in cell

    def test_twice_the_same_bytes(self, params, tmp_path):
        before = (tmp_path / tables.METRICS).read_bytes()
        tables.write_index(params, tmp_path)
        assert (tmp_path / tables.METRICS).read_bytes() == before

    def test_the_index_counts(self, params, tmp_path):
        (row,) = tables.read_index(tmp_path).to_dict("records")
        wide = tables.read_runs(tmp_path)
        assert (row["experiment"], row["runs"], row["metrics"]) == ("tiny", len(wide), len(metrics_of(wide)))


class TestFaults:
    @pytest.mark.parametrize(
        ("column", "value", "allowed"),
        [
            ("status", "finished", "completed, diverged"),
            ("track", "mended", "published, repaired"),
            ("seed", "1.5", "an integer from 0"),
            ("chance", "1.5", "a number from 0 to 1"),
            ("test_loss_on", "much", "a finite number or nothing"),
            ("test_loss_on", "nan", "a finite number or nothing"),
            ("model", "", "a name"),
        ],
    )
    def test_a_wrong_field_is_named(self, params, tmp_path, column, value, allowed):
        path = tmp_path / RUNS_CSV
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        frame.loc[4, column] = value
        frame.to_csv(path, index=False)
        with pytest.raises(DataError) as caught:
            tables.read_runs(tmp_path)
        assert str(caught.value) == f"{path}: column {column!r}, row 6: {value!r}; allowed: {allowed}"

    def test_a_missing_column_is_named(self, params, tmp_path):
        pd.read_csv(tmp_path / RUNS_CSV).drop(columns="ceiling").to_csv(tmp_path / RUNS_CSV, index=False)
        with pytest.raises(DataError, match="column 'ceiling': missing; allowed: experiment, track"):
            tables.read_runs(tmp_path, "tiny")

    def test_columns_in_another_order_are_refused(self, params, tmp_path):
        frame = pd.read_csv(tmp_path / RUNS_CSV)
        frame[["track", "experiment", *frame.columns[2:]]].to_csv(tmp_path / RUNS_CSV, index=False)
        with pytest.raises(DataError, match="allowed, in this order: experiment, track, model, axes, seed"):
            tables.read_runs(tmp_path, "tiny")

    @pytest.mark.parametrize("path", [RUNS_CSV, SUMMARY_CSV])
    def test_a_repeated_row_is_refused(self, params, tmp_path, path):
        lines = (tmp_path / path).read_text().splitlines()
        (tmp_path / path).write_text("\n".join([*lines, lines[3]]) + "\n")
        read = tables.read_runs if path == RUNS_CSV else tables.read_summary
        with pytest.raises(DataError, match=rf"{path}: row {len(lines) + 1}: repeats "):
            read(tmp_path, "tiny")

    @pytest.mark.parametrize("path", [RUNS_CSV, SUMMARY_CSV])
    def test_rows_of_another_experiment_are_refused(self, params, tmp_path, path):
        text = (tmp_path / path).read_text()
        (tmp_path / path).write_text(text.replace("\ntiny,", "\nteeny,"))
        read = tables.read_runs if path == RUNS_CSV else tables.read_summary
        with pytest.raises(DataError, match=rf"{path}: column 'experiment': 'teeny'; allowed: tiny$"):
            read(tmp_path)

    def test_another_number_of_runs_than_in_the_index_is_refused(self, params, tmp_path):
        lines = (tmp_path / RUNS_CSV).read_text().splitlines()
        (tmp_path / RUNS_CSV).write_text("\n".join(lines[:-1]) + "\n")
        with pytest.raises(DataError, match=rf"{RUNS_CSV}: {len(lines) - 2} runs; allowed: {len(lines) - 1}, as in "):
            tables.read_runs(tmp_path)

    @pytest.mark.parametrize(
        ("content", "problem"),
        [(b"", "empty"), (b"\xff\xfe", "not CSV"), (b'a,"b\n', "not CSV"), (b"a,a\n", "missing")],
    )
    @pytest.mark.parametrize("path", [RUNS_CSV, tables.INDEX])
    def test_what_is_no_table_is_refused(self, params, tmp_path, path, content, problem):
        (tmp_path / path).write_bytes(content)
        with pytest.raises(DataError, match=problem):
            tables.read_runs(tmp_path)

    @pytest.mark.parametrize("path", [RUNS_CSV, SUMMARY_CSV, tables.INDEX])
    def test_a_missing_file_is_named(self, params, tmp_path, path):
        (tmp_path / path).unlink()
        read = tables.read_summary if path == SUMMARY_CSV else tables.read_runs
        with pytest.raises(DataError, match=rf"{path}: no such file"):
            read(tmp_path)

    def test_an_unknown_experiment_is_refused(self, params, tmp_path):
        with pytest.raises(ParameterError, match=r"'tinny'.*allowed: tiny"):
            tables.write_experiment(params, tmp_path, "tinny")
