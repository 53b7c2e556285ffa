"""What exactly each run is: defaults filled in, every key and range checked by the model and the task that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from palimpsest import models, tasks
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Scalar, Section, checked, per_run_fields
from palimpsest.planning.parameters import Grid, Params, Track, Training
from palimpsest.planning.plan import Cell, Pack, cells
from palimpsest.tasks import TaskConfig


class RunSpec(Section):
    """One run, entirely: what stands in ``final.json`` and decides the bytes beside it."""

    experiment: str
    track: str
    model: str
    cell: dict[str, Scalar]
    seed: int
    device: str
    precision: str = "float32"
    compiled: bool = False
    task: dict[str, Any] = Field(description="name, seed and every parameter of the task")
    config: dict[str, Any] = Field(description="every parameter of the model")
    training: Training


def task_config(track: Track, file: Path | str, where: str) -> TaskConfig:
    """The checked parameters of a track's task."""
    return checked(
        tasks.load(track.task.name, f"{file}: {where}.task.name").Config,
        track.task.config,
        file,
        f"{where}.task.config",
    )


def resolve(params: Params, cell: Cell, file: Path | str = "params") -> list[RunSpec]:
    """Say entirely what each run of a cell is: defaults filled in, every key and range checked.

    Raises:
        ParameterError: file, key, value and what is allowed.
    """
    track = params.experiments[cell.experiment].tracks[cell.track]  # type: ignore[index]
    where = f"experiments.{cell.experiment}.tracks.{cell.track}"
    task = task_config(track, file, where)
    grid = track.grids[cell.grid]
    here = f"{where}.grids.{cell.grid}"
    module = models.load(cell.model, f"{file}: {here}.model")
    known = module.Config.model_fields
    for_training, for_model = _split_axes(grid, cell.values, known, f"{file}: {here}.axes")
    interface = {key: value for key, value in task.interface().items() if key in known}
    shared = _shared(track, known, interface, f"{file}: {where}.shared")
    _check_kinds(task, track.task.name, cell.model, known, f"{file}: {here}.model")
    taken = sorted({*grid.config, *for_model} & set(interface))
    if taken:
        raise ParameterError(f"{file}: {here}.config: {taken[0]!r} is set by the task; allowed: every other key")
    content = {**interface, **shared, **grid.config, **for_model}
    config = checked(module.Config, content, file, f"{here}.config")
    training = checked(
        Training, {**track.training.model_dump(), **grid.training, **for_training}, file, f"{here}.training"
    )
    _check_stream(training, task, f"{file}: {here}.training")
    return [
        RunSpec(
            experiment=cell.experiment,
            track=cell.track,
            model=cell.model,
            cell=cell.values,
            seed=seed,
            device=params.device,
            precision=params.precision,
            compiled=params.compiled,
            task={"name": track.task.name, "seed": track.task.seed, **task.model_dump(mode="json")},
            config=config.model_dump(mode="json"),
            training=training,
        )
        for seed in cell.seeds
    ]


def _check_kinds(task: TaskConfig, name: str, model: str, known: Any, where: str) -> None:
    """A model takes all that its task tells it: one that answers once cannot say something at every step."""
    told = task.interface()
    missing = sorted(set(told) - set(known))
    if missing:
        kind = "something at every step" if task.at_every_step else "one class an example"
        raise ParameterError(
            f"{where}: {model!r} does not take {missing[0]!r} of task {name!r}; allowed: models that say {kind}"
        )


def _check_stream(training: Training, task: Section, where: str) -> None:
    """Every epoch of a stream has one step or more."""
    steps = -(-task.num_train // training.batch_size)  # type: ignore[attr-defined]
    if training.order == "stream" and training.num_epochs > steps:
        raise ParameterError(
            f"{where}.num_epochs: {training.num_epochs}: the stream has {steps} steps of {training.batch_size} "
            f"examples; allowed: 1 to {steps}"
        )


def _shared(track: Track, known: Any, interface: dict[str, Any], where: str) -> dict[str, Any]:
    """The track's shared parameters that a model has; each must be known to one model of the track at least."""
    everywhere = {name for grid in track.grids.values() for name in models.load(grid.model).Config.model_fields}
    for key, value in track.shared.items():
        if key not in everywhere or key in interface:
            allowed = ", ".join(sorted(everywhere - set(interface)))
            raise ParameterError(f"{where}.{key}: {value!r}: no model of the track takes it; allowed: {allowed}")
    return {key: value for key, value in track.shared.items() if key in known}


def _split_axes(
    grid: Grid, cell: dict[str, Scalar], model_fields: Any, where: str
) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    trainable = per_run_fields(Training)
    unknown = [axis for axis in cell if axis not in model_fields and axis not in trainable]
    if unknown:
        allowed = ", ".join(sorted({*model_fields, *trainable}))
        raise ParameterError(f"{where}: {unknown[0]!r} is no axis of model {grid.model!r}; allowed: {allowed}")
    for_model = {axis: value for axis, value in cell.items() if axis in model_fields}
    return {axis: value for axis, value in cell.items() if axis not in model_fields}, for_model


def structure(spec: RunSpec) -> dict[str, Any]:
    """All of a run's specification that the runs of a pack have in common: not seed, cell and per-run parameters."""
    varying = {*per_run_fields(models.load(spec.model).Config), *per_run_fields(Training)}
    content = spec.model_dump(exclude={"seed", "cell"})
    for section in ("config", "training"):
        content[section] = {key: value for key, value in content[section].items() if key not in varying}
    return content


def of_pack(params: Params, pack: Pack, file: Path | str = "params") -> list[RunSpec]:
    """The specification of every run of a pack, in its order.

    Raises:
        ParameterError: a parameter is wrong, or the runs differ in more than seed and per-run parameters.
    """
    known: dict[str, dict[int, RunSpec]] = {}
    for run in pack.runs:
        if run.cell.base not in known:
            known[run.cell.base] = {spec.seed: spec for spec in resolve(params, run.cell, file)}
    found = [known[run.cell.base][run.seed] for run in pack.runs]
    for run, spec in zip(pack.runs, found, strict=True):
        if structure(spec) != structure(found[0]):
            raise ParameterError(
                f"{file}: {run.directory} and {pack.runs[0].directory} cannot be trained together; "
                "allowed: runs that differ in seed and per-run parameters"
            )
    return found


def check(params: Params, file: Path | str = "params") -> dict[str, list[RunSpec]]:
    """Resolve every cell, by its path, so that a mistake anywhere is found before anything runs."""
    found = {cell.base: resolve(params, cell, file) for cell in cells(params, file)}
    _check_packing(params, file)
    return found


def _check_packing(params: Params, file: Path | str) -> None:
    """Runs can share a program if they differ in seed and per-run parameters, of whatever model, and nothing else."""
    per_run = {name for model in models.names() for name in per_run_fields(models.load(model).Config)}
    allowed = {"seed", *per_run_fields(Training), *per_run}
    for axis in params.packing.axes:
        if axis not in allowed:
            raise ParameterError(
                f"{file}: packing.axes: {axis!r}: runs that differ in it cannot share a program; "
                f"allowed: {', '.join(sorted(allowed))}"
            )
