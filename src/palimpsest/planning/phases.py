"""What exactly each phase of a run is, and its method: defaults filled in, every name and pattern checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from palimpsest import models, tasks
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.patterns import matches
from palimpsest.foundation.sections import Scalar, Section, checked
from palimpsest.planning.parameters import Grid, Method, Phase, Task, Track, Training
from palimpsest.tasks import TaskConfig
from palimpsest.training import methods

PLAIN = "plain"


class PhaseSpec(Section):
    """One phase of a run, entirely."""

    name: str
    data: str | None = Field(description="name of the data set; none: that of the track's task")
    task: dict[str, Any] = Field(description="name, seed and every parameter of the task")
    training: Training
    trained: tuple[str, ...] = Field(default=(), description="patterns of names of the parameters that move; none: all")
    frozen: tuple[str, ...] = Field(default=(), description="patterns of names of parameters that do not move")
    state: Literal["fresh", "from_previous"] = "fresh"


def task_of(track: Track, data: str | None) -> Task:
    """Return the task of one data set of a track: the track's own, or that with the departures of ``data``."""
    if data is None:
        return track.task
    given = track.data[data]
    seed = track.task.seed if given.seed is None else given.seed
    return Task(name=track.task.name, seed=seed, config={**track.task.config, **given.config})


def checked_task(track: Track, data: str | None, file: Path | str, where: str) -> TaskConfig:
    """Return the checked parameters of one data set of a track.

    Args:
        track: of the preset.
        data: name of the data set; ``None``: that of the track's task.
        file: where the parameters came from, for messages.
        where: key of the track.

    Raises:
        ParameterError: a parameter is wrong, or a model of the task could not read this data set.
    """
    task = task_of(track, data)
    section = tasks.load(task.name, f"{file}: {where}.task.name").Config
    key = f"{where}.task" if data is None else f"{where}.data.{data}"
    found = checked(section, task.config, file, f"{key}.config")
    if data is not None:
        own = checked_task(track, None, file, where).interface()
        for name, value in found.interface().items():
            if value != own[name]:
                raise ParameterError(
                    f"{file}: {key}.config: {name} would be {value}; allowed: {own[name]}, as of the track's task"
                )
    return found


def method_key(grid: Grid, where: str, here: str) -> str:
    """Return the key of a grid's method: ``where`` is that of the track, ``here`` that of the grid."""
    return f"{here if grid.method else where}.method"


def resolve_method(track: Track, grid: Grid, axes: Mapping[str, Scalar], file: Path | str, key: str) -> dict[str, Any]:
    """Return name and parameters of a grid's method; nothing for plain training.

    Args:
        track: of the preset.
        grid: of the track.
        axes: values of the cell's axes that are parameters of the method.
        file: where the parameters came from, for messages.
        key: see :func:`method_key`.

    Raises:
        ParameterError: there is no such method, or a parameter is wrong.
    """
    method = method_of(track, grid)
    section = methods.load(method.name, f"{file}: {key}.name").Config
    config = checked(section, {**method.config, **axes}, file, f"{key}.config")
    return {} if method.name == PLAIN else {"name": method.name, **config.model_dump(mode="json")}


def method_of(track: Track, grid: Grid) -> Method:
    """Return the method of a grid: its own, that of the track, or plain training."""
    return grid.method or track.method or Method.model_validate({})


