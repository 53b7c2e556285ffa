"""The search of learning rates: what every rate reached on the validation split, and which one is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from pandas import DataFrame

from palimpsest import tasks
from palimpsest.analysis.frames import COUNT, IDENTITY, NAME, NUMBER, TEXT, Layout, axes_of, one_of, read_frame, records
from palimpsest.analysis.runs import asked, run_directory
from palimpsest.analysis.tables import read_runs
from palimpsest.foundation.errors import DataError
from palimpsest.planning import plan, specs
from palimpsest.planning.departures import AXIS
from palimpsest.planning.parameters import Params
from palimpsest.planning.plan import Cell
from palimpsest.planning.specs import RunSpec

SEARCH = Path("tables/search.csv")
TRACK = "repaired"
LAYOUT = Layout(
    {
        **IDENTITY,
        "cell": TEXT,
        "optimiser": NAME,
        AXIS: NUMBER,
        "status": one_of("completed", "diverged"),
        "steps": COUNT,
        "metric": NAME,
        "validation": NUMBER,
        "validation_loss": NUMBER,
        "chosen": one_of("yes", "no"),
    },
    {},
    axes=False,
    metrics=False,
)
"""Columns of ``tables/search.csv``: a row a cell and learning rate, means over the seeds of the search."""


Key = tuple[str, str, str, str]
"""Of a cell: experiment, track, model, and its axes without the learning rate, spelled as in the path of a run."""


class Difference(NamedTuple):
    """A cell of a preset whose learning rate is not the one that the search chose."""

    grid: str
    """Its key in the preset."""
    cell: str
    """Its axes, as in the path of a run; empty without axes."""
    rate: float
    chosen: float | None
    """``None``: the search has no such cell."""


def collect(params: Params, root: Path, experiment: str | None = None) -> DataFrame:
    """Return what every learning rate of a finished search reached on validation, with the columns of ``LAYOUT``.

    The best value of the task's main metric is chosen; of equal ones the one with the smaller loss, then the smaller
    rate. A rate of which a run diverged is never chosen. The test split is not used: its columns are dropped first.

    Args:
        params: the preset of the search.
        root: where its products are.
        experiment: only this one, whose table of runs is enough.

    Raises:
        DataError: a table is missing or corrupt, a run that the preset asks for is not in it, a run has no validation
            metric, or all rates of a cell diverged.
        ParameterError: a parameter of the preset is wrong, or it has no such experiment.
    """
    found = _validation_of_runs(root, experiment)
    runs: dict[Key, dict[float, list[tuple[RunSpec, dict[str, Any]]]]] = {}
    for cell, spec in asked(params, experiment):
        directory = cell.directory(spec.seed).as_posix()
        if directory not in found:
            raise DataError(f"{root / 'tables/runs'}: no row of {directory}; `make search` trains what is missing")
        of_cell = runs.setdefault(key_of_cell(cell), {})
        of_cell.setdefault(spec.training.learning_rate, []).append((spec, found[directory]))
    rows = []
    for key, rates in sorted(runs.items()):
        rows += _with_choice([_row(key, rates[rate], root) for rate in sorted(rates)], key)
    return DataFrame(rows, columns=list(LAYOUT.head))


def key_of_cell(cell: Cell) -> Key:
    """Return the key of a cell; cells that differ in their learning rate alone have one key."""
    values = {axis: value for axis, value in cell.values.items() if axis != AXIS}
    return cell.experiment, cell.track, cell.model, replace(cell, values=values).path.rstrip("/")


def replaced(table: DataFrame, experiment: str, found: DataFrame) -> DataFrame:
    """Return a search with new rows of one experiment in place of those that it had, sorted as ``collect`` does."""
    rows = [row for row in records(table) if row["experiment"] != experiment] + records(found)
    rows.sort(key=_key_of_row)  # stable: rates stay in order
    return DataFrame(rows, columns=list(LAYOUT.head))


def _validation_of_runs(root: Path, experiment: str | None) -> dict[str, dict[str, Any]]:
    """The rows of the tables of runs by directory, without anything that comes from the test split."""
    runs = read_runs(root, experiment)
    axes = axes_of(runs)
    kept = ["experiment", "track", "model", *axes, "seed", "status", "steps"]
    kept += [name for name in runs.columns if name.startswith("validation_")]
    return {run_directory(row, axes): row for row in records(runs.loc[:, kept])}


def _row(key: Key, runs: list[tuple[RunSpec, dict[str, Any]]], root: Path) -> dict[str, Any]:
    """One cell with one learning rate: means over its seeds; no number where a run diverged."""
    spec, first = runs[0]
    metric = tasks.load(spec.task["name"]).METRIC.name
    diverged = any(row["status"] == "diverged" for _, row in runs)
    means: dict[str, float | None] = {"validation": None, "validation_loss": None}
    for name, column in zip(means, (f"validation_{metric}_on", "validation_loss_on"), strict=True):
        values = [row.get(column) for _, row in runs]
        numbers = [value for value in values if value is not None]
        if not diverged and len(numbers) < len(values):
            file = root / f"tables/runs/{spec.experiment}.csv"
            raise DataError(f"{file}: column {column!r}: no number of model {spec.model!r}; allowed: one a run")
        means[name] = None if diverged else fmean(numbers)
    return {
        **dict(zip(("experiment", "track", "model", "cell"), key, strict=True)),
        "optimiser": spec.training.optimiser,
        AXIS: spec.training.learning_rate,
        "status": "diverged" if diverged else "completed",
        "steps": first["steps"],
        "metric": metric,
        **means,
    }


def _with_choice(rates: list[dict[str, Any]], key: Key) -> list[dict[str, Any]]:
    """The rows of a cell with what is chosen."""
    trained = [row for row in rates if row["status"] == "completed"]
    if not trained:
        raise DataError(
            f"{'/'.join(key).rstrip('/')}: every learning rate diverged; allowed: one that trains, at least"
        )
    best = min(trained, key=lambda row: (-row["validation"], row["validation_loss"], row[AXIS]))
    return [{**row, "chosen": "yes" if row is best else "no"} for row in rates]


def read_search(path: Path) -> DataFrame:
    """Read ``tables/search.csv``.

    Raises:
        DataError: file, column, row, value and what is allowed; or a cell has no rate that is chosen, or several.
    """
    table = read_frame(path, LAYOUT)
    chosen: dict[Key, int] = {}
    for row in records(table):
        key = _key_of_row(row)
        chosen[key] = chosen.get(key, 0) + (row["chosen"] == "yes")
    for key, count in chosen.items():
        if count != 1:
            where = "/".join(key).rstrip("/")
            raise DataError(f"{path}: column 'chosen': {count} rates of {where} have 'yes'; allowed: one")
    return table


def _key_of_row(row: dict[str, Any]) -> Key:
    return row["experiment"], row["track"], row["model"], row["cell"]


def differences(params: Params, table: DataFrame) -> list[Difference]:
    """Return every cell of the repaired tracks of a preset whose learning rate the search did not choose.

    A model whose hyper-parameters were searched at one point has the rate of this point in all of its cells. A cell of
    an axis of rates is a control and has the rate that it names.

    Args:
        params: any preset, e.g. the default one.
        table: as :func:`read_search` returns it.
    """
    chosen = {_key_of_row(row): float(row[AXIS]) for row in records(table) if row["chosen"] == "yes"}
    found = []
    for cell in plan.cells(params):
        if cell.track != TRACK or AXIS in cell.values:
            continue
        rate, best = specs.resolve(params, cell)[0].training.learning_rate, _chosen_for(key_of_cell(cell), chosen)
        if rate != best:
            grid = f"experiments.{cell.experiment}.tracks.{cell.track}.grids.{cell.grid}"
            found.append(Difference(grid, cell.path.rstrip("/"), rate, best))
    return found


def _chosen_for(key: Key, chosen: dict[Key, float]) -> float | None:
    """The rate of a cell: its own, or that of the only cell of its model with the same axes."""
    if key in chosen:
        return chosen[key]
    alike = [rate for other, rate in chosen.items() if other[:3] == key[:3] and _axes(other[3]) == _axes(key[3])]
    return alike[0] if len(alike) == 1 else None


def _axes(path: str) -> list[str]:
    return [part.partition("=")[0] for part in path.split("/") if part]
