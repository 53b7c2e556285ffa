"""What exactly each run is: defaults filled in, every key and range checked by the model and the task that it names."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from palimpsest import models
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Scalar, Section, checked, per_run_fields
from palimpsest.planning.parameters import Grid, Params, Track, Training
from palimpsest.planning.phases import (
    PLAIN,
    PhaseSpec,
    Resolver,
    check_stream,
    checked_task,
    method_key,
    method_of,
    resolve_method,
)
from palimpsest.planning.plan import Cell, Pack, cells
from palimpsest.tasks import TaskConfig
from palimpsest.training import methods


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
    method: dict[str, Any] = Field(
        default_factory=dict,
        exclude_if=lambda method: not method,
        description="name and every parameter of the method; absent: plain training",
    )
    phases: tuple[PhaseSpec, ...] = Field(
        default=(),
        exclude_if=lambda phases: not phases,
        description="absent: one phase, on the task and with the training",
    )

    @property
    def stages(self) -> tuple[PhaseSpec, ...]:
        """The phases of the run, one at least."""
        return self.phases or (PhaseSpec(name="only", data=None, task=self.task, training=self.training),)

    @property
    def method_name(self) -> str:
        """A file of ``training/methods``."""
        return self.method.get("name", PLAIN)

    @property
    def method_module(self) -> str:
        """The module of the method, which is found by name."""
        return f"{methods.__name__}.{self.method_name}"

    def make_method(self) -> methods.Method:
        """Return the method of the run."""
        return methods.make(self.method_name, {key: value for key, value in self.method.items() if key != "name"})

    @property
    def may_stop(self) -> bool:
        """Whether a phase may end before its last epoch."""
        return any(phase.training.stop_within is not None for phase in self.stages)

    @property
    def num_epochs(self) -> int:
        """Epochs of all phases, at most: a run may stop earlier."""
        return sum(phase.training.num_epochs for phase in self.stages)


def task_config(track: Track, file: Path | str, where: str) -> TaskConfig:
    """Return the checked parameters of a track's task."""
    return checked_task(track, None, file, where)


def resolve(params: Params, cell: Cell, file: Path | str = "params") -> list[RunSpec]:
    """Return the whole specification of each run of a cell: defaults filled in, every key and range checked.

    Raises:
        ParameterError: file, key, value and what is allowed.
    """
    track = params.experiments[cell.experiment].tracks[cell.track]  # type: ignore[index]
    where = f"experiments.{cell.experiment}.tracks.{cell.track}"
    task = task_config(track, file, where)
    grid = track.grids[cell.grid]
    here = f"{where}.grids.{cell.grid}"
    _check_one_rule_of_stopping(grid, f"{file}: {here}")
    module = models.load(cell.model, f"{file}: {here}.model")
    known = module.Config.model_fields
    key = method_key(grid, where, here)
    method_section = methods.load(method_of(track, grid).name, f"{file}: {key}.name").Config
    for_model, for_training, for_method = _split_axes(cell, known, method_section.model_fields, f"{file}: {here}.axes")
    interface = task.interface()
    shared = _shared(track, known, interface, f"{file}: {where}.shared")
    _check_needs(task, track.task.name, cell.model, module.Config.needs, f"{file}: {here}.model")
    taken = sorted({*grid.config, *for_model} & set(interface))
    if taken:
        raise ParameterError(f"{file}: {here}.config: {taken[0]!r} is set by the task; allowed: every other key")
    content = {**interface, **shared, **grid.config, **for_model}
    config = checked(module.Config, content, file, f"{here}.config")
    training = checked(
        Training, {**track.training.model_dump(), **grid.training, **for_training}, file, f"{here}.training"
    )
    check_stream(training, task, f"{file}: {here}.training")
    method = resolve_method(track, grid, for_method, file, key)
    phases = Resolver(track, grid, config, training, file, where, here).resolve(cell.values)
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
            method=method,
            phases=phases,
        )
        for seed in cell.seeds
    ]