@dataclass(frozen=True)
class Resolver:
    """Resolves the phases of the runs of one cell."""

    track: Track
    grid: Grid
    """Of the track; its phases are instead of the track's."""
    config: Section
    """Checked parameters of the grid's model."""
    training: Training
    """Of the runs; phases depart from it."""
    file: Path | str
    """Where the parameters came from, for messages."""
    where: str
    """Key of the track."""
    here: str
    """Key of the grid."""

    @property
    def given(self) -> dict[str, Phase]:
        """The phases as the preset has them."""
        return self.grid.phases or self.track.phases

    @property
    def key(self) -> str:
        """Where in the preset they are."""
        return f"{self.here if self.grid.phases else self.where}.phases"

    def resolve(self, axes: Iterable[str]) -> tuple[PhaseSpec, ...]:
        """Return every phase in order; none of a run without phases.

        Args:
            axes: of the cell; no phase may set one of them.

        Raises:
            ParameterError: file, key, value and what is allowed.
        """
        if not self.given:
            return ()
        model = models.without_data(self.grid.model, self.config)
        found: list[PhaseSpec] = []
        for name, phase in self.given.items():
            self._check_axes(name, phase, axes)
            self._check_patterns(name, phase, model)
            found.append(self._phase(name, phase))
            if phase.state == "from_previous":
                self._check_carried(found, model)
        return tuple(found)

    def _phase(self, name: str, phase: Phase) -> PhaseSpec:
        """One phase with its task and training."""
        if phase.data is not None and phase.data not in self.track.data:
            allowed = ", ".join(self.track.data) or "null, as the track has no further `data`"
            self._refuse(f"{name}.data", phase.data, f"no such data set; allowed: {allowed}")
        task, config = task_of(self.track, phase.data), checked_task(self.track, phase.data, self.file, self.where)
        key = f"{self.key}.{name}.training"
        training = checked(Training, {**self.training.model_dump(), **phase.training}, self.file, key)
        check_stream(training, config, f"{self.file}: {key}")
        return PhaseSpec(
            name=name,
            data=phase.data,
            task={"name": task.name, "seed": task.seed, **config.model_dump(mode="json")},
            training=training,
            trained=phase.trained,
            frozen=phase.frozen,
            state=phase.state,
        )

    def _check_axes(self, name: str, phase: Phase, axes: Iterable[str]) -> None:
        """What an axis of the grid sets, no phase sets again."""
        for axis in axes:
            if axis in phase.training:
                value = phase.training[axis]
                self._refuse(f"{name}.training.{axis}", value, "is an axis of the grid; allowed: every other key")

    def _check_patterns(self, name: str, phase: Phase, model: Any) -> None:
        """Every pattern matches a parameter, and something moves."""
        known = [parameter for parameter, _ in model.named_parameters()]
        for key in ("trained", "frozen"):
            for pattern in getattr(phase, key):
                if not any(matches(parameter, [pattern]) for parameter in known):
                    self._refuse(f"{name}.{key}", pattern, f"matches no parameter; allowed: {', '.join(known)}")
        if phase.frozen and all(matches(parameter, phase.frozen) for parameter in known):
            self._refuse(f"{name}.frozen", list(phase.frozen), "nothing moves; allowed: leave a parameter out")

    def _check_carried(self, found: list[PhaseSpec], model: Any) -> None:
        """There is a state to carry, and the batches fit into it."""
        *before, phase = found
        key = f"{phase.name}.state"
        if not before:
            self._refuse(key, phase.state, "there is no phase before the first; allowed: fresh")
        if not models.carries_state(model):
            self._refuse(key, phase.state, f"no memory of {self.grid.model!r} outlives a batch; allowed: fresh")
        method = method_of(self.track, self.grid)
        if methods.make(method.name, method.config).extra_examples:
            self._refuse(key, phase.state, f"method {method.name!r} makes batches larger; allowed: fresh")
        own, last = _largest_batch(phase), _largest_batch(before[-1])
        if own > last:
            reason = f"batches of {own} examples, but the state has {last}; allowed: batches of up to {last}"
            self._refuse(key, phase.state, reason)

    def _refuse(self, key: str, value: object, reason: str) -> None:
        raise ParameterError(f"{self.file}: {self.key}.{key}: {value!r}: {reason}")


def _largest_batch(phase: PhaseSpec) -> int:
    return min(phase.training.batch_size, phase.task["num_train"])


def check_stream(training: Training, task: TaskConfig, where: str) -> None:
    """Check that every epoch of a stream has one step or more."""
    steps = -(-task.num_train // training.batch_size)  # type: ignore[attr-defined]
    if training.order == "stream" and training.num_epochs > steps:
        raise ParameterError(
            f"{where}.num_epochs: {training.num_epochs}: the stream has {steps} steps of {training.batch_size} "
            f"examples; allowed: 1 to {steps}"
        )
