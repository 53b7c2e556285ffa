"""Figures of continual learning: the accuracy on the data of every phase after every phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from palimpsest.analysis.continual import forgetting_curves
from palimpsest.foundation.errors import DataError
from palimpsest.rendering import panels, style
from palimpsest.rendering.frames import select
from palimpsest.rendering.kinds.sequences import TALLEST
from palimpsest.rendering.panels import LEVEL, Products, Series
from palimpsest.sources.shared.figures import AccuracyMatrix, ForgettingCurves, OfModels

Matrix = NDArray[np.float64]
COLOURS = "cividis"
DARK = 0.5
"""Accuracy below which a cell is so dark that its number is white."""
JUST_TRAINED = {"facecolor": "none", "edgecolor": "#D55E00", "linewidth": 0.9}
"""The frame around the accuracy on the phase that was trained last."""
MOST_COLUMNS = 4
"""Panels beside each other."""
WIDEST, BAR, LETTER, LINE = 1.5, 0.75, 0.055, 0.17
"""Inches of a matrix at most, of the colour bar with its labels, of a letter of a phase's name, and of a line."""
LARGEST, SMALLEST = 7.0, 3.5
"""Sizes of the numbers in points; those that would be smaller are left out."""
NUMBER = 1.6
"""Width of a number and the space beside it, in units of its size."""
SHORT = 3
"""Letters of the names of phases that fit beside each other without turning them."""


class Part(NamedTuple):
    """What one panel shows: the runs of a cell on a track."""

    title: str
    names: list[str]
    """Phases in order."""
    matrices: Matrix
    """R of each run, (runs, T, T)."""
    chance: list[float]
    """Of the data of each phase."""


def _parts(products: Products, about: OfModels) -> list[Part]:
    """Return a part for each track and cell that has runs with phases, in the order of the series."""
    found = panels.series_of(products.runs, about.models, about.where)
    table = products.accuracy_matrices
    tracks = [track for track in products.tracks if len(select(table, track=track))]
    rows = [(one, track, one.rows_of(select(table, track=track))) for track in tracks for one in found]
    parts = [_part(one, track if len(tracks) > 1 else "", own) for one, track, own in rows if len(own)]
    if not parts:
        raise DataError("accuracy_matrices.csv: no row; allowed: completed runs with more than one phase")
    return parts


def _part(one: Series, track: str, rows: pd.DataFrame) -> Part:
    ordered = rows.sort_values(["seed", "phases_trained", "phase"])
    phases = ordered.drop_duplicates("phase")
    matrices = ordered["test_accuracy"].to_numpy(float).reshape(-1, len(phases), len(phases))
    title = one.name.replace(", ", ",\n", 1) + (f"\n{track}" if track else "")
    return Part(title, list(phases["on"]), matrices, phases["chance"].astype(float).tolist())


def _columns(parts: Sequence[Part]) -> int:
    """Return how many panels are beside each other, so that rows have about the same length."""
    rows = math.ceil(len(parts) / MOST_COLUMNS)
    return math.ceil(len(parts) / rows)


def _grid(parts: Sequence[Part], height: float) -> tuple[Figure, list[Any]]:
    """Return a figure with rows of a height in inches, and a panel for each part."""
    rows = math.ceil(len(parts) / _columns(parts))
    figure, grid = style.panels(rows, _columns(parts), min(height, TALLEST / rows))
    every = [panel for row in grid for panel in row]
    for panel in every[len(parts) :]:
        panel.set_axis_off()
    return figure, every[: len(parts)]


# --- matrices ---------------------------------------------------------------------------------------------------------


def accuracy_matrix(products: Products, about: AccuracyMatrix) -> Figure:
    """Paint the mean accuracy over seeds: a row a phase that was trained last, a column a phase that is evaluated."""
    parts = _parts(products, about)
    columns, same = _columns(parts), len({tuple(part.names) for part in parts}) == 1
    names = LETTER * max(len(name) for part in parts for name in part.names)
    rows, lines = math.ceil(len(parts) / columns), max(part.title.count("\n") for part in parts) + 1
    around = LINE * lines + (names + LINE) / (rows if same else 1)
    width = (style.TEXT_WIDTH - BAR - LINE - names * (1 if same else columns)) / columns - LETTER
    side = min(width, WIDEST, TALLEST / rows - around)
    figure, every = _grid(parts, side + around)
    image = None
    for place, (panel, part) in enumerate(zip(every, parts, strict=True)):
        first, last = place % columns == 0, place + columns >= len(parts)
        image = _paint(panel, part, 72 * side / len(part.names))
        _name_phases(panel, part.names, left=first or not same, below=last or not same)
        panel.set_ylabel("after" if first else "")
        panel.set_xlabel("on" if last else "")
    figure.colorbar(image, ax=every, label="test accuracy", aspect=30, pad=0.01)  # pyright: ignore[reportArgumentType]
    panels.legend(figure, [Patch(label="the phase that was trained last", **JUST_TRAINED)])
    figure.draw_without_rendering()  # the first layout does not know yet how high square panels will be
    return figure


