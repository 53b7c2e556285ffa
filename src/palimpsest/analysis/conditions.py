"""What must be met before a test is decided; each condition is checked on the runs, and says in words what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palimpsest.analysis.claim_file import Capacity, Claim, Learnt, Size
from palimpsest.analysis.frames import FLOOR_AT
from palimpsest.analysis.measure import NOT_IN_PRESET, Cell, Measured, NoCellError, TrackRuns
from palimpsest.foundation.errors import ParameterError

LEARNT = "learnt"
SLOTS = ("num_slots", "capacity")
"""What models call the number of their slots."""
AT_A_BOUND = 0.02
"""Share of what lies between floor and ceiling within which an accuracy counts as being there."""
DEGENERATE = {
    "writes_nothing": "writes nothing",
    "writes_everything": "writes everything",
    "memory_unused": "answers the same without its memory",
}
"""Flags of a run of which a claim cannot be decided, in words."""
NOTHING_LEARNT = {"at_floor": "is not above the informed floor"}
"""The same, unless another model is known to have learnt the task: then not to have learnt it is a result."""


@dataclass(frozen=True)
class Checked:
    """One condition and whether it is met."""

    name: str
    met: bool
    found: str
    """What was found, in words; if it is not met, the reason why the test is untested."""
    short: str = ""
    """The same in eight words at most, if it is not met."""


def check(claim: Claim, measured: Measured, track: TrackRuns) -> list[Checked]:
    """Check all conditions of a test: those of its claim, its own, and those that hold for every test.

    Raises:
        ParameterError: a condition names a parameter of the task, or a metric, that the runs do not have.
    """
    parts = (claim.conditions.on(track.track), measured.criterion.conditions.on(track.track))
    identical = [one for part in parts for one in part.identical]
    if identical:
        return [
            Checked(
                "different",
                met=False,
                found=f"the same runs by construction, as {one.why} ({one.proof})",
                short=f"the same by construction: {one.why}",
            )
            for one in identical
        ]
    if measured.missing:
        left_out = measured.missing.endswith(NOT_IN_PRESET)
        short = NOT_IN_PRESET if left_out else "this preset has no run of it"
        return [Checked("runs", measured.missing_fails, measured.missing, short)]
    found = []
    for part in parts:
        found += [_learnt(one, track) for one in part.learnt]
        found += [_capacity(one, track) for one in part.capacity]
        found += [_size(one, measured, track) for one in part.sizes]
    return found + list(_automatic(measured, task_is_learnt=any(one.name == LEARNT and one.met for one in found)))


def _learnt(condition: Learnt, track: TrackRuns) -> Checked:
    below: dict[str, str] = {}
    for group in condition.groups:
        try:
            cell = track.one_cell(group)
        except NoCellError:
            continue
        if condition.metric not in track.metrics:
            raise ParameterError(f"conditions.learnt.metric: {condition.metric!r}: the runs have no such column")
        mean, (floor, ceiling) = cell.mean(condition.metric), _bounds(cell.rows, condition.metric)
        needed = floor + condition.share * (ceiling - floor)
        if floor >= ceiling:
            words = "the informed floor is the ceiling"
            return Checked(LEARNT, False, f"{condition.metric}: {words}, {floor:.3g}", words)
        if mean > needed:
            return Checked(LEARNT, True, f"{group} has learnt ({mean:.3g}, more than {needed:.3g})")
        below[group] = f"{group} {mean:.3g} of {needed:.3g}"
    if not below:
        return Checked(LEARNT, False, f"no run of {' or '.join(condition.groups)}", "this preset has no run of it")
    words = f"{next(iter(below))} has not learnt" if len(below) == 1 else "no model has learnt"
    return Checked(LEARNT, False, f"{words} ({condition.metric}: {', '.join(below.values())})", words)


def _bounds(rows: Sequence[Mapping[str, Any]], metric: str) -> tuple[float, float]:
    """Return the informed floor and the ceiling of the test split, or of the slice that ``metric`` is about."""
    row = rows[0]
    _, of_slice, kind = metric.rpartition("_at_")
    at_slice = row.get(f"{FLOOR_AT}{kind}") if of_slice else None
    return row["floor"] if at_slice is None else at_slice, row["ceiling"]


def _capacity(condition: Capacity, track: TrackRuns) -> Checked:
    try:
        row = track.one_cell(condition.group).rows[0]
    except NoCellError as empty:
        return Checked("capacity", False, str(empty), "this preset has no run of it")
    config = track.part_of(row, "config")
    slots = next((config[name] for name in SLOTS if config.get(name) is not None), None)
    wanted = condition.items if condition.fewer_than is None else condition.fewer_than
    assert wanted is not None  # every Capacity has one of them
    if isinstance(wanted, str):
        wanted = _largest(_parameter(wanted, row, track))
    if slots is None or wanted is None:
        words = f"slots of {row['model']} are not known"
        return Checked("capacity", False, words, words)
    least = condition.fewer_than is None
    words = f"{row['model']} has {slots} slots, {'at least' if least else 'fewer than'} {wanted:g} needed"
    return Checked("capacity", slots >= wanted if least else slots < wanted, words, words)


def _parameter(name: str, row: Mapping[str, Any], track: TrackRuns) -> Any:
    task = track.part_of(row, "task")
    if task and name not in task:
        raise ParameterError(f"conditions: {name!r}: the task has no such parameter; allowed: {', '.join(task)}")
    return task.get(name)


def _largest(value: Any) -> float | None:
    if isinstance(value, list | tuple):
        return max((_largest(one) or 0.0 for one in value), default=None)
    return float(value) if isinstance(value, int | float) else None


def _size(condition: Size, measured: Measured, track: TrackRuns) -> Checked:
    value = _largest(_parameter(condition.parameter, measured.runs[0], track))
    if value is None:
        words = f"{condition.parameter} is not known"
        return Checked("sizes", False, words, words)
    limits = ", ".join(f"{name} {limit:g}" for name, limit in condition.limits.model_dump(exclude_none=True).items())
    words = f"{condition.parameter} is {value:g}, claimed for {limits}"
    return Checked("sizes", condition.limits.met_by(value), words, words)


def _automatic(measured: Measured, *, task_is_learnt: bool) -> Iterator[Checked]:
    criterion = measured.criterion
    yield _degenerate(measured, DEGENERATE if task_is_learnt else DEGENERATE | NOTHING_LEARNT)
    if criterion.kind in ("difference", "reduction"):
        yield _different(measured)
    if criterion.kind == "difference" and not criterion.absolute:
        yield from _room(measured)


def _degenerate(measured: Measured, flags: Mapping[str, str]) -> Checked:
    """Check the cells that the test is about; a baseline may be degenerate on purpose."""
    along = measured.criterion.kind in ("spearman", "count")
    cells = measured.cells if along else measured.cells[:1]
    reasons = [_reason(cell, flags) for cell in cells]
    if all(reasons):
        return Checked("not degenerate", False, reasons[0], reasons[0].split(" in ")[0])
    return Checked("not degenerate", True, f"{cells[0].model} is not degenerate")


def _reason(cell: Cell, flags: Mapping[str, str]) -> str:
    for flag, words in flags.items():
        count = sum(flag in row["flags"].split(";") for row in cell.completed)
        if 2 * count > len(cell.completed):
            return f"{cell.model} {words} in {count} of {len(cell.rows)} seeds"
    return ""


def _different(measured: Measured) -> Checked:
    criterion, minus = measured.criterion, measured.criterion.minus
    assert minus is not None  # both kinds have it
    first, second = measured.cells[0], measured.cells[-1]
    other = {row["seed"]: row for row in second.rows}
    pairs = [(row, other[row["seed"]]) for row in first.completed if row["seed"] in other]
    if minus.group:
        shared = [name for name in pairs[0][0] if name.startswith("test_")] if pairs else []
        same = [all(one[name] == two[name] for name in shared) for one, two in pairs]
    else:
        names = [(criterion.metric, minus.metric or criterion.metric)]
        left, right = (name.replace("accuracy", "loss") for name in names[0])
        if pairs and left in pairs[0][0] and right in pairs[0][0]:
            names.append((left, right))
        same = [all(one[a] == two[b] for a, b in names) for one, two in pairs]
    if pairs and all(same):
        words = "the same in every bit: no gradient or output reaches the difference"
        return Checked("different", False, words, "the same by construction: no gradient reaches it")
    return Checked("different", True, "the two sides differ")


def _room(measured: Measured) -> Iterator[Checked]:
    """Check that the two sides are not both at the floor, nor, where one must be better, both at the ceiling."""
    criterion, minus, bound = measured.criterion, measured.criterion.minus, measured.criterion.bound
    assert minus is not None
    names = (criterion.metric, minus.metric or criterion.metric)
    if not all(name.startswith("test_accuracy") for name in names) or not measured.cells[0].completed:
        return
    floor, ceiling = _bounds(measured.cells[0].completed, criterion.metric)
    reach = AT_A_BOUND * (ceiling - floor)
    means = [cell.mean(name) for cell, name in zip((measured.cells[0], measured.cells[-1]), names, strict=True)]
    low = all(mean <= floor + reach for mean in means)
    shown = f"{means[0]:.3g} and {means[1]:.3g}"
    words = f"{'' if low else 'not '}both at the floor ({shown})"
    yield Checked("above the floor", not low, words, "both at the floor")
    if bound is not None and (bound.value >= 0 if bound.above else bound.value <= 0):
        high = all(mean >= ceiling - reach for mean in means)
        words = f"{'' if high else 'not '}both at the ceiling ({shown})"
        yield Checked("below the ceiling", not high, words, "both at the ceiling")
