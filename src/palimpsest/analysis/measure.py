"""One number for every seed, computed from the test of a claim and the table of runs, with the cells behind it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from pandas import DataFrame

from palimpsest.analysis import estimates
from palimpsest.analysis.claim_file import Criterion, Group, Order
from palimpsest.analysis.estimates import Sample, share_variance
from palimpsest.analysis.frames import axes_of, metrics_of, records
from palimpsest.analysis.runs import run_directory
from palimpsest.analysis.statistics import DIGITS, Interval, PValues, paired_difference, spearman
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Scalar, format_value

Resolved = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Directory of a run → ``task`` and ``config`` → every parameter; what a preset's runs resolve to."""
Choice = Literal["other_seeds", "same_seeds"]
NOT_IN_PRESET = "the experiment is not part of this preset"
LEAST_FOR_OTHER_SEEDS = 3
"""Seeds from which on a cell is chosen on other seeds than those that it is reported on."""


@dataclass(frozen=True)
class Cell:
    """One point of a grid with its runs, and the way it was chosen."""

    model: str
    point: dict[str, float | str]
    rows: list[dict[str, Any]]
    candidates: int = 1
    """Number of cells among which it was chosen."""
    chosen_by: dict[str, float] = field(default_factory=dict)
    """Means of the metrics by which it was accepted and ranked."""
    seeds: int | None = None
    """Number of seeds that are reported in this cell, if others are reported in another; then the most frequent one."""
    asked: tuple[int, ...] = ()
    """The seeds that the preset asks for; a run of one of them that is not in ``rows`` is missing."""

    def __str__(self) -> str:
        name = " ".join([self.model, *(f"{axis}={format_value(value)}" for axis, value in self.point.items())])
        return name if self.seeds is None else f"{name} (in {self.seeds} of {len(self.rows)} seeds)"

    @property
    def completed(self) -> list[dict[str, Any]]:
        """Rows of the runs that did not fail."""
        return [row for row in self.rows if row["status"] == "completed"]

    @property
    def diverged(self) -> int:
        """Number of runs that failed."""
        return len(self.rows) - len(self.completed)

    def limited(self, seeds: Sequence[int]) -> Cell:
        """Return the cell with the runs of these seeds alone."""
        rows = [row for row in self.rows if row["seed"] in seeds]
        return replace(self, rows=rows, asked=tuple(seed for seed in self.asked if seed in seeds))

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over completed runs, rounded so that the order of the sum breaks no tie."""
        values = [math.nan if row[metric] is None else row[metric] for row in self.completed]
        return round(math.fsum(values) / len(values), DIGITS) if values else math.nan


class NoCellError(Exception):
    """A group is empty: because nothing was run, or, if ``fails``, because no cell is as claimed."""

    def __init__(self, reason: str, *, fails: bool) -> None:
        super().__init__(reason)
        self.fails = fails


@dataclass(frozen=True)
class Measured:
    """A number for every seed, and the cells behind it."""

    claim: str
    experiment: str
    track: str
    criterion: Criterion
    values: dict[int, float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    missing: str = ""
    missing_fails: bool = False
    """Whether the claim fails if something is missing; else it is untested."""
    sample: Sample = field(default_factory=lambda: Sample(()))
    """The numbers of all seeds that have one, as intervals need them."""

    @property
    def usable(self) -> list[float]:
        """The numbers of all seeds that have one."""
        return [value for value in self.values.values() if value == value]

    def interval(self, confidence: float) -> Interval:
        """Return the interval over all seeds that have a number."""
        return estimates.interval(self.sample, confidence)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Rows of the runs behind the numbers."""
        return [row for cell in self.cells for row in cell.rows]

    def p_values(self) -> PValues:
        """Return the p values of the claimed side and of the other side, over all seeds that have a number."""
        bound = self.criterion.bound
        if bound is None:
            return PValues(math.nan, math.nan)
        return estimates.p_values(self.sample, bound.value, above=bound.above)


