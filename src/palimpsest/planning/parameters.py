"""The sections of a params file as frozen classes, and the reader of params/*.yaml.

This module defines the structure only; the parameters of a model or a task are defined in its own file and checked by
:mod:`palimpsest.planning.specs`. It does not import torch.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from palimpsest.foundation.sections import NAME, PerRun, Scalar, Section, format_value

TrackName = Literal["published", "repaired"]


def _checked_seeds(seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if seeds is None:
        return None
    if len(set(seeds)) != len(seeds):
        raise ValueError("a seed is repeated; allowed: each seed once")
    if any(not 0 <= seed < 2**31 for seed in seeds):
        raise ValueError("a seed is out of range; allowed: 0 to 2147483647")
    return seeds


Seeds = Annotated[tuple[int, ...], Field(min_length=1)]
"""Seeds of a cell's runs, each once."""


class Training(Section):
    """How a run is trained; a model and its baselines have the same budget unless a grid overrides it."""

    num_epochs: int = Field(20, ge=1, description="passes over the training split, or parts of it")
    batch_size: int = Field(64, ge=1, description="examples a step")
    order: Literal["shuffled", "stream"] = Field(
        "shuffled",
        description="shuffled: every epoch passes over the training split; stream: an epoch is its next part, in the "
        "task's order, and no example comes twice",
    )
    optimiser: Literal["adam", "rmsprop"] = Field("adam", description="what takes the steps")
    learning_rate: Annotated[float, PerRun()] = Field(1e-3, gt=0, description="step size")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's decay of the second moment")
    epsilon: float = Field(1e-8, gt=0, description="the optimiser's epsilon")
    alpha: float = Field(0.99, ge=0, lt=1, description="RMSprop's decay of the squares")
    momentum: float = Field(0.0, ge=0, lt=1, description="RMSprop's momentum")
    weight_decay: Annotated[float, PerRun()] = Field(0.0, ge=0, description="decoupled weight decay (AdamW)")
    clip_norm: float | None = Field(None, gt=0, description="largest L2 norm of a run's gradient; null: never clipped")
    clip_value: float | None = Field(
        None, gt=0, description="largest size of a gradient's element; null: never clipped"
    )
    stop_within: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="a run ends its phase after the validation whose main metric is within this of the task's ceiling; "
        "the same for all models of a track; null: never",
    )
    validate_every: int = Field(1, ge=1, description="epochs between two validations; the last epoch always has one")
    checkpoint_every: int = Field(1, ge=1, description="epochs between two checkpoints of a pack")


class Packing(Section):
    """Which runs are trained together as one program; on a CPU no result depends on it."""

    axes: tuple[str, ...] = Field(
        ("seed",), description="what runs of one pack may differ in: seed, per-run parameters"
    )
    max_runs: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="runs of a pack at most; auto: as many as fit"
    )
    memory_mb: float = Field(1000, gt=0, description="memory that parameters and activations of a pack may take (auto)")
    packs_per_gpu: int = Field(1, ge=1, description="packs that share one GPU at a time")

    @field_validator("axes")
    @classmethod
    def _axes_are_not_repeated(cls, axes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(axes)) != len(axes):
            raise ValueError("an axis is repeated; allowed: each axis once")
        return axes


class Task(Section):
    """The task of a track; the task's own file checks ``config``."""

    name: str = Field(description="a file of src/palimpsest/tasks, without .py")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the generated data set")
    config: dict[str, Any] = Field(default_factory=dict, description="the task's own parameters")


class DataSet(Section):
    """A further data set of a track: the track's task with another seed or other parameters."""

    seed: int | None = Field(None, ge=0, lt=2**31, description="seed of the generated data set; null: the task's")
    config: dict[str, Any] = Field(default_factory=dict, description="departures from the task's parameters")


