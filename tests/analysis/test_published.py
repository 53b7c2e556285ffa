"""The authors' numbers: what stands in the file, and how it is set beside ours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from palimpsest.analysis import published, statistics
from palimpsest.errors import ParameterError
from tests.analysis import made_up
from tests.training.presets import PROJECT

FILE = PROJECT / "params/published.yaml"


def ours(track: str, mem_lambda: float) -> list[dict[str, Any]]:
    metrics = {"train_write_ratio": [0.25, 0.75], "test_accuracy_on": [0.5, 0.5], "test_accuracy_off": [0.125, 0.25]}
    return made_up.cell("nema_lite", metrics, {"mem_lambda": mem_lambda, "write_threshold": 0.5}, track)


@pytest.fixture
def comparison() -> dict[tuple[float, float], dict[str, float]]:
    runs = made_up.table(ours("published", 0), ours("published", 0.1), ours("repaired", 0.1), ours("repaired", 0.3))
    frame = published.compare(statistics.summarise(runs, made_up.AXES, 0.95), published.read_published(FILE))
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


def test_every_table_says_where_it_stands():
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
    frame = published.compare(statistics.summarise(runs, made_up.AXES, 0.95), published.read_published(FILE))
    assert list(frame.columns) == list(comparison[0, 0.5])


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("tables", {}, "tables"),
        ("orign", "x", "experiments.nema_lite.orign: 'x': unknown key; allowed: model, ours, source, tables"),
        ("ours", {}, "table 'committed' has value 'accuracy_off', not in ours"),
    ],
)
def test_a_wrong_file_is_named_on_one_line(tmp_path: Path, key: str, value: Any, said: str):
    content = yaml.safe_load(FILE.read_text())
    content["experiments"]["nema_lite"][key] = value
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ParameterError) as caught:
        published.read_published(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["other axes", "repeated"])
def test_rows_are_of_one_kind(tmp_path: Path, damage: str):
    content = yaml.safe_load(FILE.read_text())
    rows = content["experiments"]["nema_lite"]["tables"]["printed"]["rows"]
    rows[1]["cell"] = {"write_threshold": 0.5} if damage == "other axes" else rows[0]["cell"]
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ParameterError, match=r"has other axes or values|a cell is given twice"):
        published.read_published(path)


def test_what_is_not_there_is_named():
    summary = statistics.summarise(made_up.table(ours("published", 0)), made_up.AXES, 0.95)
    numbers = published.read_published(FILE)
    with pytest.raises(ParameterError, match="'other': missing; allowed: nema_lite"):
        published.compare(summary, numbers, "other")
    with pytest.raises(
        ParameterError, match="'train_write_ratio': unknown; allowed: test_accuracy_off, test_accuracy_on"
    ):
        published.compare(summary.drop(columns="train_write_ratio_mean"), numbers)
