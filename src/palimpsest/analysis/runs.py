"""Tables from the files of runs: exactly the runs that a preset asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pandas import DataFrame

from palimpsest.analysis import continual
from palimpsest.analysis.frames import (
    COUNT,
    FLOOR_AT,
    IDENTITY,
    INTEGER,
    SHARE,
    TEXT,
    Layout,
    framed,
    is_floor_of_slice,
    one_of,
    read_frame,
    read_rows,
)
from palimpsest.analysis.statistics import above_floor
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import read_json
from palimpsest.foundation.sections import Section, checked, format_value
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.planning.phases import PhaseSpec
from palimpsest.planning.plan import Cell
from palimpsest.planning.specs import RunSpec

FLOOR_LEVEL = 0.05
"""Significance level of the test that a run's accuracy is above the informed floor."""

RUNS = Layout(
    IDENTITY,
    {
        "seed": COUNT,
        "status": one_of("completed", "diverged"),
        "parameters": COUNT,
        "epochs": COUNT,
        "steps": COUNT,
        "chance": SHARE,
        "floor": SHARE,
        "ceiling": SHARE,
        "flags": TEXT,
    },
)
HISTORIES = Layout(IDENTITY, {"seed": COUNT, "epoch": INTEGER})


OF_MEMORY = ("test_write_ratio", "test_read_focus")
"""Metrics that only runs with a memory have: the first with hard writes, the second with soft reads."""


class Final(Section):
    """Content of ``final.json``."""

    spec: dict[str, Any]
    status: Literal["completed", "diverged"]
    parameters: int
    epochs: int
    steps: int
    answers: int
    """Scored answers of the test split: its asked steps, times the bits of an answer."""
    chance: float
    floor: float
    """Informed floor of the test split."""
    floors: dict[str, float]
    """The same by slice of the test split; empty where it has none."""
    ceiling: float
    metrics: dict[str, float | None]
    data_sha256: str
    backend: dict[str, str]


def axes(params: Params, experiment: str | None = None) -> list[str]:
    """Return all axes of the preset's grids, or of one experiment's grids, in alphabetical order."""
    return sorted(
        {
            axis
            for name, _, track in plan.tracks(params)
            if experiment in (None, name)
            for grid in track.grids.values()
            for axis in grid.axes
        }
    )


def asked(params: Params, experiment: str | None = None) -> Iterator[tuple[Cell, RunSpec]]:
    """Yield every run that a preset asks for, or those of one experiment, sorted by path, then by seed.

    Raises:
        ParameterError: the preset has no such experiment.
    """
    if experiment is not None and experiment not in params.experiments:
        known = ", ".join(sorted(params.experiments))
        raise ParameterError(f"params: experiments: {experiment!r}: no such experiment; allowed: {known}")
    for cell in plan.cells(params):
        if experiment in (None, cell.experiment):
            for spec in sorted(specs.resolve(params, cell), key=lambda spec: spec.seed):
                yield cell, spec


def resolved(params: Params) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what every run that a preset asks for is: directory of the run → ``task`` and ``config`` → parameters."""
    return {
        cell.directory(spec.seed).as_posix(): {"task": spec.task, "config": spec.config} for cell, spec in asked(params)
    }


def run_frame(rows: list[dict[str, Any]], axis_names: list[str], middle: list[str]) -> DataFrame:
    """Return rows as a table: experiment, track, model, axes, ``middle``, floors of slices, then all other columns."""
    names = {name for row in rows for name in row} - {*IDENTITY, *axis_names, *middle}
    floors = {name for name in names if is_floor_of_slice(name)}
    by_slice = sorted(floors, key=lambda name: int(name.removeprefix(FLOOR_AT)))
    return framed(rows, axis_names, middle, [*by_slice, *sorted(names - floors)])


def key_of(spec: RunSpec) -> dict[str, Any]:
    """Return the key of a row: experiment, track, model, the cell's axes, and seed."""
    return {"experiment": spec.experiment, "track": spec.track, "model": spec.model, **spec.cell, "seed": spec.seed}


