"""What kinds of plots share: the tables they draw from, the series that a table holds, legends, levels and limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from palimpsest.analysis.frames import axes_of, metrics_of
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.sections import Scalar, format_value
from palimpsest.rendering import style
from palimpsest.rendering.frames import axes_with_values, cell_of, records, select
from palimpsest.rendering.style import Look
from palimpsest.sources.shared.figures import Where
from palimpsest.sources.shared.manifest import Experiment

POINT = {"s": 7, "alpha": 0.55, "linewidths": 0, "zorder": 3}
MEDIAN = {
    "markersize": 4.2,
    "markeredgecolor": "white",
    "markeredgewidth": 0.3,
    "elinewidth": 0.9,
    "capsize": 1.8,
    "zorder": 4,
}
"""How a median with the middle half of its seeds looks; :data:`POINT`: how a run looks."""
LEVEL = {"color": "#555555", "linewidth": 0.7, "linestyle": (0, (2, 1.5)), "zorder": 1}
NAME_OF_LEVEL = {"fontsize": "x-small", "color": "#555555", "annotation_clip": False}
INFORMED_FLOOR = "informed floor"
"""What figures call the best score of a predictor that ignores what the memory is for."""


@dataclass(frozen=True)
class Products:
    """The tables of one experiment from which figures are drawn."""

    runs: pd.DataFrame
    summary: pd.DataFrame
    curves: pd.DataFrame
    """An epoch of a run a row."""
    positions: pd.DataFrame
    """A token position of a run a row."""
    steps: pd.DataFrame
    """A window of training steps of a run a row."""
    within: pd.DataFrame
    """A memory step of a run a row; empty where no memory has operations."""
    lifecycle: pd.DataFrame
    """A slot at a memory step of one example a row; empty where no memory has operations."""
    generalisation: pd.DataFrame
    """A run and size of sequences a row; empty where sequences do not differ in size."""
    outputs: pd.DataFrame
    """One row for each channel and step of one sequence; empty for tasks with one answer for a sequence."""
    weightings: pd.DataFrame
    """A head at a step of one sequence a row, a column a slot; empty where no memory is read and written softly."""
    survival: pd.DataFrame
    """A lifetime of what a run wrote to its slots a row; empty where no memory is written softly."""
    accuracy_matrices: pd.DataFrame
    """A phase that was trained last and a phase that is evaluated a row, of each run; empty without phases."""
    experiment: Experiment
    """The experiment in its source's manifest: how sizes are named and spelled."""

    @property
    def tracks(self) -> list[str]:
        """Tracks with runs, sorted; of several with the same values the first."""
        return list(self.same_tracks)

    @property
    def same_tracks(self) -> dict[str, list[str]]:
        """Track → the tracks whose runs have the same values, itself included, so that no panel is shown twice."""
        found: dict[str, list[str]] = {}
        for track in sorted(self.runs["track"].unique()):
            values = self._values(track)
            same = next((other for other in found if self._values(other).equals(values)), track)
            found.setdefault(same, []).append(track)
        return found

    def _values(self, track: str) -> pd.DataFrame:
        """Models, axes, seeds and metrics of the runs of a track."""
        columns = ["model", *axes_of(self.runs), "seed", *metrics_of(self.runs)]
        return select(self.runs, track=track).loc[:, columns].reset_index(drop=True)


# --- series -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """One cell of a model: what selects its rows in any table, its name for the reader, and its look."""

    model: str
    cell: dict[str, Scalar]
    name: str
    look: Look
    absent: tuple[str, ...] = ()
    """Axes that other cells of the model have."""

    def rows_of(self, table: pd.DataFrame) -> pd.DataFrame:
        """Its rows."""
        found = select(table, model=self.model, **self.cell)
        for axis in self.absent:
            found = found.loc[found[axis].isna()]
        return found