class Phase(Section):
    """A part of a run: what is trained on, how, which parameters move, and what state the memory starts from.

    Every phase starts with a new optimiser.
    """

    data: str | None = Field(None, description="a name in the track's `data`; null: the data set of the track's task")
    training: dict[str, Any] = Field(default_factory=dict, description="departures from the run's training")
    trained: tuple[str, ...] = Field(
        (), description="patterns of names of the parameters that move, e.g. 'classifier.*'; none: all of them"
    )
    frozen: tuple[str, ...] = Field((), description="patterns of names of parameters that do not move")
    state: Literal["fresh", "from_previous"] = Field(
        "fresh",
        description="what the memory holds in the first step: nothing, or what the previous phase left in it; of "
        "models whose memory outlives a batch",
    )

    @model_validator(mode="after")
    def _trained_or_frozen(self) -> Phase:
        if self.trained and self.frozen:
            raise ValueError("`trained` and `frozen` are both given; allowed: one of them")
        return self


class Method(Section):
    """What is done against forgetting; ``config`` is checked by the method's own file."""

    name: str = Field("plain", description="a file of src/palimpsest/training/methods, without .py")
    config: dict[str, Any] = Field(default_factory=dict, description="the method's own parameters")


class Grid(Section):
    """A model and its cells: every combination of the values in ``axes``, trained with every seed of the grid."""

    model: str = Field(description="a file of src/palimpsest/models, without .py")
    config: dict[str, Any] = Field(default_factory=dict, description="the model's own parameters, beside `shared`")
    training: dict[str, Any] = Field(default_factory=dict, description="departures from the track's training")
    axes: dict[str, list[Scalar]] = Field(
        default_factory=dict, description="axis: values; a parameter of the model or a per-run one of the training"
    )
    method: Method | None = Field(default_factory=lambda: None, description="instead of the track's method")
    phases: dict[str, Phase] = Field(default_factory=dict, description="instead of the track's phases")
    seeds: Seeds | None = Field(
        default_factory=lambda: None,
        exclude_if=lambda seeds: seeds is None,
        description="instead of the track's seeds",
    )

    _seeds = field_validator("seeds")(_checked_seeds)

    @field_validator("axes")
    @classmethod
    def _axes_are_not_empty_and_not_repeated(cls, axes: dict[str, list[Scalar]]) -> dict[str, list[Scalar]]:
        for axis, values in axes.items():
            if not values:
                raise ValueError(f"axis {axis!r} is empty; allowed: at least one value")
            if len(set(map(format_value, values))) != len(values):
                raise ValueError(f"axis {axis!r} repeats a value in {values}; allowed: each value once")
        return axes


class Track(Section):
    """One reading of a source: its task, its training and its grids."""

    task: Task
    data: dict[str, DataSet] = Field(default_factory=dict, description="further data sets by name, for phases")
    training: Training = Field(default_factory=lambda: Training.model_validate({}))
    method: Method | None = Field(default_factory=lambda: None, description="what is done against forgetting")
    phases: dict[str, Phase] = Field(
        default_factory=dict, description="parts of every run by name, in order; none: one phase on the task"
    )
    shared: dict[str, Any] = Field(
        default_factory=dict, description="parameters given to every model of the track that has them"
    )
    seeds: Seeds | None = Field(
        default_factory=lambda: None,
        exclude_if=lambda seeds: seeds is None,
        description="instead of the preset's seeds",
    )
    grids: dict[str, Grid] = Field(description="grids by name; none may ask for a run that another asks for")

    _seeds = field_validator("seeds")(_checked_seeds)

    @field_validator("grids")
    @classmethod
    def _at_least_one_grid(cls, grids: dict[str, Grid]) -> dict[str, Grid]:
        if not grids:
            raise ValueError("the grid is empty; allowed: at least one grid")
        return grids

    @model_validator(mode="after")
    def _names_are_names(self) -> Track:
        phases = [name for owner in (self, *self.grids.values()) for name in owner.phases]
        for name in (*self.data, *phases):
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name; allowed: lower case letters, digits, '_'")
        return self


