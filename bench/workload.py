"""Runs that a measurement trains: those of the presets' NeMA-Lite grids, at the sizes that the command gives."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from palimpsest import tasks
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning import plan
from palimpsest.planning.presets import read_params
from palimpsest.planning.specs import RunSpec, resolve
from palimpsest.tasks import Splits

ROOT = Path(__file__).parents[1]
MODEL = "nema_lite"


def specs_of(preset: str, track: str) -> list[RunSpec]:
    """List every NeMA-Lite run of a preset's track.

    Raises:
        ParameterError: the preset has no such run.
    """
    file = ROOT / f"params/{preset}.yaml"
    params = read_params(file)
    specs = [spec for cell in plan.cells(params, file.name) for spec in resolve(params, cell, file.name)]
    found = [spec for spec in specs if (spec.track, spec.model) == (track, MODEL)]
    if not found:
        raise ParameterError(f"params/{file.name}: track {track!r} has no grid of {MODEL!r}; allowed: one at least")
    return found


def grid(specs: list[RunSpec], runs: int) -> list[RunSpec]:
    """Return the first ``runs`` runs of the cells of ``specs``: all cells with seed 0, then with seed 1, and so on.

    Raises:
        ParameterError: ``runs`` is below 1.
    """
    if runs < 1:
        raise ParameterError(f"--runs: {runs}; allowed: at least 1")
    cells = list({repr(sorted(spec.cell.items())): spec for spec in specs}.values())
    endless = (cell.model_copy(update={"seed": seed}) for seed in itertools.count() for cell in cells)
    return list(itertools.islice(endless, runs))


def sized(
    spec: RunSpec,
    *,
    device: str,
    batch: int | None = None,
    steps: int,
    epochs: int = 1,
    task: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> RunSpec:
    """Return a run of ``steps`` steps in ``epochs`` epochs, in which every batch is full.

    Validation and test split each have a fifth of the size of the training split, as in the default preset.

    Args:
        spec: the run at its preset's sizes.
        device: where it is trained.
        batch: examples a step; ``None``: as in the preset.
        steps: optimiser steps.
        epochs: number of epochs; divides ``steps``.
        task: further changes of the task.
        config: further changes of the model.

    Raises:
        ParameterError: a number does not fit.
    """
    batch = spec.training.batch_size if batch is None else batch
    if min(batch, steps, epochs) < 1 or steps % epochs:
        raise ParameterError(
            f"--batch {batch} --steps {steps} --epochs {epochs}; allowed: at least 1 each, epochs a divisor of steps"
        )
    train = steps // epochs * batch
    sizes = {"num_train": max(train, 2), "num_validation": max(train // 5, 2), "num_test": max(train // 5, 2)}
    training = spec.training.model_copy(update={"batch_size": batch, "num_epochs": epochs})
    changed = spec.model_copy(
        update={"device": device, "training": training, "task": {**spec.task, **sizes, **(task or {})}}
    )
    interface = {key: value for key, value in task_config(changed).interface().items() if key in spec.config}
    return changed.model_copy(update={"config": {**spec.config, **interface, **(config or {})}})


def task_config(spec: RunSpec) -> Any:
    """Return the checked parameters of a run's task."""
    content = {key: value for key, value in spec.task.items() if key not in ("name", "seed")}
    return tasks.load(spec.task["name"]).Config.model_validate(content)


def build(spec: RunSpec) -> Splits:
    """Generate the data set of a run, on its device."""
    return tasks.on_device(task_config(spec).build(spec.task["seed"]), spec.device)