@dataclass(frozen=True)
class TrackRuns:
    """The runs of one experiment on one track, and the groups of the claims."""

    experiment: str
    rows: list[dict[str, Any]]
    axes: list[str]
    metrics: list[str]
    groups: Mapping[str, Group]
    track: str
    resolved: Resolved = field(default_factory=dict)
    choice: Choice = "other_seeds"

    @classmethod
    def of(
        cls, runs: DataFrame, experiment: str, track: str, groups: Mapping[str, Group], resolved: Resolved
    ) -> TrackRuns:
        """Select the runs from the table of runs, whose order does not matter."""
        rows = [row for row in records(runs) if (row["experiment"], row["track"]) == (experiment, track)]
        rows.sort(key=lambda row: row["seed"])
        return cls(experiment, rows, axes_of(runs), metrics_of(runs), groups, track, resolved)

    @functools.cached_property
    def _asked(self) -> dict[str, tuple[int, ...]]:
        """The seeds of every cell of the preset, by its directory."""
        found: dict[str, list[int]] = {}
        for directory in self.resolved:
            cell, _, seed = directory.rpartition("/seed=")
            found.setdefault(cell, []).append(int(seed))
        return {cell: tuple(sorted(seeds)) for cell, seeds in found.items()}

    def seeds_of(self, row: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the seeds that the preset asks for in the cell of a run; if this is not known, those of the track."""
        known = self._asked.get(run_directory(dict(row), self.axes).rpartition("/seed=")[0])
        return known or tuple(sorted({row["seed"] for row in self.rows}))

    def cells(self, name: str) -> list[Cell]:
        """Return all cells of a group, before one is chosen, sorted by the values of their axes."""
        group = self.groups[name].on(self.track)
        rows = [row for row in self.rows if row["model"] == group.model]
        for axis, value in group.where.items():
            if rows and value is not None:
                _known(axis, self.axes, f"groups.{name}.where")
            rows = [row for row in rows if _equal(row.get(axis), value)]
        if not rows:
            given = {axis: "nothing" if value is None else value for axis, value in group.where.items()}
            where = "".join(f" {axis}={format_value(value)}" for axis, value in given.items())
            raise NoCellError(f"no grid asks for {group.model}{where} on this track", fails=False)
        cells: dict[tuple[tuple[str, Any], ...], list[dict[str, Any]]] = {}
        for row in rows:
            cells.setdefault(tuple((axis, row[axis]) for axis in self.axes if row[axis] is not None), []).append(row)
        return [
            Cell(group.model, dict(point), cells[point], asked=self.seeds_of(cells[point][0]))
            for point in sorted(cells)
        ]

    def narrowed(self, name: str, axis: str) -> Iterator[tuple[Scalar, TrackRuns]]:
        """Yield each value of an axis in a group, with the same runs and the group limited to this value."""
        group = self.groups[name].on(self.track)
        values = {cell.point[axis] for cell in self.cells(name) if axis in cell.point}
        if not values:
            raise ParameterError(f"groups.{name}: no cell has axis {axis!r}; allowed as each: an axis of its grid")
        for value in sorted(values):
            limited = Group.model_validate({**group.model_dump(), "where": {**group.where, axis: value}})
            yield value, replace(self, groups={**self.groups, name: limited})

    def one_cell(self, name: str) -> Cell:
        """Return the cell of a group by the group's rules of choice; cells with diverged runs come last.

        Where there is a choice, each seed is reported in the cell that is best on the validation data of all other
        seeds, so that no seed takes part in choosing the cell that it is reported in. With fewer than three seeds the
        choice is made once, on all. Cells that differ in their seeds are compared on those that all have.
        """
        group = self.groups[name].on(self.track)
        candidates, seeds = in_common(self.cells(name))
        keys = (*group.having, *(order.by for order in group.choose))
        for metric in keys:
            _known(metric, self.metrics, f"groups.{name}")
        best, among = self._best(name, group, candidates)
        best = replace(best, candidates=among, chosen_by={metric: best.mean(metric) for metric in keys})
        if len(candidates) == 1 or not keys or self.choice == "same_seeds" or len(seeds) < LEAST_FOR_OTHER_SEEDS:
            return best
        return self._by_seed(name, group, candidates, best)

    def _by_seed(self, name: str, group: Group, candidates: Sequence[Cell], best: Cell) -> Cell:
        rows, points = [], []
        for seed in best.asked:
            others = [replace(cell, rows=[row for row in cell.rows if row["seed"] != seed]) for cell in candidates]
            try:
                chosen, _ = self._best(name, group, others)
            except NoCellError:
                continue  # the seed has no cell, and so no number
            points.append(tuple(chosen.point.items()))
            whole = next(cell for cell in candidates if cell.point == chosen.point)
            rows += [row for row in whole.rows if row["seed"] == seed]
        if not points:
            raise NoCellError(_nothing_fits(group, candidates), fails=True)
        point = max(sorted(set(points)), key=points.count)
        seeds = None if points.count(point) == len(best.asked) else points.count(point)
        own = next(cell for cell in candidates if cell.point == dict(point))
        means = {metric: own.mean(metric) for metric in best.chosen_by}
        return replace(best, point=dict(point), rows=rows, chosen_by=means, seeds=seeds)

    def _best(self, name: str, group: Group, candidates: Sequence[Cell]) -> tuple[Cell, int]:
        """Return the best of the cells that fit, and how many fit."""
        fitting = [
            cell
            for cell in candidates
            if cell.completed and all(limits.met_by(cell.mean(metric)) for metric, limits in group.having.items())
        ]
        if not fitting:
            raise NoCellError(_nothing_fits(group, candidates), fails=True)
        if len(fitting) > 1 and not group.choose:
            raise ParameterError(
                f"groups.{name}: {len(fitting)} cells of {group.model} on track {self.track!r}; allowed: one; "
                "choose one by where or choose"
            )
        return min(fitting, key=lambda cell: _rank(cell, group.choose)), len(fitting)

    def part_of(self, row: Mapping[str, Any], part: str) -> Mapping[str, Any]:
        """Return every parameter of the task or of the model of a run; nothing if it is not known."""
        return self.resolved.get(run_directory(dict(row), self.axes), {}).get(part, {})

    def examples(self, cell: Cell, metric: str) -> int | None:
        """Return how many examples a metric of a run is a mean over; of a size, as many as of each tested size."""
        split = {"test": "num_test", "train": "num_train", "validation": "num_validation"}[metric.partition("_")[0]]
        given = (self.part_of(row, "task").get(split) for row in cell.rows)
        counts = [count for count in given if count is not None]
        if not counts:
            return None
        base, of_size, _ = metric.rpartition("_at_")
        sizes = [other for other in self.metrics if other.startswith(f"{base}_at_") and _anywhere(other, self)]
        return max(1, min(counts) // (len(sizes) or 1 if of_size else 1))


def in_common(cells: Sequence[Cell]) -> tuple[list[Cell], list[int]]:
    """Return cells with the runs of the seeds that all of them have, and these seeds.

    Raises:
        NoCellError: there is no such seed.
    """
    seeds = sorted(set[int].intersection(*(set(cell.asked) for cell in cells)))
    if not seeds:
        raise NoCellError(f"no seed is common to {' and '.join(dict.fromkeys(map(str, cells)))}", fails=False)
    return [cell.limited(seeds) for cell in cells], seeds


def _known(name: str, allowed: Sequence[str], where: str) -> str:
    if name not in allowed:
        raise ParameterError(f"{where}: {name!r}: the runs have no such column; allowed: {', '.join(allowed)}")
    return name


def _equal(found: float | str | None, wanted: Scalar | None) -> bool:
    """Return whether a run has a value on an axis; tables store numbers as numbers and everything else as text."""
    if wanted is not None and (isinstance(found, str) or isinstance(wanted, bool | str)):
        return found == format_value(wanted)
    return found == wanted


def _nothing_fits(group: Group, candidates: Sequence[Cell]) -> str:
    words = {"min": "at least", "max": "at most"}
    conditions = [
        f"{metric} {words.get(name, name)} {value:g}"
        for metric, limits in group.having.items()
        for name, value in limits.model_dump(exclude_none=True).items()
    ]
    reason = f"none of {len(candidates)} cells of {group.model} has a completed run"
    if conditions:
        reason += f" and a mean {' and '.join(conditions)}"
    diverged = sum(cell.diverged for cell in candidates)
    return f"{reason}; {diverged} of their runs diverged" if diverged else reason


def _rank(cell: Cell, choose: Sequence[Order]) -> tuple[Any, ...]:
    means = []
    for order in choose:
        mean = cell.mean(order.by)
        means.append(math.inf if math.isnan(mean) else round(-mean if order.order == "max" else mean, DIGITS))
    return (cell.diverged, *means, *cell.point.items())


def _number_by_seed(cell: Cell, metric: str, relative_to: str | None = None) -> tuple[dict[int, float], list[str]]:
    """Return one number for each seed asked for, NaN if there is none, and the reasons for missing numbers."""
    values, failed = {}, []
    rows = {row["seed"]: row for row in cell.rows}
    for seed in cell.asked:
        values[seed] = math.nan
        if seed not in rows:
            failed.append(f"seed {seed} of {cell} is missing")
        elif rows[seed]["status"] != "completed":
            failed.append(f"seed {seed} of {cell} diverged")
        elif rows[seed][metric] is None or not math.isfinite(rows[seed][metric]):
            failed.append(f"seed {seed} of {cell} has no {metric}")
        else:
            values[seed] = rows[seed][metric] / (rows[seed][relative_to] if relative_to else 1)
    return values, failed


def measure(claim: str, criterion: Criterion, track: TrackRuns) -> Iterator[Measured]:
    """Yield the numbers of one criterion: one result, or one for each value of ``minus.each``.

    Raises:
        ParameterError: the criterion names a metric or an axis that the runs do not have, or several cells remain
            where one is needed; or a share lies outside of 0 and 1.
    """
    minus = criterion.minus
    try:
        if not track.rows:
            raise NoCellError(f"{track.experiment} ({track.track} track): {NOT_IN_PRESET}", fails=False)
        _check_metrics(criterion, track)
        if minus is None or minus.each is None:
            yield _measured(claim, criterion, track)
            return
        for value, limited in track.narrowed(minus.group or criterion.group, minus.each):
            name = f"{criterion.name} ({minus.each}={format_value(value)})"
            yield _measured(claim, criterion.model_copy(update={"name": name}), limited)
    except NoCellError as empty:
        yield _missing(claim, criterion, track, empty)


def _missing(claim: str, criterion: Criterion, track: TrackRuns, empty: NoCellError) -> Measured:
    return Measured(claim, track.experiment, track.track, criterion, missing=str(empty), missing_fails=empty.fails)


def _check_metrics(criterion: Criterion, track: TrackRuns) -> None:
    metrics = track.metrics
    for name in (criterion.metric, criterion.minus.metric if criterion.minus else None):
        base, of_size, size = (name or "").rpartition("_at_")
        tested = [other for other in metrics if other.startswith(f"{base}_at_") and _anywhere(other, track)]
        if of_size and tested and name not in tested:
            raise NoCellError(f"no part of the test split of {track.experiment} has size {size}", fails=False)
    _known(criterion.metric, metrics, f"{criterion.name}: metric")
    if criterion.minus and criterion.minus.metric:
        _known(criterion.minus.metric, metrics, f"{criterion.name}: minus.metric")
    if criterion.relative_to:
        _known(criterion.relative_to, ["chance", "floor", "ceiling", *metrics], f"{criterion.name}: relative_to")


def _anywhere(metric: str, track: TrackRuns) -> bool:
    return any(row[metric] is not None for row in track.rows)


def _measured(claim: str, criterion: Criterion, track: TrackRuns) -> Measured:
    try:
        values, failed, cells = _MEASURES[criterion.kind](criterion, track)
    except NoCellError as empty:
        return _missing(claim, criterion, track, empty)
    if criterion.absolute:
        values = {seed: abs(value) for seed, value in values.items()}
    return Measured(
        claim,
        track.experiment,
        track.track,
        criterion,
        values,
        tuple(dict.fromkeys(failed)),
        tuple(cells),
        sample=sample_of(criterion, track, values, cells),
    )


_Numbers = tuple[dict[int, float], list[str], list[Cell]]


def _value(criterion: Criterion, track: TrackRuns) -> _Numbers:
    cell = track.one_cell(criterion.group)
    values, failed = _number_by_seed(cell, criterion.metric, criterion.relative_to)
    return values, failed, [cell]


def _pair(criterion: Criterion, track: TrackRuns) -> list[Cell]:
    """Return the cells of both sides, with the runs of the seeds that both have."""
    minus = criterion.minus
    assert minus is not None  # every Criterion that compares two sides has it
    return in_common([track.one_cell(criterion.group), track.one_cell(minus.group or criterion.group)])[0]


def _difference(criterion: Criterion, track: TrackRuns) -> _Numbers:
    minus = criterion.minus
    assert minus is not None  # every Criterion of this kind has it
    cell, other = _pair(criterion, track)
    first, failed = _number_by_seed(cell, criterion.metric, criterion.relative_to)
    second, also = _number_by_seed(other, minus.metric or criterion.metric, criterion.relative_to)
    return paired_difference(first, second), failed + also, [cell, other] if minus.group else [cell]


def _reduction(criterion: Criterion, track: TrackRuns) -> _Numbers:
    """Return 1 − a / b by seed; NaN, with a reason, if b is zero or below, because then there is nothing to reduce."""
    minus = criterion.minus
    assert minus is not None  # every Criterion of this kind has it
    cell, other = _pair(criterion, track)
    name = minus.metric or criterion.metric
    lowered, failed = _number_by_seed(cell, criterion.metric)
    full, also = _number_by_seed(other, name)
    values = {}
    for seed, whole in full.items():
        nothing = round(whole, DIGITS) <= 0
        values[seed] = math.nan if nothing else 1 - lowered[seed] / whole
        if nothing:
            also.append(f"seed {seed} of {other} has {name} {whole:.4g}: nothing to lower")
    return values, failed + also, [cell, other] if minus.group else [cell]


def _along_axis(
    criterion: Criterion, track: TrackRuns
) -> tuple[dict[int, list[float]], list[float], list[str], list[Cell]]:
    """Return, for each seed, the metric at every value of the axis; then these values, reasons and cells."""
    axis, (cells, seeds) = criterion.axis, in_common(track.cells(criterion.group))
    assert axis is not None  # every Criterion of this kind has it
    points = [cell.point.get(axis, math.nan) for cell in cells]
    if not all(isinstance(point, float) and point == point for point in points) or len(set(points)) < len(points):
        raise ParameterError(
            f"groups.{criterion.group}: {len(cells)} cells on track {track.track!r}; allowed: one for each number on "
            f"axis {axis!r}; choose them by where"
        )
    values: dict[int, list[float]] = {seed: [] for seed in seeds}
    failed = []
    for cell in cells:
        numbers, reasons = _number_by_seed(cell, criterion.metric)
        failed += reasons
        for seed, number in numbers.items():
            values[seed].append(number)
    return values, [float(point) for point in points], failed, cells


def _spearman(criterion: Criterion, track: TrackRuns) -> _Numbers:
    values, points, failed, cells = _along_axis(criterion, track)
    if len(points) < 2:
        raise NoCellError(f"one value of {criterion.axis} has no order", fails=False)
    return {seed: spearman(points, numbers) for seed, numbers in values.items()}, failed, cells


def _count(criterion: Criterion, track: TrackRuns) -> _Numbers:
    values, _, failed, cells = _along_axis(criterion, track)
    assert criterion.between is not None  # every Criterion of this kind has it
    low, high = criterion.between
    counts = {
        seed: float(sum(low < number < high for number in numbers)) if np.isfinite(numbers).all() else math.nan
        for seed, numbers in values.items()
    }
    return counts, failed, cells


def _success_rate(criterion: Criterion, track: TrackRuns) -> _Numbers:
    """Return 1 for each seed that succeeded and 0 for the others; a diverged run did not succeed."""
    success = criterion.success
    assert success is not None  # every Criterion of this kind has it
    cells = track.cells(criterion.group)
    cell = cells[0] if len(cells) == 1 else track.one_cell(criterion.group)
    lost = {row["seed"] for row in cell.rows if row["status"] != "completed"}
    values, failed = _number_by_seed(cell.limited([seed for seed in cell.asked if seed not in lost]), criterion.metric)
    reached = {seed: float(success.met_by(value)) if value == value else math.nan for seed, value in values.items()}
    return {seed: reached.get(seed, 0.0) for seed in cell.asked}, failed, [cell]


_MEASURES = {
    "value": _value,
    "difference": _difference,
    "reduction": _reduction,
    "spearman": _spearman,
    "count": _count,
    "success_rate": _success_rate,
}


def sample_of(criterion: Criterion, track: TrackRuns, values: Mapping[int, float], cells: Sequence[Cell]) -> Sample:
    """Return the numbers of the seeds that have one, with what is known of how they came about.

    Raises:
        ParameterError: the scale is a share, and a value is none.
    """
    numbers = [value for value in values.values() if value == value]
    kind = criterion.kind
    if kind == "success_rate":
        return Sample(tuple(numbers), "success", low=0.0, high=1.0)
    if kind == "spearman":
        return Sample(tuple(numbers), "correlation", points=len(cells))
    if kind == "count":
        return Sample(tuple(numbers), "count", low=0.0, high=float(len(cells)), points=len(cells))
    examples = track.examples(cells[0], criterion.metric)
    minus = criterion.minus
    sides = [(cells[0], criterion.metric)]
    if minus is not None:
        sides.append((cells[-1], minus.metric or criterion.metric))
    if kind == "reduction":
        least = math.log(0.5 / ((examples or 1000) + 1))  # nothing left counts as half of an example
        logs = tuple(max(math.log1p(-value), least) if value < 1 else least for value in numbers)
        return Sample(logs, "reduction", examples, _relative_variance(criterion, examples, sides))
    if criterion.scale == "plain" or not numbers:
        return Sample(tuple(numbers), "plain", low=0.0 if criterion.absolute else -math.inf)
    unit = _unit(criterion, cells)
    scores = [_checked_share(cell.mean(metric), criterion, metric) for cell, metric in sides]
    of_examples = examples if criterion.scale == "share" else None
    variance = sum(share_variance(score, of_examples) for score in scores) / unit**2
    if minus is None:
        return Sample(tuple(numbers), "share", examples, variance, low=0.0, high=1 / unit)
    low = 0.0 if criterion.absolute else -1 / unit
    return Sample(tuple(numbers), "difference", examples, variance, low=low, high=1 / unit)


def _unit(criterion: Criterion, cells: Sequence[Cell]) -> float:
    """Return what shares are divided by, which is the same number in all runs: a data set has one ceiling."""
    if criterion.relative_to is None:
        return 1.0
    return min(row[criterion.relative_to] for cell in cells for row in cell.completed)


def _checked_share(mean: float, criterion: Criterion, metric: str) -> float:
    if mean == mean and not -1e-9 <= mean <= 1 + 1e-9:
        raise ParameterError(
            f"{criterion.name}: scale: {criterion.scale}, but {metric} has a mean of {mean:.4g}; allowed: plain"
        )
    return min(max(mean, 0.0), 1.0)


def _relative_variance(criterion: Criterion, examples: int | None, sides: Sequence[tuple[Cell, str]]) -> float:
    """Return the variance of log(a / b) that the choice of the test examples makes."""
    if criterion.scale != "share":
        return 0.0
    total = 0.0
    for cell, metric in sides:
        share = _checked_share(cell.mean(metric), criterion, metric)
        total += share_variance(share, examples) / max(share, 0.5 / ((examples or 1000) + 1)) ** 2
    return total
