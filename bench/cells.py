"""A training step of our NTM and DNC, compared with the naive reference and with public code if the user has it."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench import record, references
from bench.clock import cpu_time, interleaved, wall_time
from bench.references import BITS, NAIVE, PUBLIC, SIZES
from bench.scaling import STEPS, epoch_of
from palimpsest import models, tasks
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning.parameters import Training
from palimpsest.planning.specs import RunSpec
from palimpsest.rendering import bench_columns
from palimpsest.runtime import machine

COLUMNS = bench_columns.COLUMNS["cells"]
TRAINING = {"optimiser": "rmsprop", "learning_rate": 1e-4, "alpha": 0.95, "momentum": 0.9, "clip_value": 10.0}
"""How pytorch-ntm trains on copy; used for every cell here."""
Seconds = dict[tuple[str | int, ...], float]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 5], help="runs of our packs (1 5)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="batch sizes (1 16)")
    parser.add_argument("--steps", type=int, default=41, help="steps of a sequence, 2 L + 1 for L vectors (41)")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved rounds, of which the median is taken (7)")
    parser.add_argument(
        "--eager", action="store_true", help="leave out our models after torch.compile, which takes minutes"
    )
    for name, public in PUBLIC.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=f"a clone of {public.home}")


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a training step of each cell, pack and batch size, and of each reference at the same batch size, in turn.

    Our cells are timed eager and compiled.

    Raises:
        ParameterError: an option is out of range, or a folder is not a clone of the expected repository.
    """
    check(options)
    machine.prepare(options.device)
    networks = {name: references.load(name, folder) for name, folder in clones(options).items()}
    steps: dict[tuple[str | int, ...], Callable[[], Any]] = {}
    for batch in options.batch:
        for cell in SIZES:
            for runs, compiled in itertools.product(options.runs, modes(options)):
                steps[cell, runs, batch, compiled] = epoch_of(specs(cell, runs, batch, options, compiled))
        for name in [*NAIVE, *networks]:
            steps[name, batch] = reference(name, batch, options, networks)
    clock = cpu_time if options.device == "cpu" else wall_time
    return rows(options, interleaved(steps, options.repeats, "cells", options.device, clock=clock))


def modes(options: argparse.Namespace) -> tuple[bool, ...]:
    """Return whether our cells are compiled: no, and without ``--eager`` also yes."""
    return (False,) if options.eager else (False, True)


def check(options: argparse.Namespace) -> None:
    """Check the ranges of all options.

    Raises:
        ParameterError: an option is out of range.
    """
    if min([options.repeats, *options.runs, *options.batch]) < 1:
        raise ParameterError("cells: a number is below 1; allowed: at least 1 each")
    if options.steps < 3 or options.steps % 2 == 0 or options.steps > 2001:
        raise ParameterError(f"--steps: {options.steps}; allowed: odd numbers, 3 to 2001")
    for name in clones(options):
        if options.device != "cpu":
            raise ParameterError(f"--{name}: it keeps its state on the CPU; allowed: with --device cpu")


def clones(options: argparse.Namespace) -> dict[str, Path]:
    """Return the folders of public code that the user gave, by the name of the code."""
    given = {name: getattr(options, name.replace("-", "_")) for name in PUBLIC}
    return {name: folder for name, folder in given.items() if folder is not None}


def notes(options: argparse.Namespace) -> dict[str, Any]:
    """Return the commits of the public code."""
    return {"references": {name: record.commit(folder, ()) for name, folder in clones(options).items()}}


def specs(cell: str, runs: int, batch: int, options: argparse.Namespace, compiled: bool = False) -> list[RunSpec]:
    """Return our runs: copy at one length, with examples for :data:`bench.scaling.STEPS` training steps."""
    length = options.steps // 2
    lengths = {"min_length": length, "max_length": length, "test_lengths": [length]}
    sizes = {"num_train": max(2, STEPS * batch), "num_validation": 2, "num_test": 2}
    task = tasks.load("copy").Config.model_validate({"bits": BITS, **lengths, **sizes})
    config = models.load(cell).Config.model_validate({**task.interface(), **SIZES[cell]})
    shared = RunSpec(
        experiment="bench",
        track="repaired",
        model=cell,
        cell={},
        seed=0,
        device=options.device,
        compiled=compiled,
        task={"name": "copy", "seed": 0, **task.model_dump(mode="json")},
        config=config.model_dump(mode="json"),
        training=Training.model_validate({**TRAINING, "batch_size": batch}),
    )
    return [shared.model_copy(update={"seed": seed}) for seed in range(runs)]


def reference(name: str, batch: int, options: argparse.Namespace, networks: dict[str, Any]) -> Callable[[], None]:
    """Return a training step of a reference, with the same recipe and data size; ``networks`` are the public ones."""
    torch.manual_seed(0)  # foreign code draws from the global generator
    shape = (options.steps // 2, batch, BITS)
    bits = torch.randint(2, shape, generator=torch.Generator().manual_seed(0)).float().to(options.device)
    model, loss = NAIVE[name][1](bits) if name in NAIVE else PUBLIC[name].build(networks[name], bits)
    return references.step_of(model, loss, Training.model_validate(TRAINING))


def rows(options: argparse.Namespace, seconds: Seconds) -> list[dict[str, Any]]:
    """Return a row for each cell, batch size, pack, mode and reference of that cell.

    Args:
        options: options of the command.
        seconds: of our cells, seconds of :data:`bench.scaling.STEPS` steps, by cell, runs, batch and compiled; of a
            reference, seconds of one step, by name and batch.
    """
    cell_of = {name: cell for name, (cell, _) in NAIVE.items()} | {name: PUBLIC[name].cell for name in clones(options)}
    found = []
    for cell in SIZES:
        for batch in options.batch:
            for runs, compiled in itertools.product(options.runs, modes(options)):
                ours = seconds[cell, runs, batch, compiled] / STEPS / runs
                for name in (name for name, of in cell_of.items() if of == cell):
                    theirs = seconds[name, batch]
                    sizes = (cell, options.device, runs, batch, options.steps)
                    numbers = (1e3 * ours, 1e3 * theirs, theirs / ours)
                    found.append(dict(zip(COLUMNS, (*sizes, name, *numbers, compiled), strict=True)))
    return found
