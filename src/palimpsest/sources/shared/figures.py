"""The kinds of figures, a dataclass a kind: which metrics, models and axes a figure shows.

:mod:`palimpsest.rendering.figures` draws a figure by the type of its description. The names of metrics are those of the
columns of ``tables/runs/<experiment>.csv`` and of the experiment's tables below ``results/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from palimpsest.foundation.sections import Scalar

Shown = Scalar | None
Where = Mapping[str, Shown | tuple[Shown, ...]]
"""Axis → the value that is shown, or a tuple of such values, of models that have the axis; ``None`` stands for cells
without it."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What every figure has: the name of its files, ``plots/<experiment>/<name>.pdf`` and ``.png``."""

    name: str


@dataclass(frozen=True, kw_only=True)
class OfGrid(Figure):
    """A figure of the grid of one model."""

    model: str


@dataclass(frozen=True, kw_only=True)
class OfModels(Figure):
    """A figure that puts models beside each other."""

    models: tuple[str, ...] = ()
    """Whose cells are shown; empty: all models."""
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scatter(OfGrid):
    """Metric against metric; a series for each value of one axis."""

    x: str
    """Metric in [0, 1]."""
    y: str
    by: str
    """Axis that gives the series."""
    baselines: tuple[str, ...] = ()
    """Models that have both metrics."""
    lines: tuple[str, ...] = ()
    """Models that have ``y`` only, each a horizontal line."""


@dataclass(frozen=True, kw_only=True)
class AgainstAxis(OfGrid):
    """Metric against an axis of the grid; a series for each value of another axis."""

    x: str
    """Axis."""
    y: str
    """Metric."""
    by: str
    lines: tuple[str, ...] = ()
    """Baselines, each a horizontal line."""
    levels: bool = False
    """Whether chance, informed floor and ceiling are drawn, as for an accuracy."""


@dataclass(frozen=True, kw_only=True)
class Controls(OfGrid):
    """One metric under several treatments of the memory, against an axis; a row of panels for each value of another."""

    x: str
    """Axis."""
    metrics: Mapping[str, str]
    """Name for the reader → metric."""
    rows: str
    """Axis that gives the rows."""
    lines: tuple[str, ...] = ()
    """Models without memory, each a horizontal line of the first metric."""
    label: str
    """Of the y axis."""


@dataclass(frozen=True, kw_only=True)
class Paths(OfGrid):
    """Metric against metric, means joined in the order of one axis; a row of panels for each value of another."""

    x: str
    """Metric in [0, 1]."""
    y: str
    """Metric."""
    along: str
    """Axis whose values are joined."""
    rows: str
    """Axis that gives the rows."""
    baselines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Curves(OfGrid):
    """Metrics against the epoch, a line a run, with the mean of the last epoch and its interval beside it."""

    metrics: tuple[str, ...]
    by: str
    """Axis that gives the colours."""
    at: str
    """Axis that is held at its middle value."""
    lines: tuple[str, ...] = ()
    """Baselines, every run a broken line."""
    accuracy: str = ""
    """Which of the metrics is drawn beside chance, informed floor and ceiling."""


@dataclass(frozen=True, kw_only=True)
class Positions(OfGrid):
    """A quantity by token position, and by offset from the asked token."""

    y: str
    """A column of ``write_positions.csv``."""
    by: str
    """Axis that gives the colours."""
    at: str
    """Axis that is held at its middle value."""


@dataclass(frozen=True, kw_only=True)
class Trajectories(OfModels):
    """Metrics against time: a row of panels a metric, a column a track, a thin line a run."""

    clock: Literal["training", "epochs", "stream", "sequence"]
    """What time is: training steps, epochs, sequences seen in training, or memory steps of a sequence."""
    metrics: tuple[str, ...]
    accuracy: str = ""
    """Which of the metrics is drawn beside chance, informed floor and ceiling."""


@dataclass(frozen=True, kw_only=True)
class Raster(OfModels):
    """The life of every slot in one example: slot against memory step, coloured by the operation."""


@dataclass(frozen=True, kw_only=True)
class SideBySide(OfModels):
    """Metrics of models: a row of panels a track, a column a metric, a line a cell of a model."""

    metrics: tuple[str, ...]
    accuracies: tuple[str, ...] = ()
    """Those of the metrics that are drawn beside chance, informed floor and ceiling."""


@dataclass(frozen=True, kw_only=True)
class BySize(OfModels):
    """Test scores against the size of sequences, named as the experiment's manifest names sizes."""

    metrics: tuple[str, ...]
    accuracy: str = ""
    """Which of the metrics is drawn beside chance, informed floor and ceiling."""


@dataclass(frozen=True, kw_only=True)
class Weightings(OfModels):
    """Where one sequence was written and read: slot against step, heads above each other."""


@dataclass(frozen=True, kw_only=True)
class Pictures(OfModels):
    """One sequence as bits over time: input, target and the output of each model."""


@dataclass(frozen=True, kw_only=True)
class UsageAndLinks(OfModels):
    """Usage of each slot over one sequence, and which slot was written after which."""


@dataclass(frozen=True, kw_only=True)
class Survival(OfModels):
    """Share of what was written that slots still hold, by steps since the write: a panel a track, a line a run."""


@dataclass(frozen=True, kw_only=True)
class AccuracyMatrix(OfModels):
    """Mean test accuracy on the data of each phase (columns) after each phase (rows): a panel a track and cell."""


@dataclass(frozen=True, kw_only=True)
class ForgettingCurves(OfModels):
    """Test accuracy on the data of each phase over the phases: a panel a track and cell, a thin line a run."""

    clock: Literal["trained", "since"] = "trained"
    """What is counted: all phases that were trained, or those since the phase that is evaluated."""