def _paint(panel: Any, part: Part, points: float) -> Any:
    """Paint one matrix, with its numbers where cells of so many points have room for them."""
    mean = part.matrices.mean(0)
    image = panel.imshow(mean, cmap=COLOURS, vmin=0, vmax=1, interpolation="nearest")
    panel.set_title(part.title)
    panel.tick_params(length=0)
    size = min(LARGEST, points / NUMBER)
    for row, values in enumerate(mean):
        panel.add_patch(Rectangle((row - 0.46, row - 0.46), 0.92, 0.92, **JUST_TRAINED))
        for column, value in enumerate(values):
            if size >= SMALLEST and np.isfinite(value):
                color = "white" if value < DARK else "black"
                panel.text(column, row, _spelled(value), ha="center", va="center", fontsize=size, color=color)
    return image


def _spelled(share: float) -> str:
    """Return a share with three signs.

    >>> _spelled(0.123), _spelled(0.999), _spelled(0.0)
    ('.12', '1.0', '.00')
    """
    return f"{share:.1f}" if round(share, 2) == 1 else f"{share:.2f}".removeprefix("0")


def _name_phases(panel: Any, names: Sequence[str], *, left: bool, below: bool) -> None:
    shown, places = [name.replace("_", " ") for name in names], range(len(names))
    panel.set_yticks(places, shown if left else [""] * len(names))
    turned = {} if max(map(len, shown)) <= SHORT else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    panel.set_xticks(places, shown if below else [""] * len(names), **turned)


# --- curves -----------------------------------------------------------------------------------------------------------


def forgetting_over_phases(products: Products, about: ForgettingCurves) -> Figure:
    """Draw the accuracy on each phase over the phases: a thin line a run, a bold one the mean, dotted before training.

    The line of chance is that of the data of the phases; several lines if they differ.
    """
    parts = _parts(products, about)
    columns = _columns(parts)
    figure, every = _grid(parts, 1.7)
    looks = style.ordered(max(len(part.names) for part in parts))
    keys = {}
    for place, (panel, part) in enumerate(zip(every, parts, strict=True)):
        for phase, (name, look) in enumerate(zip(part.names, looks, strict=False)):
            keys.setdefault(name, panels.key(look, f"on {name.replace('_', ' ')}"))
            _draw(panel, part.matrices, phase, look, about.clock)
        _levels(panel, part, named=place % columns == columns - 1 or place == len(parts) - 1)
        panel.set_title(part.title)
        panel.set_ylim(-0.06, 1.06)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.tick_params(labelleft=place % columns == 0)
        panel.set_ylabel("test accuracy" if place % columns == 0 else "")
        below = place + columns >= len(parts)
        panel.set_xlabel(_COUNTED[about.clock] if below else "")
    dotted = panels.Line2D([], [], color="#555555", linestyle=":", linewidth=1.4, label="before its training")
    panels.legend(figure, [*keys.values(), *([dotted] if about.clock == "trained" else [])])
    return figure


_COUNTED = {"trained": "phases trained", "since": "phases later"}


def _draw(panel: Any, matrices: Matrix, phase: int, look: style.Look, clock: str) -> None:
    """Draw the accuracy on one phase, of every run and in the mean."""
    if clock == "since":
        values = np.stack([forgetting_curves(matrix)[:, phase] for matrix in matrices])
        counted, trained_at = np.arange(values.shape[1]), 0
    else:
        values, counted, trained_at = matrices[:, :, phase], np.arange(1, matrices.shape[1] + 1), phase
    before, after = slice(0, trained_at + 1), slice(trained_at, None)
    for part, line in ((before, ":"), (after, "-")):
        for run in values:
            panel.plot(counted[part], run[part], color=look.color, linestyle=line, linewidth=0.5, alpha=0.45)
        mean = values[:, part].mean(0)
        marker = look.marker if line == "-" else ""
        panel.plot(counted[part], mean, color=look.color, linestyle=line, linewidth=1.4, marker=marker, markersize=3.5)


def _levels(panel: Any, part: Part, *, named: bool) -> None:
    for chance in sorted(set(part.chance)):
        panel.axhline(chance, **LEVEL)
    if named:
        panels.name_level(panel, "chance", min(part.chance))


KINDS = {AccuracyMatrix: accuracy_matrix, ForgettingCurves: forgetting_over_phases}
