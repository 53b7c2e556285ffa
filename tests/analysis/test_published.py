"""The authors' numbers: what stands in the file, and how it is set beside ours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from palimpsest.analysis import published
from palimpsest.analysis.summary import summarise
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning.presets import read_params, read_parts
from tests.analysis import made_up
from tests.training.presets import PROJECT

FILE = PROJECT / "params/published"
PRESETS = ("default", "lra_retrieval", "paper", "smoke")


def ours(track: str, mem_lambda: float) -> list[dict[str, Any]]:
    metrics = {"train_write_ratio": [0.25, 0.75], "test_accuracy_on": [0.5, 0.5], "test_accuracy_off": [0.125, 0.25]}
    return made_up.cell("nema_lite", metrics, {"mem_lambda": mem_lambda, "write_threshold": 0.5}, track)


@pytest.fixture
def comparison() -> dict[tuple[float, float], dict[str, float]]:
    runs = made_up.table(ours("published", 0), ours("published", 0.1), ours("repaired", 0.1), ours("repaired", 0.3))
    frame = published.compare(summarise(runs, made_up.AXES, 0.95), published.read_published(FILE), "nema_lite")
    return {(row["mem_lambda"], row["write_threshold"]): row for row in frame.to_dict("records")}


def test_committed_numbers_round_to_the_printed_ones():
    rows = published.read_published(FILE).experiments["nema_lite"].tables["committed"].rows
    shown = {
        (row.cell["mem_lambda"], row.cell["write_threshold"]): (
            f"{row.values['accuracy_on'].mean:.3f}",
            f"{row.values['accuracy_off'].mean:.3f}",
        )
        for row in rows
    }
    assert shown[0, 0.3] == ("0.143", "0.145")
    assert shown[0, 0.5] == ("0.161", "0.157")
    assert len(shown) == 12
    assert all(on == off for (weight, _), (on, off) in shown.items() if weight > 0)
    assert all(row.values["write_ratio"].mean == 0 for row in rows if row.cell["mem_lambda"] > 0)


def test_one_cell_counts_a_stray_run():
    rows = published.read_published(FILE).experiments["nema_lite"].tables["committed"].rows
    assert [row.cell for row in rows if row.runs != 3] == [{"mem_lambda": 0.1, "write_threshold": 0.5}]


def test_every_table_names_its_origin():
    for table in published.read_published(FILE).experiments["nema_lite"].tables.values():
        assert "SN1604129/NeMA-paper-1" in table.origin
        assert "8e7f39fd9480468e9e4af3d7d7158f6132616121" in table.origin


def test_all_three_stand_side_by_side(comparison):
    row = comparison[0.1, 0.5]
    assert row["committed_n"] == 4
    assert row["committed_accuracy_on_mean"] == 0.1445
    assert row["printed_accuracy_on_mean"] == 0.179
    assert row["printed_write_ratio_sd"] == 0.05
    assert (row["published_n"], row["published_write_ratio_mean"]) == (2, 0.5)
    assert row["published_write_ratio_sd"] == pytest.approx(0.5 / math.sqrt(2))
    assert row["repaired_accuracy_off_mean"] == 0.1875


def test_a_cell_that_a_track_lacks_is_empty(comparison):
    assert len(comparison) == 12
    assert math.isnan(comparison[0, 0.5]["repaired_accuracy_on_mean"])
    assert math.isnan(comparison[0.2, 0.7]["published_accuracy_on_mean"])


def test_columns_do_not_depend_on_which_tracks_there_are(comparison):
    runs = made_up.table(ours("published", 0))
    frame = published.compare(summarise(runs, made_up.AXES, 0.95), published.read_published(FILE), "nema_lite")
    assert list(frame.columns) == list(comparison[0, 0.5])


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("tables", {}, "tables"),
        ("orign", "x", "experiments.nema_lite.orign: 'x': unknown key; allowed: model, ours, source, tables"),
        ("ours", {}, "table 'committed' has value 'accuracy_off', not in ours"),
        ("model", None, "table 'committed' names no model in `of`, nor is there a `model`; allowed: either"),
    ],
)
def test_a_wrong_file_is_named_on_one_line(tmp_path: Path, key: str, value: Any, problem: str):
    content = read_parts(FILE, "experiments")
    content["experiments"]["nema_lite"][key] = value
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ParameterError) as caught:
        published.read_published(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["other axes", "repeated"])
def test_rows_are_of_one_kind(tmp_path: Path, damage: str):
    content = read_parts(FILE, "experiments")
    rows = content["experiments"]["nema_lite"]["tables"]["printed"]["rows"]
    rows[1]["cell"] = {"write_threshold": 0.5} if damage == "other axes" else rows[0]["cell"]
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ParameterError, match=r"has other axes or values|a cell is given twice"):
        published.read_published(path)


def test_what_is_not_there_is_named():
    summary = summarise(made_up.table(ours("published", 0)), made_up.AXES, 0.95)
    numbers = published.read_published(FILE)
    with pytest.raises(ParameterError, match="'other': missing; allowed: nema_lite"):
        published.compare(summary, numbers, "other")
    with pytest.raises(
        ParameterError, match="'train_write_ratio': unknown; allowed: test_accuracy_off, test_accuracy_on"
    ):
        published.compare(summary.drop(columns="train_write_ratio_mean"), numbers, "nema_lite")


AAN = "nema_lc_aan"
LEADERBOARD = {
    "Transformer": 57.46,
    "Sparse Transformer": 59.59,
    "BigBird": 59.29,
    "Performer": 53.82,
    "local attention": 53.39,
}


def on_documents(experiment: str, *models: str, seeds: int = 3) -> list[dict[str, Any]]:
    """Runs of an experiment without axes; each model a hundredth better than the one before."""
    rows = []
    for index, model in enumerate(models):
        accuracy = [0.6 + 0.01 * index + 0.02 * seed for seed in range(seeds)]
        rows += made_up.cell(model, {"test_accuracy_on": accuracy})
    return [row | {"experiment": experiment} for row in rows]


def summary_of(*cells: list[dict[str, Any]]):
    return summarise(made_up.table(*cells), made_up.AXES, 0.95)


def test_accuracies_on_the_real_documents_are_those_of_the_sources():
    source = published.read_published(FILE).experiments[AAN]
    assert {row.of: round(100 * row.values["accuracy"].mean, 4) for row in source.tables["lra"].rows} == LEADERBOARD
    assert [(row.of, row.values["accuracy"].mean) for row in source.tables["s4"].rows] == [("S4", 0.91)]
    assert source.model is None
    assert source.names_models
    assert "long-range-arena, commit cd31e5c6b8e5bceabd28de2d2afb23f7ae5d36d8" in source.tables["lra"].origin
    assert "state-spaces/s4, commit 43f5b0cce57fdb6eb1efa81a1f87fda5114bc142" in source.tables["s4"].origin


def test_only_the_real_documents_are_compared_with_numbers_on_them():
    presets = [read_params(path) for path in sorted((PROJECT / "params").glob("*.yaml")) if path.stem in PRESETS]
    found = [preset.experiments[AAN] for preset in presets if AAN in preset.experiments]
    assert len(found) == 1
    assert {track.task.name for track in found[0].tracks.values()} == {"lra_retrieval"}


@pytest.mark.parametrize("experiment", ["nema_lc_documents", "nema_lite", "nema_lc"])
def test_a_proxy_is_never_compared(experiment: str):
    summary = summary_of(on_documents(experiment, "nema_lc", "no_memory"))
    assert published.compare_models(summary, published.read_published(FILE), AAN) is None


def test_their_models_come_first_and_then_every_cell_of_ours():
    swept = [row | {"experiment": AAN} for weight in (0, 0.1) for row in ours("repaired", weight)]
    summary = summary_of(on_documents(AAN, "nema_lc"), swept, on_documents("nema_lc_documents", "nema_lc"))
    frame = published.compare_models(summary, published.read_published(FILE), AAN)
    assert frame is not None
    assert list(frame.columns) == ["model", "cell", "by", "n", "accuracy_mean", "accuracy_sd"]
    assert list(frame["model"]) == [*LEADERBOARD, "S4", "nema_lc", "nema_lite", "nema_lite"]
    assert list(frame["by"]) == ["lra"] * 5 + ["s4"] + ["repaired"] * 3
    cells = ["mem_lambda=0/write_threshold=0.5", "mem_lambda=0.1/write_threshold=0.5"]
    assert list(frame["cell"]) == [""] * 7 + cells
    assert frame["n"].isna().tolist() == [True] * 6 + [False] * 3
    assert frame["n"].dropna().tolist() == [3, 2, 2]
    assert frame["accuracy_sd"].isna().tolist() == [True] * 6 + [False] * 3
    mine = frame.iloc[6]
    assert mine["accuracy_mean"] == pytest.approx(0.62)
    assert mine["accuracy_sd"] == pytest.approx(0.02)


def test_one_run_has_no_deviation_and_diverged_runs_no_mean():
    lost = made_up.cell("no_memory", {"test_accuracy_on": [0.5, 0.5]}, diverged=(0, 1))
    summary = summary_of(on_documents(AAN, "nema_lc", seeds=1), [row | {"experiment": AAN} for row in lost])
    frame = published.compare_models(summary, published.read_published(FILE), AAN)
    assert frame is not None
    alone, without = frame.iloc[6], frame.iloc[7]
    assert (alone["n"], alone["accuracy_mean"]) == (1, 0.6)
    assert math.isnan(alone["accuracy_sd"])
    assert without["n"] == 0
    assert math.isnan(without["accuracy_mean"])


def test_a_table_may_hold_how_many_runs_and_lack_a_value(tmp_path: Path):
    row = {"of": "A", "cell": {"width": 64}, "runs": 4, "values": {"accuracy": {"mean": 0.5, "sd": 0.125}}}
    other = {"of": "A", "cell": {}, "values": {"write_ratio": {"mean": 0.25}}}
    tables = {"one": {"origin": "x", "rows": [row, row | {"of": "B"}]}, "two": {"origin": "y", "rows": [other]}}
    metrics = {"accuracy": "test_accuracy_on", "write_ratio": "train_write_ratio"}
    numbers = written(tmp_path, {"source": "001", "ours": metrics, "tables": tables})
    mine = [row | {"experiment": AAN} for row in ours("repaired", 0.1)]
    frame = published.compare_models(summary_of(mine), numbers, AAN)
    assert frame is not None
    assert list(frame["cell"]) == ["width=64", "width=64", "", "mem_lambda=0.1/write_threshold=0.5"]
    assert frame["n"].fillna(-1).tolist() == [4, 4, -1, 2]
    assert frame["accuracy_sd"].fillna(-1).tolist() == [0.125, 0.125, -1, 0]
    assert frame["write_ratio_mean"].fillna(-1).tolist() == [-1, -1, 0.25, 0.5]


def written(tmp_path: Path, source: dict[str, Any]) -> published.Published:
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump({"experiments": {AAN: source}}))
    return published.read_published(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": "nema_lc"}, "table 't' names models in `of`; allowed: that or `model`, not both"),
        ({"of": ["A", ""]}, "some rows name a model in `of` and some do not; allowed: all rows or none"),
        ({"of": ["", ""]}, "a cell is given twice; allowed: each cell once, of each model"),
        ({"of": ["A", "A"]}, "a cell is given twice; allowed: each cell once, of each model"),
        ({"of": ["A", "B$"]}, "rows.1.of: 'B$': string should match pattern"),
        ({"of": ["A", "B "]}, "rows.1.of: 'B ': string should match pattern"),
        ({"of": ["A", "B/C"]}, "rows.1.of: 'B/C': string should match pattern"),
        ({"table": "repaired"}, "table 'repaired' has the name of a track of ours; allowed: any other"),
    ],
)
def test_models_are_named_in_all_rows_or_in_none(tmp_path: Path, change: dict[str, Any], problem: str):
    values = {"accuracy": {"mean": 0.5}}
    rows = [{"of": of, "cell": {}, "values": values} for of in change.get("of", ["A", "B"])]
    source: dict[str, Any] = {"source": "001", "ours": {"accuracy": "test_accuracy_on"}}
    source["tables"] = {change.get("table", "t"): {"origin": "x", "rows": rows}}
    source |= {"model": change["model"]} if "model" in change else {}
    with pytest.raises(ParameterError) as caught:
        written(tmp_path, source)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_may_be_told_apart_by_their_cells(tmp_path: Path):
    rows = [{"of": "A", "cell": {"width": width}, "values": {"accuracy": {"mean": 0.5}}} for width in (64, 128)]
    source = {"source": "001", "ours": {"accuracy": "test_accuracy_on"}, "tables": {"t": {"origin": "x", "rows": rows}}}
    assert [row.cell["width"] for row in written(tmp_path, source).experiments[AAN].tables["t"].rows] == [64, 128]


def test_each_comparison_refuses_the_numbers_of_the_other():
    summary = summary_of(ours("published", 0), on_documents(AAN, "nema_lc"))
    numbers = published.read_published(FILE)
    wrong = "^params/published: experiments: "
    with pytest.raises(ParameterError, match=rf"{wrong}'nema_lc_aan': of several models; allowed: nema_lite$"):
        published.compare(summary, numbers, AAN)
    with pytest.raises(ParameterError, match=rf"{wrong}'nema_lite': of one model, cell by cell; allowed: nema_lc_aan$"):
        published.compare_models(summary, numbers, "nema_lite")
    with pytest.raises(ParameterError, match=rf"{wrong}'nema_lc_documents': missing; allowed: nema_lc_aan$"):
        published.compare_models(summary, numbers, "nema_lc_documents")
    with pytest.raises(ParameterError, match=r"nema_lc_aan.ours: 'test_accuracy_on': unknown; allowed: [^\n]+$"):
        published.compare_models(summary.drop(columns="test_accuracy_on_mean"), numbers, AAN)
