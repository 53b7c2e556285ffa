"""Figures over the grid of a model: a metric against another metric, a parameter, the epoch or the token position.

Every kind has one panel for each track. It shows every run as its own point or line, medians over seeds with the middle
half of the seeds, and chance, informed floor and ceiling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from palimpsest.foundation.sections import format_value
from palimpsest.rendering import panels, style
from palimpsest.rendering.frames import select
from palimpsest.rendering.panels import MEDIAN, POINT, Products
from palimpsest.rendering.style import Look
from palimpsest.sources.shared.figures import AgainstAxis, Controls, Curves, Paths, Positions, Scatter


def _symlog(panel: Any, smallest: float, ticks: Sequence[float]) -> None:
    """Set a logarithmic x axis that also shows 0: it is linear below ``smallest``."""
    panel.set_xscale("symlog", linthresh=smallest, linscale=0.6)
    panel.xaxis.set_major_locator(FixedLocator(ticks))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xticks(ticks, [format_value(float(tick)) for tick in ticks])
    if len(ticks) > 5:
        panel.tick_params(axis="x", labelrotation=45, pad=1)


def _axis_of_values(panel: Any, values: Sequence[float]) -> None:
    """Set an x axis of parameter values: symlog if one of them is positive."""
    positive = [value for value in values if value > 0]
    if not positive:
        panel.set_xticks(values, [format_value(float(value)) for value in values])
        return
    _symlog(panel, min(positive), values)
    panel.set_xlim(*panels.moved(panel, np.array([values[0], values[-1]]), np.array([-0.4, 0.22])))


def _baseline_lines(panel: Any, products: Products, track: str, models: Sequence[str], y: str) -> list[Line2D]:
    """Draw the median of each baseline as a horizontal line, and its runs as marks at the left margin."""
    keys = []
    for position, model in enumerate(models):
        runs = select(products.runs, track=track, model=model)
        if runs.empty or not panels.has_values(runs, y):
            continue
        look = style.model_look(model, position)
        for median in panels.medians(runs, y)[f"{y}_median"]:
            panel.axhline(median, color=look.color, linestyle=look.line, linewidth=0.9, zorder=2)
        known = runs[y]
        panel.plot(
            [0.01 + 0.012 * position] * len(known),
            known,
            color=look.color,
            marker=look.marker,
            markersize=2.2,
            markeredgewidth=0,
            linestyle="none",
            transform=panel.get_yaxis_transform(),
            zorder=3,
        )
        keys.append(panels.key(look, style.label(model), line=True))
    return keys


def _baseline_points(panel: Any, products: Products, track: str, models: Sequence[str], x: str, y: str) -> list[Line2D]:
    """Draw every run of each baseline, and its medians with the middle half of the seeds in both directions."""
    keys = []
    for position, model in enumerate(models):
        runs = select(products.runs, track=track, model=model)
        if runs.empty or not panels.has_values(runs, x):
            continue
        look = style.model_look(model, position)
        _points(panel, runs, x, y, look)
        keys.append(panels.key(look, style.label(model)))
    return keys


def _points(panel: Any, runs: pd.DataFrame, x: str, y: str, look: Look) -> None:
    cells = panels.medians(runs, x, y)
    panel.scatter(runs[x], runs[y], color=look.color, marker=look.marker, **POINT)
    panel.errorbar(
        cells[f"{x}_median"],
        cells[f"{y}_median"],
        xerr=panels.middle_half(cells, x),
        yerr=panels.middle_half(cells, y),
        color=look.color,
        marker=look.marker,
        linestyle="none",
        **MEDIAN,
    )


def _ratio_axis(panel: Any, runs: pd.DataFrame, x: str) -> None:
    """Set a symlog x axis from 0 to 1, which separates small ratios."""
    _symlog(panel, 0.01, [0.0, 0.01, 0.1, 1.0])
    panel.set_xlim(-0.006, max(1.5, float(np.nanmax(runs[x].to_numpy())) * 1.2))


class _Part(NamedTuple):
    """What the panels of one track show of a model."""

    panel: Any
    """The uppermost panel, which has the title of the track."""
    track: str
    everything: pd.DataFrame
    """Runs of all models on the track."""
    runs: pd.DataFrame


def _parts(products: Products, model: str, uppermost: Sequence[Any]) -> Iterator[_Part]:
    """One part for each track, from left to right."""
    for panel, track in zip(uppermost, products.tracks, strict=True):
        panels.head(panel, products, track, model)
        everything = select(products.runs, track=track)
        yield _Part(panel, track, everything, select(everything, model=model))


def _label_row(panels_of_row: Sequence[Any], y: str, rows: str, value: float, x: str | None) -> None:
    """Label a row of panels with its value of the axis ``rows``; only the lowest row has an x axis, named ``x``."""
    panels_of_row[0].set_ylabel(f"{y}\n{style.symbol(rows)} = {format_value(float(value))}")
    for panel in panels_of_row:
        if x is None:
            panel.tick_params(labelbottom=False)
        else:
            panel.set_xlabel(x)


def scatter(products: Products, about: Scatter) -> Figure:
    """Draw a metric against another metric, with one series for each value of the axis ``by``."""
    model, x, y, by = about.model, about.x, about.y, about.by
    figure, grid = style.panels(1, len(products.tracks), 2.15)
    values = panels.values_of(select(products.runs, model=model), by)
    looks, more = style.SERIES[: len(values)], []
    for panel, track, everything, runs in _parts(products, model, grid[0]):
        _ratio_axis(panel, everything, x)
        for value, look in zip(values, looks, strict=True):
            _points(panel, select(runs, **{by: value}), x, y, look)
        more += _baseline_points(panel, products, track, about.baselines, x, y)
        more += _baseline_lines(panel, products, track, about.lines, y)
        panels.limits(panel, [*everything[y], *panels.levels(panel, everything)])
        panel.set_xlabel(style.label(x))
    grid[0][0].set_ylabel(style.label(y))
    panels.legend_of_values(figure, by, values, looks, more, line=False)
    return figure


def against_axis(products: Products, about: AgainstAxis) -> Figure:
    """Draw a metric against a parameter, with one series for each value of the axis ``by``."""
    model, x, y, by = about.model, about.x, about.y, about.by
    figure, grid = style.panels(1, len(products.tracks), 2.15)
    values = panels.values_of(select(products.runs, model=model), by)
    looks, more = style.SERIES[: len(values)], []
    for panel, track, everything, runs in _parts(products, model, grid[0]):
        _axis_of_values(panel, panels.values_of(runs, x))
        for value, look, move in zip(values, looks, panels.dodge(len(values)), strict=True):
            panels.series(panel, select(runs, **{by: value}), x, y, look, move)
        more += _baseline_lines(panel, products, track, about.lines, y)
        shown = [*runs[y], *(everything[everything["model"].isin(about.lines)][y])]
        panels.limits(panel, [*shown, *(panels.levels(panel, everything) if about.levels else (0.0, 1.0))])
        panel.set_xlabel(style.label(x))
    grid[0][0].set_ylabel(style.label(y))
    panels.legend_of_values(figure, by, values, looks, more)
    return figure


def controls(products: Products, about: Controls) -> Figure:
    """Draw one metric under several controls of the memory against a parameter, one row for each value of ``rows``."""
    model, x, rows, metrics = about.model, about.x, about.rows, about.metrics
    values = panels.values_of(select(products.runs, model=model), rows)
    figure, grid = style.panels(len(values), len(products.tracks), 1.4)
    looks, more = style.SERIES[: len(metrics)], []
    for column, (_, track, everything, runs) in enumerate(_parts(products, model, grid[0])):
        for row, value in enumerate(values):
            panel = grid[row][column]
            _axis_of_values(panel, panels.values_of(runs, x))
            part = select(runs, **{rows: value})
            for metric, look, move in zip(metrics.values(), looks, panels.dodge(len(metrics)), strict=True):
                panels.series(panel, part, x, metric, look, move)
            first = next(iter(metrics.values()))
            more += _baseline_lines(panel, products, track, about.lines, first)
            without = everything[everything["model"].isin(about.lines)][first]
            shown = [value for metric in metrics.values() for value in runs[metric]]
            panels.limits(panel, [*shown, *without, *panels.levels(panel, everything)])
    for row, value in enumerate(values):
        _label_row(grid[row], about.label, rows, value, style.label(x) if row == len(values) - 1 else None)
    panels.legend(figure, [*(panels.key(look, name) for name, look in zip(metrics, looks, strict=True)), *more])
    return figure


def paths(products: Products, about: Paths) -> Figure:
    """Draw a metric against another, with medians joined in order of ``along``, one row for each value of ``rows``."""
    model, x, y, along, rows = about.model, about.x, about.y, about.along, about.rows
    of_model = select(products.runs, model=model)
    values, order = panels.values_of(of_model, rows), panels.values_of(of_model, along)
    figure, grid = style.panels(len(values), len(products.tracks), 1.4)
    looks, more = style.ordered(len(order)), []
    for column, (_, track, everything, runs) in enumerate(_parts(products, model, grid[0])):
        for row, value in enumerate(values):
            panel = grid[row][column]
            _ratio_axis(panel, everything, x)
            part = select(runs, **{rows: value})
            joined = panels.medians(part, x, y, by=[along]).sort_values(along)
            panel.plot(joined[f"{x}_median"], joined[f"{y}_median"], color="#999999", linewidth=0.8, zorder=2)
            more += _baseline_points(panel, products, track, about.baselines, x, y)
            for step, look in zip(order, looks, strict=True):
                _points(panel, select(part, **{along: step}), x, y, look)
            shown = everything[everything["model"].isin([model, *about.baselines])][y]
            panels.limits(panel, [*shown, *panels.levels(panel, everything)])
    for row, value in enumerate(values):
        _label_row(grid[row], style.label(y), rows, value, style.label(x) if row == len(values) - 1 else None)
    panels.legend_of_values(figure, along, order, looks, more)
    return figure


def curves(products: Products, about: Curves) -> Figure:
    """Draw metrics against the epoch: one line for each run, and the median of each run's last epoch.

    The line of a run that stopped early ends there. Its last value counts in the median.
    """
    model, metrics, by, at = about.model, about.metrics, about.by, about.at
    figure, grid = style.panels(len(metrics), len(products.tracks), 1.65)
    order = panels.values_of(select(products.runs, model=model), by)
    looks, more = style.ordered(len(order)), []
    middle = _middle(products, model, at)
    for column, track in enumerate(products.tracks):
        everything = select(products.runs, track=track)
        table = select(products.curves, track=track)
        ends = select(everything, model=model, **{at: middle})
        for row, metric in enumerate(metrics):
            panel = grid[row][column]
            if row == 0:
                panels.head(panel, products, track, model)
            for value, look in zip(order, looks, strict=True):
                part = select(table, model=model, **{by: value, at: middle})
                panels.lines_of_runs(panel, part, "epoch", metric, look.color, "-")
                epoch = int(np.max(table["epoch"].to_numpy()))
                _last(panel, select(ends, **{by: value}), metric, look, order.index(value), epoch)
            for position, name in enumerate(about.lines):
                part, look = select(table, model=name), style.model_look(name, position)
                if len(part) and metric in part and np.isfinite(part[metric].to_numpy(float)).any():
                    panels.lines_of_runs(panel, part, "epoch", metric, look.color, look.line)
                    more.append(panels.key(look, style.label(name), line=True))
            chosen = (table["model"].isin(about.lines)) | ((table["model"] == model) & (table[at] == middle))
            levels = panels.levels(panel, everything) if metric == about.accuracy else (0.0, 1.0)
            panels.limits(panel, [*table[chosen][metric], *levels])
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.set_ylabel(style.label(metric) if column == 0 else "")
            panel.set_xlabel(style.label("epoch") if row == len(metrics) - 1 else "")
    figure.suptitle(f"{style.label(model)}, {style.symbol(at)} = {format_value(middle)}", fontsize="small")
    panels.legend_of_values(figure, by, order, looks, more)
    return figure


def _middle(products: Products, model: str, axis: str) -> float:
    values = panels.values_of(select(products.runs, model=model), axis)
    return float(values[(len(values) - 1) // 2])


def _last(panel: Any, runs: pd.DataFrame, metric: str, look: Look, position: int, epoch: int) -> None:
    """Draw the median of the last epoch and the middle half of the seeds, to the right of the curves."""
    if metric in runs:
        x = epoch * (1.03 + 0.018 * position)
        cells = panels.medians(runs, metric)
        panel.errorbar(
            [x] * len(cells),
            cells[f"{metric}_median"],
            yerr=panels.middle_half(cells, metric),
            color=look.color,
            marker=look.marker,
            linestyle="none",
            **{**MEDIAN, "markersize": 3.2, "capsize": 1.0},
        )


def positions(products: Products, about: Positions) -> Figure:
    """Draw a quantity by token position, and by offset from the asked token, which is marked; one line for each run."""
    model, y, by, at = about.model, about.y, about.by, about.at
    alignments = {"absolute": "token position", "from_answer": "offset from the asked token"}
    figure, grid = style.panels(len(alignments), len(products.tracks), 1.65)
    order = panels.values_of(select(products.runs, model=model), by)
    looks, middle = style.ordered(len(order)), _middle(products, model, at)
    for column, track in enumerate(products.tracks):
        table = select(products.positions, track=track, model=model, **{at: middle})
        for row, (alignment, text) in enumerate(alignments.items()):
            panel = grid[row][column]
            if row == 0:
                panels.head(panel, products, track, model)
            part = select(table, alignment=alignment)
            for value, look in zip(order, looks, strict=True):
                panels.lines_of_runs(panel, select(part, **{by: value}), "position", y, look.color, "-")
            _mark_asked(panel, table, alignment)
            panels.limits(panel, [*part[y], 0.0, 1.0])
            panel.set_ylabel(style.label(y) if column == 0 else "")
            panel.set_xlabel(text)
    asked = Line2D([], [], color="#D55E00", linestyle=":", linewidth=1.2, label="asked token")
    figure.suptitle(f"{style.label(model)}, {style.symbol(at)} = {format_value(middle)}", fontsize="small")
    panels.legend_of_values(figure, by, order, looks, [asked], line=True)
    return figure


def _mark_asked(panel: Any, table: pd.DataFrame, alignment: str) -> None:
    """Mark offset 0, or the positions of all asked tokens, which follow from the offsets of the probe batch."""
    offsets = select(table, alignment="from_answer")["position"]
    if alignment == "from_answer":
        panel.axvline(0, color="#D55E00", linestyle=":", linewidth=1.2, zorder=1)
    elif len(offsets):
        last = int(np.max(select(table, alignment="absolute")["position"].to_numpy()))
        first, end = last - int(np.max(offsets.to_numpy())), -int(np.min(offsets.to_numpy()))
        panel.axvspan(first - 0.5, end + 0.5, color="#D55E00", alpha=0.1, linewidth=0, zorder=0)
        panel.annotate(
            "asked token: one of these",
            ((first + end) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize="x-small",
            color="#A04000",
        )


KINDS = {
    Scatter: scatter,
    AgainstAxis: against_axis,
    Controls: controls,
    Paths: paths,
    Curves: curves,
    Positions: positions,
}