def collect(params: Params, root: Path, experiment: str | None = None) -> DataFrame:
    """Return one row for each run that the preset asks for, with its final metrics and flags.

    Runs with more than one phase also have the measures of continual learning (:mod:`palimpsest.analysis.continual`).

    Flags: ``writes_nothing`` and ``writes_everything`` (test write ratio exactly 0 or 1), ``memory_unused`` (accuracy
    and loss with memory are exactly those without), ``not_finite``, and ``at_floor`` (test accuracy not above the
    informed floor in a one-sided binomial test at 5 %). A trial of this test is a scored answer: an asked step, or one
    of its bits. The test assumes that answers are right or wrong independently of each other. Those of one sequence are
    not, so that the p value is too small, and a run just above the floor may have no flag.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; all of them if not given.

    Raises:
        DataError: a run is missing or corrupt, or has another specification.
        ParameterError: the preset has no such experiment.
    """
    rows = []
    for cell, spec in asked(params, experiment):
        path = root / cell.directory(spec.seed) / "final.json"
        final = read_final(path, spec)
        rows.append(
            {
                **key_of(spec),
                **final.model_dump(include={"status", "parameters", "epochs", "steps", "chance", "floor", "ceiling"}),
                "flags": ";".join(flags(final)),
                **{f"{FLOOR_AT}{kind}": value for kind, value in final.floors.items()},
                **final.metrics,
                **continual.measures(final.metrics, spec, path),
            }
        )
    return run_frame(rows, axes(params, experiment), list(RUNS.middle))