def series_of(runs: pd.DataFrame, models: Sequence[str] = (), where: Where | None = None) -> list[Series]:
    """A series for every cell of some models, in the order of the models and of the values of their axes.

    Args:
        runs: the table of runs of one experiment.
        models: which; one that has no run is passed over, and none means all, baselines last.
        where: axis: the value that is shown, or several, of models that have the axis; ``None``: cells without it.

    Raises:
        DataError: no run is of any of the models.
    """
    known = list(dict.fromkeys(runs["model"]))
    chosen = [model for model in models or sorted(known, key=style.position) if model in known]
    found: list[Series] = []
    for model in chosen:
        of_model = select(runs, model=model)
        axes = axes_with_values(of_model)
        cells = [cell_of(row, axes) for row in records(of_model.drop_duplicates(axes))] if axes else [{}]
        wanted = {axis: value for axis, value in (where or {}).items() if axis in axes}
        several = {axis: value if isinstance(value, tuple) else (value,) for axis, value in wanted.items()}
        cells = [cell for cell in cells if all(cell.get(axis) in values for axis, values in several.items())]
        for cell in sorted(cells, key=lambda cell: [style.rank(axis, value) for axis, value in cell.items()]):
            words = ", ".join(style.value_label(axis, value) for axis, value in cell.items())
            name = style.label(model)
            if len(cells) > 1 and words:
                name = f"{name}, {words}" if len(chosen) > 1 else words
            own = style.cell_look(cell)
            if own is not None and style.names_itself(cell) and len(chosen) > 1:
                name = words
            look = own or style.model_look(
                model, len([one for one in found if not style.has_own_look(one.model)]), chosen
            )
            found.append(Series(model, cell, name, look, tuple(axis for axis in axes if axis not in cell)))
    if not found:
        raise DataError(f"tables/runs: no run of {', '.join(models)}; allowed: one model of the figure at least")
    return found


def values_of(table: pd.DataFrame, axis: str) -> list[float]:
    """The values of an axis that holds numbers, sorted."""
    return sorted(table[axis].dropna().unique())


# --- legends ----------------------------------------------------------------------------------------------------------


def key(look: Look, text: str, line: bool = False) -> Line2D:
    """What a legend shows for a look."""
    return Line2D(
        [],
        [],
        color=look.color,
        marker="" if line else look.marker,
        linestyle=look.line if line else "none",
        markersize=4.5,
        linewidth=1.2,
        label=text,
    )


def legend(figure: Figure, keys: Sequence[Artist], columns: int = 6) -> None:
    """A legend below all panels; a name that comes twice is shown once."""
    unique = list({str(key.get_label()): key for key in keys}.values())
    figure.legend(
        handles=unique,
        loc="outside lower center",
        ncols=min(len(unique), columns),
        columnspacing=1.2,
        handletextpad=0.4,
        handlelength=2.2,
        borderaxespad=0.2,
    )


def legend_of_values(
    figure: Figure,
    axis: str,
    values: Sequence[float],
    looks: Sequence[Look],
    more: Sequence[Line2D],
    line: bool = False,
) -> None:
    """A legend of the values of an axis, and whatever else there is."""
    keys = [
        key(look, f"{style.symbol(axis)} = {format_value(float(v))}", line)
        for v, look in zip(values, looks, strict=True)
    ]
    legend(figure, [*keys, *more])


# --- within a panel ---------------------------------------------------------------------------------------------------


def named_levels(runs: pd.DataFrame) -> dict[str, float]:
    """Chance, informed floor and ceiling of an accuracy by name; a floor that is chance has no entry of its own."""
    columns = {"chance": "chance", INFORMED_FLOOR: "floor", "ceiling": "ceiling"}
    found = {name: float(runs[column].iloc[0]) for name, column in columns.items()}
    if found[INFORMED_FLOOR] == found["chance"]:
        del found[INFORMED_FLOOR]
    return found


def levels(panel: Any, runs: pd.DataFrame) -> list[float]:
    """The named levels as horizontal lines with their names at the right margin; returns where they are."""
    found = named_levels(runs)
    for name, value in found.items():
        panel.axhline(value, **LEVEL)
        name_level(panel, name, value)
    return list(found.values())


def name_level(panel: Any, name: str, value: float) -> None:
    """Write the name of a horizontal line at the right margin."""
    panel.annotate(
        name,
        (1.0, value),
        (2, 0),
        xycoords=("axes fraction", "data"),
        va="center",
        textcoords="offset points",
        **NAME_OF_LEVEL,
    )


def limits(panel: Any, values: Iterable[float]) -> None:
    """Show all points and levels.

    Where all are equal, that value has the only tick: others would be of what was not measured, and may not exist.
    """
    found = list(values)
    panel.set_ylim(*with_room(found))
    only = {value for value in found if np.isfinite(value)}
    if len(only) == 1:
        panel.set_yticks([*only])


def with_room(values: Iterable[float]) -> tuple[float, float]:
    """Limits that leave some room on both sides of all finite values; there must be one."""
    finite = [value for value in values if np.isfinite(value)]
    low, high = min(finite), max(finite)
    room = 0.07 * (high - low) or 0.05
    return low - room, high + room