def _check_one_rule_of_stopping(grid: Grid, where: str) -> None:
    """Refuse a grid that stops earlier or later than other models of its track."""
    sections = {"training": grid.training, **{f"phases.{name}.training": p.training for name, p in grid.phases.items()}}
    for name, section in sections.items():
        if "stop_within" in section:
            raise ParameterError(
                f"{where}.{name}: stop_within: {section['stop_within']}: a grid has no rule of its own; "
                "allowed: in the track's training, for all models"
            )


def _check_needs(task: TaskConfig, name: str, model: str, needs: Iterable[str], where: str) -> None:
    """Refuse a model that needs to know more of the examples than its task gives."""
    missing = [need for need in needs if need not in task.extras]
    if missing:
        raise ParameterError(
            f"{where}: {model!r} needs {missing[0]!r}, which task {name!r} does not give; "
            "allowed: models that need less"
        )


def _shared(track: Track, known: Any, interface: dict[str, Any], where: str) -> dict[str, Any]:
    """The track's shared parameters that a model has; each must be known to one model of the track at least."""
    everywhere = {name for grid in track.grids.values() for name in models.load(grid.model).Config.model_fields}
    for key, value in track.shared.items():
        if key not in everywhere or key in interface:
            allowed = ", ".join(sorted(everywhere - set(interface)))
            raise ParameterError(f"{where}.{key}: {value!r}: no model of the track takes it; allowed: {allowed}")
    return {key: value for key, value in track.shared.items() if key in known}


def _split_axes(cell: Cell, of_model: Any, of_method: Any, where: str) -> list[dict[str, Scalar]]:
    """The values of a cell's axes that are parameters of the model, of the training, and of the method."""
    owners: list[Any] = [of_model, per_run_fields(Training), of_method]
    found: list[dict[str, Scalar]] = [{}, {}, {}]
    for axis, value in cell.values.items():
        place = next((place for place, owner in enumerate(owners) if axis in owner), None)
        if place is None:
            allowed = ", ".join(sorted({name for owner in owners for name in owner}))
            raise ParameterError(f"{where}: {axis!r} is no axis of model {cell.model!r}; allowed: {allowed}")
        found[place][axis] = value
    return found


def per_run_names(spec: RunSpec) -> set[str]:
    """Return the parameters in which runs of one pack may differ: of the model, the training and the method."""
    sections = [models.load(spec.model).Config, Training]
    sections += [methods.load(spec.method["name"]).Config] if spec.method else []
    return {name for section in sections for name in per_run_fields(section)}


def structure(spec: RunSpec) -> dict[str, Any]:
    """Return what the runs of a pack have in common: all but seed, cell and per-run parameters."""
    return without(spec.model_dump(exclude={"seed", "cell"}), per_run_names(spec))


def without(content: dict[str, Any], names: Container[str]) -> dict[str, Any]:
    """Return the plain values of a specification without some parameters of model, training, method and phases."""

    def left(section: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in section.items() if key not in names}

    found = {**content, "config": left(content["config"]), "training": left(content["training"])}
    if "method" in content:
        found["method"] = left(content["method"])
    if "phases" in content:
        found["phases"] = [{**phase, "training": left(phase["training"])} for phase in content["phases"]]
    return found


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
    """Runs can share a program if they differ in nothing but seed and per-run parameters, of any model or method."""
    sections = [models.load(name).Config for name in models.names()]
    sections += [methods.load(name).Config for name in methods.names()]
    allowed = {"seed", *per_run_fields(Training), *(name for part in sections for name in per_run_fields(part))}
    for axis in params.packing.axes:
        if axis not in allowed:
            raise ParameterError(
                f"{file}: packing.axes: {axis!r}: runs that differ in it cannot share a program; "
                f"allowed: {', '.join(sorted(allowed))}"
            )
