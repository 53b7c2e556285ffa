"""What a preset gives to a model or a task on a track, e.g. the authors' sizes, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from palimpsest import models
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning.parameters import Grid, Params, Track, TrackName

Values = tuple[Any, ...]
"""All values that a parameter has, each once: those of an axis, or of several grids."""
Settings = dict[str, dict[str, Values]]
"""``model``, ``training`` or ``task`` → parameter → its values."""


def of_model(params: Params, model: str, track: TrackName) -> dict[str, Settings]:
    """Return what a model is given, and how it is trained on what task, by experiment.

    Args:
        params: a preset.
        model: a model; experiments without it are left out.
        track: published or repaired.

    Raises:
        ParameterError: there is no such model.
    """
    if model not in models.names():
        raise ParameterError(f"model: {model!r} is no model; allowed: {', '.join(models.names())}")
    found = {}
    for name, experiment in params.experiments.items():
        one = experiment.tracks.get(track)
        grids = [] if one is None else [grid for grid in one.grids.values() if grid.model == model]
        if one is not None and grids:
            found[name] = _settings(one, grids)
    return found


def _settings(track: Track, grids: list[Grid]) -> Settings:
    fields = models.load(grids[0].model).Config.model_fields
    shared = {name: value for name, value in track.shared.items() if name in fields}
    of_training = type(track.training).model_fields
    model, training = [], []
    for grid in grids:
        values = {name: (value,) for name, value in {**shared, **grid.config}.items()}
        axes = {name: tuple(value) for name, value in grid.axes.items()}
        model.append({**values, **{name: value for name, value in axes.items() if name in fields}})
        trained = {name: (value,) for name, value in {**track.training.model_dump(), **grid.training}.items()}
        training.append({**trained, **{name: value for name, value in axes.items() if name in of_training}})
    task = {"name": track.task.name, **track.task.config}
    return {
        "model": _union(model),
        "training": _union(training),
        "task": {name: (value,) for name, value in task.items()},
    }


def _union(settings: list[Mapping[str, Values]]) -> dict[str, Values]:
    """Join the values of each parameter, each value once, in the order in which they come."""
    found: dict[str, list[Any]] = {}
    for one in settings:
        for name, values in one.items():
            known = found.setdefault(name, [])
            known += [value for value in values if value not in known]
    return {name: tuple(values) for name, values in found.items()}
