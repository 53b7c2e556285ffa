"""Figures of sequences: scores by their size, pictures of one sequence, and where a memory was read and written.

What is shown of single sequences is one example for each model, from the run of median accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from palimpsest.foundation.errors import DataError
from palimpsest.rendering import panels, style
from palimpsest.rendering.frames import select
from palimpsest.rendering.panels import Products, Series
from palimpsest.sources.shared.figures import BySize, Pictures, UsageAndLinks, Weightings

TRAINED = {"color": "#009E73", "alpha": 0.12, "linewidth": 0, "zorder": 0}
"""How sizes that stood in training are shaded."""
ASKED = {"color": "#CC4778", "linewidth": 0.9, "linestyle": (0, (2, 1.5))}
"""The line from which on a model is asked."""
TALLEST = 7.7
"""Inches of all rows of a figure at most, so that it fits on a page with its caption."""
BLANK, WEIGHTS = "#E8EEF2", "magma_r"
Matrix = NDArray[np.float64]


# --- by size ----------------------------------------------------------------------------------------------------------


def by_size(products: Products, about: BySize) -> Figure:
    """Test scores against the size of sequences: a row a metric, a panel a track; sizes that were trained are shaded.

    Sizes stand side by side as they come, not to scale. A point is a run, a sign the median with the
    middle half of the seeds.
    """
    metrics = about.metrics
    found = panels.series_of(products.runs, about.models, about.where)
    tracks = [track for track in products.tracks if len(select(products.generalisation, track=track))]
    if not tracks:
        raise DataError("generalisation.csv: no row; allowed: runs whose test sequences differ in size")
    figure, grid = style.panels(len(metrics), len(tracks), 1.75)
    drawn: list[Series] = []
    for column, track in enumerate(tracks):
        table = select(products.generalisation, track=track)
        sizes = sorted(set(table["slice"]))
        runs = select(products.runs, track=track)
        grid[0][column].set_title(panels.title(products, track))
        present = [one for one in found if len(one.rows_of(table))]
        drawn += present
        for row, metric in enumerate(metrics):
            panel = grid[row][column]
            _shade(panel, table, sizes)
            panel.set_xticks(range(len(sizes)), [products.experiment.spell_size(one) for one in sizes])
            for one, move in zip(present, panels.dodge(len(present), min(0.36, 0.05 * len(present))), strict=True):
                points = one.rows_of(table).assign(place=[sizes.index(value) for value in one.rows_of(table)["slice"]])
                panels.series(panel, points, "place", metric, one.look, move, one.look.line)
            levels = _levels_by_size(panel, table, sizes, runs) if metric == about.accuracy else [0.0, 1.0]
            panels.limits(panel, [*table[metric], *levels])
            panel.set_xlim(-0.5, len(sizes) - 0.5)
            panel.set_ylabel(style.label(metric) if column == 0 else "")
            panel.set_xlabel(products.experiment.size if row == len(metrics) - 1 else "")
            panel.tick_params(labelbottom=row == len(metrics) - 1)
    figure.align_ylabels()
    keys = [panels.key(one.look, one.name) for one in found if one in drawn]
    panels.legend(figure, [*keys, Patch(label="trained sizes", **TRAINED)], columns=5)
    return figure


def _levels_by_size(panel: Any, table: pd.DataFrame, sizes: Sequence[int], runs: pd.DataFrame) -> list[float]:
    """Draw chance and ceiling as lines, and the informed floor of each size as a step; return their positions."""
    found = panels.named_levels(runs)
    floors = [float(select(table, slice=size)["floor"].iloc[0]) for size in sizes]
    if panels.INFORMED_FLOOR in found:
        del found[panels.INFORMED_FLOOR]
        edges = np.arange(len(sizes) + 1) - 0.5
        panel.stairs(floors, edges, baseline=None, **panels.LEVEL)
        panels.name_level(panel, panels.INFORMED_FLOOR, floors[-1])
    for name, value in found.items():
        panel.axhline(value, **panels.LEVEL)
        panels.name_level(panel, name, value)
    return [*found.values(), *floors]


def _shade(panel: Any, table: pd.DataFrame, sizes: Sequence[int]) -> None:
    for place, value in enumerate(sizes):
        if "yes" in set(select(table, slice=value)["trained"]):
            panel.axvspan(place - 0.5, place + 0.5, **TRAINED)


# --- one sequence -----------------------------------------------------------------------------------------------------


def pictures(products: Products, about: Pictures) -> Figure:
    """Draw one sequence as bits over time: input, target and the output of each model; a column for each track.

    A column has the models that were run on its track.
    """
    found = panels.series_of(products.runs, about.models, about.where)
    tracks = [track for track in products.tracks if len(select(products.outputs, track=track))]
    if not tracks:
        raise DataError("outputs.csv: no row; allowed: a run that was completed, of a task of sequences")
    present = [one for one in found if len(one.rows_of(products.outputs))]
    run = {track: [one for one in present if len(one.rows_of(select(products.runs, track=track)))] for track in tracks}
    figure, grid = style.panels(2 + max(map(len, run.values())), len(tracks), 0.52)
    for column, track in enumerate(tracks):
        table = select(products.outputs, track=track)
        grid[0][column].set_title(panels.title(products, track))
        first = next(one for one in present if len(one.rows_of(table)))
        rows = first.rows_of(table)
        steps = 1 + int(max(rows["step"]))
        asked = _first_asked(rows)
        _bits(grid[0][column], np.vstack([_matrix(rows, "input", steps), (_matrix(rows, "level", steps) + 1) / 2]))
        _bits(grid[1][column], _matrix(rows, "target", steps))
        names = ["input", "target", *(_in_two(one.name) for one in run[track])]
        for line, name in zip(grid, names, strict=False):
            line[column].set_ylabel(name, rotation=0, ha="right", va="center")
        for line in grid[len(names) :]:
            line[column].set_axis_off()
        for line, one in zip(grid[2:], run[track], strict=False):
            own = one.rows_of(table)
            if own.empty:
                panels.nothing(line[column], "no run was completed")
            else:
                _bits(line[column], _matrix(own, "output", steps))
        for line in grid:
            if line[column].images:
                line[column].axvline(asked - 0.5, **ASKED)
                line[column].tick_params(labelbottom=False)
        last = [line[column] for line in grid if line[column].images][-1]  # what was not run has no steps to count
        last.tick_params(labelbottom=True)
        last.set_xlabel("step")
    shades = [Patch(facecolor=color, edgecolor="#999999", label=text, linewidth=0.4) for color, text in _SHADES]
    panels.legend(figure, [*shades, _asked_key()])
    return figure


_SHADES = (("#FFFFFF", "0"), ("#808080", "probability ½"), ("#000000", "1"), (BLANK, "nothing asked"))


def _in_two(name: str) -> str:
    """A name of several words in two lines, so that it fits beside a panel."""
    return name.replace(" ", "\n", 1)


def _asked_key() -> Any:
    return panels.Line2D([], [], label="asked from here on", **ASKED)


def _first_asked(outputs: pd.DataFrame) -> int:
    """Return the first step with a target."""
    return int(min(select(outputs, line="target")["step"], default=0))


def _matrix(outputs: pd.DataFrame, line: str, steps: int) -> Matrix:
    """Return the values of a line, (channels, steps); NaN where there is none."""
    rows = select(outputs, line=line)
    found = np.full((1 + int(max(rows["channel"], default=-1)), steps), np.nan)
    found[rows["channel"].to_numpy(int), rows["step"].to_numpy(int)] = rows["value"].to_numpy(float)
    return found


def _bits(panel: Any, values: Matrix) -> None:
    """Paint channels over time, from white (0) to black (1)."""
    panel.set_facecolor(BLANK)
    _paint(panel, values, cmap="Greys", vmin=0, vmax=1)
    panel.set_yticks([])


def _paint(panel: Any, values: Matrix, **options: Any) -> Any:
    """Paint a matrix so that entry (i, j) lies at (j, i), without smoothing."""
    rows, columns = values.shape
    extent = (-0.5, columns - 0.5, -0.5, rows - 0.5)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.yaxis.get_major_locator().set_params(integer=True)
    return panel.imshow(values, aspect="auto", origin="lower", interpolation="nearest", extent=extent, **options)


# --- one memory -------------------------------------------------------------------------------------------------------


def weightings(products: Products, about: Weightings) -> Figure:
    """Where one sequence was written and read: slot against step, a row a track and model, heads above each other."""
    kinds = {"write": "written", "read": "read"}
    return _heat(
        products, panels.series_of(products.runs, about.models, about.where), kinds, ("write", "read"), "weight"
    )


def usage_and_links(products: Products, about: UsageAndLinks) -> Figure:
    """How used each slot was over one sequence, and which slot was written after which; a row a track and model."""
    kinds = {"usage": "usage", "link": "link: row written after column"}
    return _heat(products, panels.series_of(products.runs, about.models, about.where), kinds, ("usage",), "usage, link")


def _heat(
    products: Products, found: Sequence[Series], kinds: Mapping[str, str], needed: Sequence[str], unit: str
) -> Figure:
    """A row for each track and series that has any of what is needed, a column a kind."""
    rows = [
        (track, one, own)
        for track in products.tracks
        for one in found
        if not {*needed}.isdisjoint((own := one.rows_of(select(products.weightings, track=track)))["kind"])
    ]
    if not rows:
        raise DataError(f"weightings.csv: no row of {', '.join(needed)}; allowed: a completed run that has one")
    figure, grid = style.panels(len(rows), len(kinds), min(1.25, TALLEST / len(rows)))
    image = None
    for row, (track, one, own) in enumerate(rows):
        asked = _first_asked(one.rows_of(select(products.outputs, track=track)))
        for panel, (kind, text) in zip(grid[row], kinds.items(), strict=True):
            if row == 0:
                panel.set_title(text)
            weights = _slots(select(own, kind=kind))
            if not weights.size:
                panels.nothing(panel, _LACKING[kind])
                continue
            image = _paint(panel, weights, cmap=WEIGHTS, norm=PowerNorm(0.5, 0, 1))
            _divide(panel, select(own, kind=kind))
            if kind != "link":
                panel.axvline(asked - 0.5, **ASKED)
            panel.set_xlabel({"link": "slot"}.get(kind, "step") if row == len(rows) - 1 else "")
        words = [_in_two(one.name), *([track] if len({track for track, _, _ in rows}) > 1 else []), "slot"]
        grid[row][0].set_ylabel("\n".join(words))
    every = [panel for line in grid for panel in line]
    figure.colorbar(image, ax=every, label=unit, aspect=40, pad=0.01, ticks=[0, 0.1, 0.4, 1])  # pyright: ignore[reportArgumentType]
    panels.legend(figure, [_asked_key()])
    return figure


_LACKING = {"write": "no write weights", "read": "no read weights", "usage": "no usage", "link": "no links"}
"""Text in place of a kind that a memory does not have, as one whose gates write every slot has no weights."""


def _slots(rows: pd.DataFrame) -> Matrix:
    """Slots of one head above those of another against steps, (H N, T); of links, slots against slots."""
    names = [name for name in rows.columns if name.startswith("slot_") and panels.has_values(rows, name)]
    heads = [select(rows, head=head).sort_values("step")[names].to_numpy(float) for head in sorted(set(rows["head"]))]
    if not heads:
        return np.empty((0, 0))
    return heads[0] if set(rows["kind"]) == {"link"} else np.vstack([head.T for head in heads])


def _divide(panel: Any, rows: pd.DataFrame) -> None:
    """Thin lines between the heads, and slots counted anew in each."""
    heads = len(set(rows["head"]))
    if heads > 1:
        low, high = panel.get_ylim()
        slots = (high - low) / heads
        for head in range(1, heads):
            panel.axhline(head * slots - 0.5, color="#666666", linewidth=0.5)
        panel.set_yticks(
            [(head + 0.5) * slots - 0.5 for head in range(heads)], [f"head {head}" for head in range(1, heads + 1)]
        )
        panel.tick_params(axis="y", length=0)


KINDS = {BySize: by_size, Pictures: pictures, Weightings: weightings, UsageAndLinks: usage_and_links}
