"""From parameters to runs: which packs a preset asks for, where each run lives, and what exactly each run is.

A *run* is (experiment, track, model, cell, seed); a *cell* is one point of a grid; a *pack* is the runs that are
trained together as one program: here all seeds of one cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from palimpsest import models, tasks
from palimpsest.config import Grid, Params, Scalar, Section, Track, Training, checked, format_value, per_run_fields
from palimpsest.errors import ParameterError

RUN_FILES = ("history.csv", "final.json", "trace.safetensors", "model.safetensors")
DATA_FILES = ("examples.safetensors", "card.json")


@dataclass(frozen=True)
class Pack:
    """The runs of one cell, and the raw parameters that they share."""

    experiment: str
    track: str
    model: str
    grid: str
    cell: dict[str, Scalar]
    seeds: tuple[int, ...]

    @property
    def cell_path(self) -> str:
        """``/axis=value`` for every axis, or nothing: what stands between model and seed in a path."""
        return "".join(f"/{axis}={format_value(value)}" for axis, value in self.cell.items())

    @property
    def base(self) -> str:
        """Directory of the cell, below the product directory."""
        return f"results/{self.experiment}/track={self.track}/model={self.model}{self.cell_path}"

    @property
    def label(self) -> str:
        """One line for logs and progress."""
        return self.base.removeprefix("results/")

    def directory(self, seed: int) -> Path:
        """Where one run's files live, below the product directory."""
        return Path(self.base) / f"seed={seed}"


class RunSpec(Section):
    """One run, entirely: what stands in ``final.json`` and decides the bytes beside it."""

    experiment: str
    track: str
    model: str
    cell: dict[str, Scalar]
    seed: int
    device: str
    task: dict[str, Any] = Field(description="name, seed and every parameter of the task")
    config: dict[str, Any] = Field(description="every parameter of the model")
    training: Training


def data_directory(experiment: str, track: str) -> Path:
    """Where a track's data set lives, below the product directory."""
    return Path(f"data/{experiment}/track={track}")


def tracks(params: Params) -> Iterator[tuple[str, str, Track]]:
    """Every (experiment, track name, track) of a preset, sorted by name."""
    for name in sorted(params.experiments):
        for track_name, track in sorted(params.experiments[name].tracks.items()):
            yield name, track_name, track


def packs(params: Params, file: Path | str = "params") -> list[Pack]:
    """Every pack that a preset asks for, sorted by path.

    Raises:
        ParameterError: two grids of a track ask for the same run.
    """
    found: dict[str, Pack] = {}
    for experiment, track_name, track in tracks(params):
        for grid_name, grid in track.grids.items():
            axes = dict(sorted(grid.axes.items()))
            for values in itertools.product(*axes.values()):
                cell = dict(zip(axes, values, strict=True))
                pack = Pack(experiment, track_name, grid.model, grid_name, cell, params.seeds)
                if pack.base in found:
                    raise ParameterError(
                        f"{file}: experiments.{experiment}.tracks.{track_name}.grids: "
                        f"{found[pack.base].grid!r} and {grid_name!r} both ask for {pack.label}; allowed: one of them"
                    )
                found[pack.base] = pack
    return [found[base] for base in sorted(found)]


def find_pack(params: Params, base: str) -> Pack:
    """The pack whose directory is ``base``.

    Raises:
        ParameterError: the preset asks for no such pack.
    """
    for pack in packs(params):
        if pack.base == base:
            return pack
    raise ParameterError(f"params: no grid of preset {params.preset!r} asks for {base!r}; see `palimpsest plan`")


def task_config(track: Track, file: Path | str, where: str) -> Section:
    """The checked parameters of a track's task."""
    return checked(
        tasks.load(track.task.name, f"{file}: {where}.task.name").Config,
        track.task.config,
        file,
        f"{where}.task.config",
    )


def resolve(params: Params, pack: Pack, file: Path | str = "params") -> list[RunSpec]:
    """Say entirely what each run of a pack is: defaults filled in, every key and range checked.

    Raises:
        ParameterError: file, key, value and what is allowed.
    """
    track = params.experiments[pack.experiment].tracks[pack.track]  # type: ignore[index]
    where = f"experiments.{pack.experiment}.tracks.{pack.track}"
    task = task_config(track, file, where)
    grid = track.grids[pack.grid]
    here = f"{where}.grids.{pack.grid}"
    module = models.load(pack.model, f"{file}: {here}.model")
    known = module.Config.model_fields
    for_training, for_model = _split_axes(grid, pack.cell, known, f"{file}: {here}.axes")
    interface = {key: value for key, value in task.interface().items() if key in known}  # type: ignore[attr-defined]
    shared = _shared(track, known, interface, f"{file}: {where}.shared")
    taken = sorted({*grid.config, *for_model} & set(interface))
    if taken:
        raise ParameterError(f"{file}: {here}.config: {taken[0]!r} is set by the task; allowed: every other key")
    content = {**interface, **shared, **grid.config, **for_model}
    config = checked(module.Config, content, file, f"{here}.config")
    training = checked(
        Training, {**track.training.model_dump(), **grid.training, **for_training}, file, f"{here}.training"
    )
    return [
        RunSpec(
            experiment=pack.experiment,
            track=pack.track,
            model=pack.model,
            cell=pack.cell,
            seed=seed,
            device=params.device,
            task={"name": track.task.name, "seed": track.task.seed, **task.model_dump(mode="json")},
            config=config.model_dump(mode="json"),
            training=training,
        )
        for seed in pack.seeds
    ]


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


def check(params: Params, file: Path | str = "params") -> list[list[RunSpec]]:
    """Resolve every pack, so that a mistake anywhere is found before anything runs."""
    return [resolve(params, pack, file) for pack in packs(params, file)]