def medians(runs: pd.DataFrame, *metrics: str, by: Sequence[str] | None = None) -> pd.DataFrame:
    """The median of each metric over the seeds of each cell, and the quartiles: no bar leaves what was measured.

    Args:
        runs: one row a run; runs without a value do not count.
        metrics: columns.
        by: columns that make a cell; the axes if not given.

    Returns:
        One row a cell, with the columns of ``by`` and, for each metric, ``_median``, ``_low`` and ``_high``.
    """
    axes = list(axes_with_values(runs) if by is None else by)
    groups: Any = runs.groupby(axes, dropna=False, sort=False) if axes else [((), runs)]
    rows = []
    for values, cell in groups:
        row: dict[str, Any] = dict(zip(axes, values, strict=True))
        for metric in metrics:
            known = cell[metric].dropna().to_numpy(float)
            found = np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else [np.nan] * 3
            row |= dict(zip((f"{metric}_low", f"{metric}_median", f"{metric}_high"), found, strict=True))
        rows.append(row)
    names = [f"{metric}_{part}" for metric in metrics for part in ("low", "median", "high")]
    return pd.DataFrame(rows, columns=[*axes, *names])


def middle_half(cells: pd.DataFrame, metric: str) -> Any:
    """How far the quartiles of each row of :func:`medians` lie below and above the median: (2, rows)."""
    median = cells[f"{metric}_median"].to_numpy(float)
    low, high = cells[f"{metric}_low"].to_numpy(float), cells[f"{metric}_high"].to_numpy(float)
    return np.nan_to_num(np.clip(np.stack([median - low, high - median]), 0, None))


def title(products: Products, track: str) -> str:
    """The track, and how many of its runs diverged: those have no place in the picture."""
    lost = int(np.count_nonzero(select(products.runs, track=track)["status"] != "completed"))
    names = products.same_tracks[track]
    return " and ".join(names) + (" tracks" if len(names) > 1 else " track") + (f" ({lost} diverged)" if lost else "")


def head(panel: Any, products: Products, track: str, model: str) -> None:
    """Put :func:`title` above a panel whose track must have runs of a model.

    Raises:
        DataError: it has none.
    """
    panel.set_title(title(products, track))
    if select(products.runs, track=track, model=model).empty:
        raise DataError(f"tables/runs: no run of model {model!r} on track {track!r}; allowed: what the preset asks for")


def nothing(panel: Any, text: str) -> None:
    """Write into a panel why it shows no value, instead of an empty frame."""
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.annotate(text, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", **NAME_OF_LEVEL)


def has_values(table: pd.DataFrame, metric: str) -> bool:
    """Whether a column, which must be there, holds a finite number."""
    return bool(np.isfinite(table[metric].to_numpy(float)).any())


def moved(panel: Any, x: Any, by: Any) -> Any:
    """``x`` moved along the axis, so that series do not overlap; ``by`` 1 is two of the smallest gaps between ticks."""
    transform = panel.xaxis.get_transform()
    ticks = np.sort(transform.transform(np.asarray(panel.get_xticks(), dtype=float)))
    gap = np.diff(ticks).min() if len(ticks) > 1 else 1.0
    return transform.inverted().transform(transform.transform(np.asarray(x, dtype=float)) + np.asarray(by) * gap * 2)


def series(panel: Any, runs: pd.DataFrame, x: str, y: str, look: Look, move: float = 0.0, line: Any = "-") -> None:
    """Every run of a series as a point, its medians with the middle half of the seeds as a line over the axis ``x``."""
    cells = medians(runs, y, by=[x]).sort_values(x)
    panel.scatter(moved(panel, runs[x], move), runs[y], color=look.color, marker=look.marker, **POINT)
    panel.errorbar(
        moved(panel, cells[x], move),
        cells[f"{y}_median"],
        yerr=middle_half(cells, y),
        color=look.color,
        marker=look.marker,
        linestyle=line,
        linewidth=0.9,
        **MEDIAN,
    )


def dodge(count: int, width: float = 0.18) -> list[float]:
    """How far to move each of ``count`` series, so that they lie beside each other; units as of :func:`moved`."""
    return np.linspace(-width / 2, width / 2, count).tolist() if count > 1 else [0.0]


def lines_of_runs(panel: Any, table: pd.DataFrame, x: str, y: str, color: Any, line: Any) -> None:
    """A thin line for every run, through the rows that have a value; a run with one value is a dot."""
    table = table.dropna(subset=[y])
    names = list(table.columns)
    keys = ["model", *names[names.index("model") + 1 : names.index("seed") + 1]]
    for _, run in table.groupby(keys, dropna=False, sort=False):
        marker = "." if len(run) == 1 else ""
        panel.plot(run[x], run[y], color=color, linestyle=line, marker=marker, linewidth=0.6, alpha=0.7, zorder=2)
