"""Estimate of what a preset costs: jobs, runs, steps, time and disk, from timing three steps of each architecture.

Where runs may stop early, steps and time are upper bounds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from palimpsest import tasks
from palimpsest.measuring.probe import probe
from palimpsest.planning import footprint, plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.planning.phases import PhaseSpec
from palimpsest.planning.specs import RunSpec
from palimpsest.runtime import machine
from palimpsest.tasks import Splits, on_device
from palimpsest.training import loop
from palimpsest.training.pack import build_pack

TIMED_STEPS = 3


@dataclass(frozen=True)
class Cost:
    """Cost of one pack: optimiser steps of each run, seconds and bytes of files of the whole pack."""

    steps: int
    seconds: float
    bytes: int


def step_count(spec: RunSpec) -> int:
    """Return the number of optimiser steps of a run that does not stop early."""
    return sum(map(_steps_of_phase, spec.stages))


def _steps_of_phase(phase: PhaseSpec) -> int:
    passes = 1 if phase.training.order == "stream" else phase.training.num_epochs
    return passes * -(-phase.task["num_train"] // phase.training.batch_size)


def measure(runs: list[RunSpec], trace_examples: int, *, timing: bool) -> Cost:
    """Measure the cost of a pack: its steps, their time extrapolated from three steps, the size of its files."""
    training = runs[0].training
    task = tasks.load(runs[0].task["name"])
    config = {key: value for key, value in runs[0].task.items() if key not in ("name", "seed")}
    checked = task.Config.model_validate(config)
    parts = [checked.sample(size) for size in (training.batch_size * TIMED_STEPS, 2, max(2, trace_examples))]
    splits = on_device(Splits(*parts), runs[0].device)
    pack = build_pack([_with_passes(run) for run in runs])
    seconds = float("nan")
    if timing:
        loop.train_epoch(pack, splits.train, 0)  # the first steps allocate memory and are not timed
        start = time.perf_counter()
        loop.train_epoch(pack, splits.train, 0)
        seconds = (time.perf_counter() - start) / TIMED_STEPS * step_count(runs[0])
    trace = probe(pack, splits, trace_examples)
    weights = sum(parameter.numel() * 4 for parameter in pack.model.parameters())
    return Cost(step_count(runs[0]), seconds, weights + sum(v.numel() * v.element_size() for v in trace.values()))


def _with_passes(run: RunSpec) -> RunSpec:
    """Return the run with epochs that are passes over the timed examples, also if its task is a stream."""
    return run.model_copy(update={"training": run.training.model_copy(update={"order": "shuffled"}), "phases": ()})


def show(params: Params, file: Path, console: Console, *, timing: bool, jobs: bool) -> None:
    """Print the plan of a preset, a line for every experiment, track and model.

    Args:
        params: the preset.
        file: its file, for messages.
        console: where the table is printed.
        timing: whether steps are timed.
        jobs: a line for every pack instead.

    Raises:
        ParameterError: a parameter is wrong.
    """
    machine.prepare(params.device)
    here = params.device == "cpu" or torch.cuda.is_available()
    if timing and not here:
        console.print(f"{file}: device: {params.device!r}: this machine has none, so nothing is timed")
    timing = timing and here
    resolved = {base: _here(runs, here) for base, runs in specs.check(params, file).items()}
    kinds = {base: _architecture(runs[0]) for base, runs in resolved.items()}
    sizes = {kind: footprint.bytes_per_run(resolved[base][0]) for base, kind in kinds.items()}
    known: dict[tuple[str, int], Cost] = {}
    rows: dict[tuple[str, ...], list[float]] = {}
    bounded: set[tuple[str, ...]] = set()
    for pack in plan.packs(params, lambda cell: footprint.runs_per_pack(sizes[kinds[cell.base]], params.packing)):
        kind = (kinds[pack.first.base], len(pack.runs))
        if kind not in known:
            together = [resolved[run.cell.base][run.cell.seeds.index(run.seed)] for run in pack.runs]
            known[kind] = measure(together, params.trace_examples, timing=timing)
        cost, size = known[kind], len(pack.runs)
        cell = pack.first
        key = (pack.name, pack.runs[0].name) if jobs else (cell.experiment, cell.track, cell.model)
        row = rows.setdefault(key, [0.0] * 5)
        if resolved[cell.base][0].may_stop:
            bounded.add(key)
        for index, value in enumerate((1, size, cost.steps * size, cost.seconds, cost.bytes)):
            row[index] += value
    _print(rows, bounded, ("pack", "first run") if jobs else ("experiment", "track", "model"), console, params)


def _here(runs: list[RunSpec], here: bool) -> list[RunSpec]:
    """Return the runs, moved to the CPU if this machine lacks their device."""
    return runs if here else [run.model_copy(update={"device": "cpu"}) for run in runs]


def _architecture(spec: RunSpec) -> str:
    """Return a key that is the same for runs of equal cost: they differ in seed and per-run parameters only."""
    return repr((spec.model, sorted(specs.structure(spec).items(), key=str)))


def _print(
    rows: dict[tuple[str, ...], list[float]],
    bounded: set[tuple[str, ...]],
    names: tuple[str, ...],
    console: Console,
    params: Params,
) -> None:
    """Print the table; rows of ``bounded`` have runs that may stop early, so that steps and time are upper bounds."""
    table = Table(*names, title=f"preset {params.preset} on {params.device}")
    for name in ("jobs", "runs", "run-steps", "one core, minutes", "disk, MB"):
        table.add_column(name, justify="right")
    total = [sum(column) for column in zip(*rows.values(), strict=True)]
    whole = ("total", *[""] * (len(names) - 1))
    for key, row in [*rows.items(), (whole, total)]:
        most = "≤ " if key in bounded or (key == whole and bounded) else ""
        minutes = "?" if row[3] != row[3] else f"{most}{row[3] / 60:.1f}"
        table.add_row(*key, f"{row[0]:.0f}", f"{row[1]:.0f}", f"{most}{row[2]:.0f}", minutes, f"{row[4] / 1e6:.1f}")
    console.print(table)