def read_final(path: Path, spec: RunSpec) -> Final:
    """Read one ``final.json`` and check that it has the specification of the run.

    Raises:
        DataError: the file is missing or corrupt, or its specification differs.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such run, but a grid asks for it; `snakemake --cores all` trains what is missing")
    try:
        final = checked(Final, read_json(path), path)
    except (ParameterError, DataError) as error:
        raise DataError(f"{str(error).splitlines()[0]}; delete it and run `snakemake --cores all`") from None
    difference = _first_difference(final.spec, spec.model_dump(mode="json"), "spec")
    if difference:
        key, found, wanted = difference
        raise DataError(f"{path}: {key}: {found}; allowed: {wanted}, as asked for; run `snakemake --cores all`")
    return final


def _first_difference(found: Any, wanted: Any, key: str) -> tuple[str, str, str] | None:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted({*found, *wanted}):
            if name not in found or name not in wanted:
                return f"{key}.{name}", _shown(found, name), _shown(wanted, name)
            difference = _first_difference(found[name], wanted[name], f"{key}.{name}")
            if difference:
                return difference
        return None
    return None if found == wanted else (key, repr(found), repr(wanted))


def _shown(content: dict[str, Any], name: str) -> str:
    return repr(content[name]) if name in content else "nothing"


def flags(final: Final) -> list[str]:
    """Return the flags of a degenerate run; see :func:`collect`."""
    metrics = final.metrics
    ratio = metrics.get("test_write_ratio")
    unused = any(name in metrics for name in OF_MEMORY) and all(
        metrics.get(f"test_{name}_on") == metrics.get(f"test_{name}_off") for name in ("accuracy", "loss")
    )
    found = {
        "writes_nothing": ratio == 0,
        "writes_everything": ratio == 1,
        "memory_unused": unused,
        "not_finite": final.status == "diverged" or any(value is None for value in metrics.values()),
        "at_floor": not _above_floor(metrics.get("test_accuracy_on"), final),
    }
    return [name for name, present in found.items() if present]


def _above_floor(accuracy: float | None, final: Final) -> bool:
    if accuracy is None:
        return False
    right = round(accuracy * final.answers)
    return above_floor(right, final.answers, final.floor) <= FLOOR_LEVEL


def stray(params: Params, root: Path) -> list[str]:
    """Return runs below ``results/`` that no grid asks for, as sorted paths below ``root``; they are never counted."""
    wanted = {cell.directory(spec.seed) for cell, spec in asked(params)}
    found = {path.parent.relative_to(root) for path in (root / "results").rglob("final.json")}
    return sorted(directory.as_posix() for directory in found - wanted)


def histories(params: Params, root: Path, experiment: str) -> DataFrame:
    """Return every epoch of every run of an experiment; numbers that are not finite are empty.

    ``examples_seen`` is the number of training examples up to the end of the epoch, with repetitions. A run that
    stopped early has the epochs that it was trained for: nothing is filled in.

    Raises:
        DataError: a ``history.csv`` or ``final.json`` is missing or corrupt, or the former lacks an epoch.
        ParameterError: the preset has no such experiment.
    """
    rows = []
    for cell, spec in asked(params, experiment):
        key = key_of(spec)
        directory = root / cell.directory(spec.seed)
        number = read_final(directory / "final.json", spec).epochs if spec.may_stop else spec.num_epochs
        epochs = read_history(directory / "history.csv", number)
        done = epochs_of_phases(directory / "history.csv", spec, epochs)
        rows += [{**key, **epoch, **_seen(spec, done, epoch["epoch"])} for epoch in epochs]
    return run_frame(rows, axes(params, experiment), ["seed", "epoch"])


def epochs_of_phases(path: Path, spec: RunSpec, epochs: list[dict[str, Any]]) -> list[int]:
    """Return how many epochs each phase had: those planned, or fewer where it may stop.

    Args:
        path: of ``history.csv``, for messages.
        spec: of the run.
        epochs: what :func:`read_history` returns.

    Raises:
        DataError: a phase has more epochs than planned, or fewer and may not stop.
    """
    found = []
    for number, phase in enumerate(spec.stages, 1):
        done = sum(epoch.get("phase", 1) == number for epoch in epochs)
        planned, may_stop = phase.training.num_epochs, phase.training.stop_within is not None
        if done > planned or done < (1 if may_stop else planned):
            allowed = f"1 to {planned}" if may_stop else f"{planned}"
            raise DataError(f"{path}: {done} epochs of phase {phase.name!r}; allowed: {allowed}")
        found.append(done)
    return found


def _seen(spec: RunSpec, done: list[int], epoch: int) -> dict[str, float]:
    """Return ``examples_seen``: training examples until the end of an epoch.

    Args:
        spec: of the run.
        done: epochs of each phase.
        epoch: counted over all phases.
    """
    seen = 0
    for phase, number in zip(spec.stages, done, strict=True):
        own = min(epoch, number)
        seen, epoch = seen + _seen_in(phase, own), epoch - own
    return {"examples_seen": float(seen)}


def _seen_in(phase: PhaseSpec, epoch: int) -> int:
    """Return the same in a phase; the epochs of a stream are consecutive parts of its steps, as equal as possible."""
    examples = int(phase.task["num_train"])
    if phase.training.order != "stream":
        return epoch * examples
    return min(steps_in(phase, epoch) * phase.training.batch_size, examples)


def steps_in(phase: PhaseSpec, epochs: int) -> int:
    """Return the training steps in the first epochs of a phase."""
    steps = math.ceil(int(phase.task["num_train"]) / phase.training.batch_size) * epochs
    return steps // phase.training.num_epochs if phase.training.order == "stream" else steps


def read_history(path: Path, epochs: int) -> list[dict[str, Any]]:
    """Read the ``history.csv`` of a run: one mapping from metrics to numbers for each epoch.

    Raises:
        DataError: the file is missing or corrupt, or has another number of epochs.
    """
    header, *rows = read_rows(path)
    if header[0] != "epoch":
        raise DataError(f"{path}: column {header[0]!r}; allowed: 'epoch' first")
    if [row[0] for row in rows] != [str(epoch) for epoch in range(1, epochs + 1)]:
        raise DataError(f"{path}: column 'epoch': {len(rows)} rows; allowed: epochs 1 to {epochs}, in order")
    return [
        {"epoch": epoch}
        | {name: _metric(path, name, epoch, field) for name, field in zip(header[1:], row[1:], strict=True)}
        for epoch, row in enumerate(rows, 1)
    ]


def _metric(path: Path, name: str, epoch: int, field: str) -> float:
    try:
        value = float(field or "nan")  # an epoch without a validation has nothing there
    except ValueError:
        raise DataError(f"{path}: column {name!r}, epoch {epoch}: {field!r}; allowed: a number") from None
    return value if math.isfinite(value) else math.nan


def run_directory(run: dict[str, Any], axis_names: list[str]) -> str:
    """Return the directory of a run, below the product directory."""
    cell = "".join(f"/{axis}={format_value(run[axis])}" for axis in axis_names if not _absent(run[axis]))
    return f"results/{run['experiment']}/track={run['track']}/model={run['model']}{cell}/seed={run['seed']}"


def _absent(value: Any) -> bool:
    return value is None or value != value  # NaN alone differs from itself


def read_histories(path: Path) -> DataFrame:
    """Read ``learning_curves.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, HISTORIES)
