"""Figures over time: metrics during training, the memory along a sequence, and the operations on each slot.

A figure of metrics shows every run as its own line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from palimpsest.analysis.dynamics import OPERATIONS
from palimpsest.foundation.errors import DataError
from palimpsest.rendering import panels, style
from palimpsest.rendering.frames import select
from palimpsest.rendering.panels import Products, Series
from palimpsest.sources.shared.figures import Raster, Trajectories


@dataclass(frozen=True)
class Clock:
    """The quantity on a figure's x axis."""

    table: str
    """Name of the table of products with one row for each tick."""
    column: str
    label: str


CLOCKS = {
    "training": Clock("steps", "step", "training step"),
    "epochs": Clock("curves", "epoch", "epoch"),
    "stream": Clock("curves", "examples_seen", "training sequences seen"),
    "sequence": Clock("within", "step", "memory step of a sequence"),
}


def trajectories(products: Products, about: Trajectories) -> Figure:
    """Draw metrics against time: one row for each metric, one panel for each track, one thin line for each run.

    The line of a run that stopped early ends there.
    """
    metrics = about.metrics
    time = CLOCKS[about.clock]
    table: pd.DataFrame = getattr(products, time.table)
    shown = panels.series_of(products.runs, about.models, about.where)
    tracks = _tracks_in_time(products, table, time.column)
    figure, grid = style.panels(len(metrics), len(tracks), 1.65 if len(metrics) < 4 else 1.25)
    drawn: list[Series] = []
    for column, track in enumerate(tracks):
        grid[0][column].set_title(panels.title(products, track))
        for row, metric in enumerate(metrics):
            panel = grid[row][column]
            if column == 0:
                panel.set_ylabel(_in_two_lines(style.label(metric)))
            drawn += _lines(panel, select(table, track=track), shown, time.column, metric)
            if not panel.lines:
                panels.nothing(panel, "no model of this track has it")
                continue
            values = [value for line in panel.lines for value in np.asarray(line.get_ydata(), dtype=float)]
            if metric == about.accuracy:
                values += panels.levels(panel, select(products.runs, track=track))
            panels.limits(panel, values)
            panel.xaxis.get_major_locator().set_params(integer=True, nbins=6)
            if row == len(metrics) - 1:
                panel.set_xlabel(time.label)
            else:
                panel.tick_params(labelbottom=False)
    if not drawn:
        raise DataError(f"tables: {', '.join(metrics)}: no value of {', '.join(one.model for one in shown)}")
    figure.align_ylabels()
    keys = [panels.key(one.look, one.name, line=True) for one in shown if one in drawn]
    panels.legend(figure, keys, columns=6 if len(keys) < MANY else 5)
    return figure


MANY = 9
"""Number of series from which on a legend has fewer columns, because some names are long."""


def _lines(panel: Any, table: pd.DataFrame, shown: Sequence[Series], x: str, metric: str) -> list[Series]:
    """Draw every run of the series that have the metric; return these series."""
    found = []
    for one in shown:
        rows = one.rows_of(table)
        if panels.has_values(rows, metric):
            panels.lines_of_runs(panel, rows, x, metric, one.look.color, one.look.line)
            found.append(one)
    return found


def _tracks_in_time(products: Products, table: pd.DataFrame, column: str) -> list[str]:
    """Return the tracks with more than one tick; if there is none, all tracks with rows.

    Raises:
        DataError: the table is empty.
    """
    ticks = {track: len(set(select(table, track=track)[column])) for track in products.tracks}
    found = [track for track in ticks if ticks[track] > 1] or [track for track in ticks if ticks[track]]
    if not found:
        raise DataError(f"tables: no row with a {column}; allowed: what `palimpsest dynamics` writes of its runs")
    return found


def _in_two_lines(text: str) -> str:
    """Break a long label into two lines, so that it fits the height of a panel."""
    first, gap, rest = text.partition(" (") if " (" in text else text.rpartition(" ")
    return f"{first}\n{gap.strip()}{rest}" if len(text) > 16 and first else text


def raster(products: Products, about: Raster) -> Figure:
    """Draw the operations on every slot in one example: slot against memory step, coloured by operation.

    There is one column for each model, and one row for each track whose sequences have several memory steps. The memory
    step of the token that the answer depends on is marked.
    """
    shown = [
        one
        for one in panels.series_of(products.runs, about.models, about.where)
        if len(one.rows_of(products.lifecycle))
    ]
    tracks = _tracks_in_time(products, products.lifecycle, "step")
    if not shown:
        raise DataError(f"lifecycle.csv: no row of {', '.join(about.models)}; allowed: a run of one of them at least")
    figure, grid = style.panels(len(tracks), len(shown), 1.9)
    marked = False
    for row, track in enumerate(tracks):
        for column, one in enumerate(shown):
            panel = grid[row][column]
            if row == 0:
                panel.set_title(one.name)
            life = _first_example(one.rows_of(select(products.lifecycle, track=track)))
            if life.empty:
                panels.nothing(panel, "not run on this track")
                continue
            marked |= _paint(panel, life)
            if column == 0:
                panel.set_ylabel(f"{track} track\nslot")
            if row == len(tracks) - 1:
                panel.set_xlabel("memory step")
    keys = [
        Patch(facecolor=style.OPERATIONS[word], edgecolor="#999999", linewidth=0.4, label=word) for word in OPERATIONS
    ]
    answer = [Line2D([], [], label="the answer is shown", **_ANSWER)] if marked else []
    panels.legend(figure, [*keys, *answer], columns=7)
    return figure


_SEPARATED = 64
"""Largest number of slots or steps that are separated by thin lines."""
_ANSWER = {"color": "#000000", "linewidth": 0.9, "linestyle": (0, (2, 1.5))}


def _first_example(life: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first example of the first seed."""
    if life.empty:
        return life
    of_seed = select(life, seed=min(life["seed"]))
    return select(of_seed, example=min(of_seed["example"]))


def _paint(panel: Any, life: pd.DataFrame) -> bool:
    """Draw one example; return whether the step of its answer is known."""
    picture = life.pivot(index="slot", columns="step", values="operation").map(OPERATIONS.index).to_numpy(float)
    slots, steps = picture.shape
    panel.imshow(
        picture,
        cmap=ListedColormap([style.OPERATIONS[word] for word in OPERATIONS]),
        vmin=-0.5,
        vmax=len(OPERATIONS) - 0.5,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(-0.5, steps - 0.5, -0.5, slots - 0.5),
    )
    for axis, count in ((panel.xaxis, steps), (panel.yaxis, slots)):
        axis.get_major_locator().set_params(integer=True, nbins=6)
        if count <= _SEPARATED:
            axis.set_ticks([place + 0.5 for place in range(count - 1)], minor=True)
    panel.grid(which="minor", color="#FFFFFF", linewidth=0.3)
    panel.tick_params(which="minor", length=0)
    answer = int(life["answer_step"].iloc[0])
    if answer >= 0:
        panel.axvline(answer, **_ANSWER)
    return answer >= 0


KINDS = {Trajectories: trajectories, Raster: raster}