class Experiment(Section):
    """One experiment of a source: its tracks."""

    source: str = Field(pattern=r"^\d{3}$", description="number of the source, as in the claims")
    title: str = Field(min_length=1, description="title in tables and in the paper")
    tracks: dict[TrackName, Track]

    @field_validator("tracks")
    @classmethod
    def _at_least_one_track(cls, tracks: dict[str, Track]) -> dict[str, Track]:
        if not tracks:
            raise ValueError("no track; allowed: published, repaired or both")
        return tracks


class Params(Section):
    """One preset; together with the code and the environment it determines everything that the pipeline does."""

    preset: Literal["smoke", "default", "paper", "search", "fresh"] = Field(description="name of the preset")
    workdir: str = Field(".", description="where products go, relative to the project; smoke stays under build/")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where packs are trained")
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32", description="arithmetic of matrix products; the other two on GPUs only"
    )
    compiled: bool = Field(False, description="whether torch.compile fuses the model; needs a C++ compiler on a CPU")
    packing: Packing = Field(default_factory=lambda: Packing.model_validate({}))
    seeds: Seeds = Field(
        (0, 1, 2, 3, 4), description="one run a seed in every cell, unless its track or grid has others"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of every interval and of every verdict")
    looks: tuple[int, ...] = Field(
        (),
        description="seeds of a cell at which claims are decided, one look after the other; none: once, at all seeds",
    )
    trace_examples: int = Field(128, ge=2, description="examples of the probe batch whose memory is recorded")
    omit: tuple[str, ...] = Field(
        (), description="experiments of the sources' files that this preset leaves out: not trained, not shown"
    )
    keep: bool = Field(
        False,
        description="whether experiments whose tables and figures in the tree were made with these parameters by this "
        "code are left as they are",
    )
    experiments: dict[str, Experiment]

    @field_validator("omit")
    @classmethod
    def _omitted_are_not_repeated(cls, omit: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(omit)) != len(omit):
            raise ValueError("an experiment is repeated; allowed: each experiment once")
        return omit

    _seeds = field_validator("seeds")(_checked_seeds)

    @field_validator("looks")
    @classmethod
    def _looks_ascend(cls, looks: tuple[int, ...]) -> tuple[int, ...]:
        if any(look < 1 for look in looks) or list(looks) != sorted(set(looks)):
            raise ValueError(f"{list(looks)}; allowed: numbers from 1 on, each larger than the one before")
        return looks

    @field_validator("workdir")
    @classmethod
    def _workdir_stays_inside(cls, workdir: str) -> str:
        if Path(workdir).is_absolute() or ".." in Path(workdir).parts:
            raise ValueError("leaves the project; allowed: a path below it")
        return workdir

    @model_validator(mode="after")
    def _rounding_is_for_gpus(self) -> Params:
        if self.precision != "float32" and self.device == "cpu":
            raise ValueError(f"precision: {self.precision!r} on device 'cpu'; allowed there: float32")
        return self

    @model_validator(mode="after")
    def _names_are_names(self) -> Params:
        for name in self.experiments:
            if not NAME.fullmatch(name):
                raise ValueError(f"experiments: {name!r} is not a name; allowed: lower case letters, digits, '_'")
        return self

    @model_validator(mode="after")
    def _omitted_are_experiments(self) -> Params:
        for name in self.omit:
            if name not in self.experiments:
                raise ValueError(f"omit: {name!r} is no experiment; allowed: {', '.join(self.experiments)}")
        if self.experiments and not self.experiments.keys() - set(self.omit):
            raise ValueError("omit: nothing is left; allowed: all experiments but one")
        return self

    def without_omitted(self) -> Params:
        """The preset as it is trained and shown: without the experiments that it leaves out."""
        return self.without(self.omit)

    def without(self, experiments: Collection[str]) -> Params:
        """The preset without some of its experiments, perhaps without any."""
        left = {name: one for name, one in self.experiments.items() if name not in experiments}
        return self.model_copy(update={"experiments": left})
