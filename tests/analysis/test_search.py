"""The search of learning rates: chosen on validation alone, and the rates of the default preset are those on record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from palimpsest.analysis import search, tables
from palimpsest.analysis.frames import records
from palimpsest.analysis.runs import RUNS, axes, run_frame
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import write_text
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_params
from tests.training import presets

RATES = (0.001, 0.003, 0.01)
GRIDS = {
    "sweep": {"axes": {"mem_lambda": [0.1]}},
    "random": {"model": "random_writer", "axes": {"write_probability": [0.1, 0.5]}},
}


def preset(directory: Path, **own: Any) -> Params:
    """A search over three rates: one cell of NeMA-Lite, two of random writes, and a baseline."""
    content = presets.content(grids=GRIDS)
    content["seeds"] = [100]
    (directory / "base.yaml").write_text(yaml.safe_dump(content))
    path = directory / "search.yaml"
    rates = {"adam": list(RATES), "rmsprop": list(RATES)}
    path.write_text(yaml.safe_dump({"extends": "base.yaml", "preset": "search", "search": rates, **own}))
    return read_params(path)


def reached(model: str, rate: float) -> dict[str, Any]:
    """What a run reaches: the middle rate is best on validation, the largest on test."""
    validation = {0.001: 0.5, 0.003: 0.9, 0.01: 0.7}[rate]
    return {"validation_accuracy_on": validation, "validation_loss_on": 1 - validation, "test_accuracy_on": rate * 50}


def write(params: Params, root: Path, results: Any = reached, status: Any = None, columns: Any = None) -> None:
    """Tables of runs in which every run reached these results."""
    rows = []
    for cell in plan.cells(params):
        for spec in specs.resolve(params, cell):
            rate = spec.training.learning_rate
            row = {
                "experiment": "tiny",
                "track": cell.track,
                "model": cell.model,
                **cell.values,
                "seed": spec.seed,
                "status": status(cell.model, rate) if status else "completed",
                "parameters": 10,
                "epochs": 2,
                "steps": 8,
                "chance": 0.1,
                "floor": 0.1,
                "ceiling": 1.0,
                "flags": "at_floor",
            }
            rows.append(row | results(cell.model, rate))
    frame = run_frame(rows, axes(params), list(RUNS.middle))
    frame = frame[[name for name in frame.columns if columns is None or columns(name)]]
    write_text(root / tables.runs_file("tiny"), frame.to_csv(index=False))
    index = f"experiment,source,runs,cells,metrics,file\ntiny,000,{len(frame)},1,1,tables/runs/tiny.csv\n"
    write_text(root / tables.INDEX, index)


def chosen(table: pd.DataFrame) -> dict[str, float]:
    return {f"{row['model']}/{row['cell']}": row["learning_rate"] for row in records(table) if row["chosen"] == "yes"}


def test_the_rate_that_is_best_on_validation_is_chosen_in_every_cell(tmp_path: Path) -> None:
    params = preset(tmp_path)
    write(params, tmp_path)
    found = search.collect(params, tmp_path)
    assert list(found.columns) == list(search.LAYOUT.head)
    assert len(found) == 12
    assert chosen(found) == dict.fromkeys(
        [
            "nema_lite/mem_lambda=0.1/write_threshold=0.5",
            "no_memory/",
            "random_writer/write_probability=0.1",
            "random_writer/write_probability=0.5",
        ],
        0.003,
    )


def test_the_test_split_is_not_used(tmp_path: Path) -> None:
    params = preset(tmp_path)
    found = []
    for results in (
        reached,
        lambda model, rate: {**reached(model, rate), "test_accuracy_on": 1 - 50 * rate, "test_loss_on": rate},
        lambda model, rate: {key: value for key, value in reached(model, rate).items() if "test" not in key},
    ):
        write(params, tmp_path, results)
        found.append(search.collect(params, tmp_path))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


@pytest.mark.parametrize(
    ("losses", "best"),
    [((0.3, 0.2, 0.1), 0.01), ((0.2, 0.1, 0.1), 0.003), ((0.1, 0.1, 0.1), 0.001)],
    ids=["smaller loss", "then smaller rate", "all alike"],
)
def test_of_equal_rates_the_one_with_the_smaller_loss_is_chosen_then_the_smaller(
    tmp_path: Path, losses: tuple[float, ...], best: float
) -> None:
    params, loss = preset(tmp_path), dict(zip(RATES, losses, strict=True))
    write(params, tmp_path, lambda model, rate: {"validation_accuracy_on": 1.0, "validation_loss_on": loss[rate]})
    assert set(chosen(search.collect(params, tmp_path)).values()) == {best}


def test_a_rate_that_diverged_is_not_chosen(tmp_path: Path) -> None:
    params = preset(tmp_path)
    write(params, tmp_path, status=lambda model, rate: "diverged" if rate == 0.003 else "completed")
    found = search.collect(params, tmp_path)
    assert set(chosen(found).values()) == {0.01}
    assert found.loc[found["status"] == "diverged", "validation"].isna().all()


def test_a_cell_whose_rates_all_diverged_is_one_line(tmp_path: Path) -> None:
    params = preset(tmp_path)
    write(params, tmp_path, status=lambda model, rate: "diverged" if model == "no_memory" else "completed")
    with pytest.raises(DataError, match=r"^tiny/repaired/no_memory: every learning rate diverged; allowed: [^\n]*$"):
        search.collect(params, tmp_path)


class TestTables:
    def test_a_missing_table_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"^[^\n]*tables/runs\.csv: no such file$"):
            search.collect(preset(tmp_path), tmp_path)

    def test_a_missing_run_is_named(self, tmp_path: Path) -> None:
        params = preset(tmp_path)
        write(params, tmp_path)
        more = preset(tmp_path, seeds=[100, 101])
        with pytest.raises(DataError, match=r"^[^\n]*no row of results/tiny/[^\n]*seed=101; `make search` trains"):
            search.collect(more, tmp_path)

    def test_a_corrupt_table_is_one_line(self, tmp_path: Path) -> None:
        params = preset(tmp_path)
        write(params, tmp_path)
        file = tmp_path / tables.runs_file("tiny")
        file.write_text(file.read_text().replace("0.9,", "often,"))
        with pytest.raises(DataError, match=r"tiny\.csv: column 'validation_accuracy_on', row \d+: 'often'; allowed: "):
            search.collect(params, tmp_path)

    @pytest.mark.parametrize("column", ["validation_accuracy_on", "validation_loss_on"])
    def test_a_table_without_validation_is_one_line(self, tmp_path: Path, column: str) -> None:
        params = preset(tmp_path)
        write(params, tmp_path, columns=lambda name: name != column)
        with pytest.raises(DataError, match=rf"tiny\.csv: column '{column}': no number of model 'nema_lite'"):
            search.collect(params, tmp_path)

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        params = preset(tmp_path)
        write(params, tmp_path)
        found = search.collect(params, tmp_path)
        write_text(tmp_path / "search.csv", found.to_csv(index=False))
        pd.testing.assert_frame_equal(search.read_search(tmp_path / "search.csv"), found, check_dtype=False)

    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [
            ("yes", "no", r"column 'chosen': 0 rates of tiny/repaired/no_memory have 'yes'; allowed: one"),
            ("no\n", "yes\n", r"column 'chosen': [23] rates of tiny/repaired/\S+ have 'yes'; allowed: one"),
            ("yes", "perhaps", r"column 'chosen', row \d+: 'perhaps'; allowed: yes, no"),
            ("validation_loss", "loss", r"column 'validation_loss': missing"),
        ],
    )
    def test_a_corrupt_record_is_one_line(self, tmp_path: Path, old: str, new: str, line: str) -> None:
        params = preset(tmp_path)
        write(params, tmp_path)
        text = search.collect(params, tmp_path).to_csv(index=False)
        rows = [row.replace(old, new) if "no_memory" in row or new != "no" else row for row in text.splitlines(True)]
        write_text(tmp_path / "search.csv", "".join(rows))
        with pytest.raises(DataError, match=line) as caught:
            search.read_search(tmp_path / "search.csv")
        assert len(str(caught.value).splitlines()) == 1


class TestDifferences:
    """A preset beside what was chosen: 0.003 in every cell."""

    def searched(self, directory: Path) -> pd.DataFrame:
        params = preset(directory)
        write(params, directory)
        return search.collect(params, directory)

    def test_a_preset_with_the_chosen_rates_has_none(self, tmp_path: Path) -> None:
        table = self.searched(tmp_path)
        assert search.differences(presets.read(tmp_path, grids=GRIDS, training={"learning_rate": 0.003}), table) == []

    def test_another_rate_is_named_with_its_grid(self, tmp_path: Path) -> None:
        table = self.searched(tmp_path)
        grids = {**GRIDS, "no_memory": {"training": {"learning_rate": 0.01}}}
        used = presets.read(tmp_path, grids=grids, training={"learning_rate": 0.003})
        assert search.differences(used, table) == [
            search.Difference("experiments.tiny.tracks.repaired.grids.no_memory", "", 0.01, 0.003)
        ]

    def test_all_cells_of_a_model_have_the_rate_of_the_one_that_was_searched(self, tmp_path: Path) -> None:
        table = self.searched(tmp_path)
        found = search.differences(presets.read(tmp_path, grids=GRIDS), table)
        cells = {one.cell: one.chosen for one in found if one.grid.endswith("sweep")}
        assert cells == {f"mem_lambda={value}/write_threshold=0.5": 0.003 for value in ("0.1",)}
        more = presets.read(tmp_path, grids={**GRIDS, "sweep": {"axes": {"mem_lambda": [0, 0.5]}}})
        cells = {one.cell: one.chosen for one in search.differences(more, table) if one.grid.endswith("sweep")}
        assert cells == {f"mem_lambda={value}/write_threshold=0.5": 0.003 for value in ("0", "0.5")}

    def test_a_cell_that_was_not_searched_is_a_difference(self, tmp_path: Path) -> None:
        table = self.searched(tmp_path)
        grids = {
            **GRIDS,
            "random": {"model": "random_writer", "axes": {"write_probability": [0.3]}},
            "oracle": {"model": "oracle_writer"},
        }
        found = search.differences(presets.read(tmp_path, grids=grids, training={"learning_rate": 0.003}), table)
        assert {(one.grid.rpartition(".")[2], one.chosen) for one in found} == {("random", None), ("oracle", None)}

    def test_a_cell_of_an_axis_of_rates_is_none(self, tmp_path: Path) -> None:
        table = self.searched(tmp_path)
        grids = {**GRIDS, "random": {"model": "random_writer", "axes": {"learning_rate": [1e-12]}}}
        assert search.differences(presets.read(tmp_path, grids=grids, training={"learning_rate": 0.003}), table) == []


def test_the_rates_of_the_default_preset_are_those_that_were_chosen() -> None:
    """Once a search is on record, which the committed LaTeX table says, its CSV must be there, and agree."""
    rendered = presets.PROJECT / "tables/search.tex"
    record = presets.PROJECT / search.SEARCH
    if not record.is_file():
        assert not rendered.is_file() or "make search" in rendered.read_text(encoding="utf-8"), f"{record} is missing"
        pytest.skip("no search is on record yet")
    table = search.read_search(record)
    preset, searched = (read_params(presets.PROJECT / f"params/{name}.yaml") for name in ("default", "search"))
    assert search.differences(preset.without(searched.omit), table) == []
