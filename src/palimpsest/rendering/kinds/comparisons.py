"""Figures that compare models: one line for each model, with its seeds as points and their median."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from palimpsest.rendering import panels, style
from palimpsest.rendering.frames import select
from palimpsest.rendering.panels import LEVEL, MEDIAN, NAME_OF_LEVEL, POINT, Products, Series
from palimpsest.sources.shared.figures import SideBySide

LINE, FRAME = 0.16, 0.55
"""Heights in inches: one model's line, and the space around the lines of a row of panels."""


FEW = 3
"""Largest number of lines beside which the name of a track is broken into two lines."""


def side_by_side(products: Products, about: SideBySide) -> Figure:
    """Draw metrics of models: one row of panels for each track, one column for each metric, one line for each cell.

    A metric that has the same values as one before it on every track has no column.
    """
    metrics = _different(products.runs, about.metrics)
    shown = panels.series_of(products.runs, about.models, about.where)
    on_track = {track: _present(products.runs, track, shown) for track in products.tracks}
    on_track = {track: found for track, found in on_track.items() if found}
    heights = [LINE * len(found) + FRAME for found in on_track.values()]
    figure, grid = style.panels(len(on_track), len(metrics), heights)
    for row, (track, found) in enumerate(on_track.items()):
        runs = select(products.runs, track=track)
        for column, metric in enumerate(metrics):
            panel = grid[row][column]
            if not any(panels.has_values(one.rows_of(runs), metric) for one in found):
                panels.nothing(panel, "no model of\nthis track has it")
                continue
            panel.set_ylim(len(found) - 0.4, -0.6)
            panel.set_yticks(range(len(found)), [one.name for one in found] if column == 0 else [""] * len(found))
            panel.tick_params(axis="y", length=0)
            panel.set_xlabel(_label(metric))
            panel.xaxis.set_major_locator(MaxNLocator(nbins=4 if len(metrics) < 4 else 3))
            values = _points(panel, runs, found, metric)
            values += _levels(panel, runs) if metric in about.accuracies else []
            panel.set_xlim(*panels.with_room(values))
        title = panels.title(products, track).replace(" (", "\n(")
        grid[row][0].set_ylabel(title if len(found) > FEW else title.replace(" track", "\ntrack"))
    figure.align_ylabels()
    return figure


def _different(runs: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """The metrics without those that have the values of an earlier one in every run."""
    found: list[str] = []
    for metric in metrics:
        if not any(runs[metric].equals(runs[other]) for other in found):
            found.append(metric)
    return found


def _present(runs: pd.DataFrame, track: str, shown: Sequence[Series]) -> list[Series]:
    of_track = select(runs, track=track)
    return [one for one in shown if len(one.rows_of(of_track))]


def _label(metric: str) -> str:
    """Return a metric's name, broken into lines for a narrow panel."""
    text = style.label(metric).replace(" (", "\n(").replace(", ", ",\n")
    return text if "\n" in text or len(text) < 16 else text.replace(" ", "\n", 1)


def _points(panel: Any, runs: pd.DataFrame, found: Sequence[Series], metric: str) -> list[float]:
    """Draw every run and every median, and a dash for a model without the metric; return the drawn values."""
    values: list[float] = []
    for line, one in enumerate(found):
        own = one.rows_of(runs)
        panel.axhline(line, color="#EEEEEE", linewidth=0.6, zorder=0)
        if not panels.has_values(own, metric):
            panel.annotate("–", (0.02, line), xycoords=("axes fraction", "data"), va="center", **NAME_OF_LEVEL)
            continue
        apart = np.linspace(-0.22, 0.22, len(own)) if len(own) > 1 else np.zeros(1)
        panel.scatter(own[metric], line + apart, color=one.look.color, marker=one.look.marker, **POINT)
        cells = panels.medians(own, metric)
        panel.errorbar(
            cells[f"{metric}_median"],
            [line] * len(cells),
            xerr=panels.middle_half(cells, metric),
            color=one.look.color,
            marker=one.look.marker,
            linestyle="none",
            **MEDIAN,
        )
        values += [value for value in own[metric] if np.isfinite(value)]
    return values


def _levels(panel: Any, runs: pd.DataFrame) -> list[float]:
    """Draw the named levels as vertical lines with their names above the panel; return their positions."""
    found = panels.named_levels(runs)
    for name, value in found.items():
        panel.axvline(value, **LEVEL)
        second_line = 7 if name == panels.INFORMED_FLOOR else 0  # the floor is near to chance
        panel.annotate(
            name, (value, 1.0), (0, 1 + second_line), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="right" if name == "ceiling" else "left", va="bottom", **NAME_OF_LEVEL,
        )  # fmt: skip
    return list(found.values())


KINDS = {SideBySide: side_by_side}
