"""What a preset that extends another changes everywhere at once: its tracks, its rates of learning, its seeds."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Section, checked
from palimpsest.planning.parameters import Params, TrackName, Training

AXIS = "learning_rate"
"""The axis that a search gives to every grid."""
Rates = tuple[Annotated[float, Field(gt=0)], ...]


class Search(Section):
    """The learning rates that a search tries, by optimiser: an axis ``learning_rate`` of every grid."""

    adam: Rates = Field(description="rates of every grid that Adam trains")
    rmsprop: Rates = Field(description="rates of every grid that RMSprop trains")

    @field_validator("adam", "rmsprop")
    @classmethod
    def _rates_are_some_and_not_repeated(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not rates:
            raise ValueError("no rate; allowed: at least one")
        if len(set(rates)) != len(rates):
            raise ValueError("a rate is repeated; allowed: each rate once")
        return rates


class Departures(Section):
    """Keys of a preset that extends another; they change what is extended and are no parameters of a run."""

    tracks: tuple[TrackName, ...] | None = Field(
        None, description="tracks that every experiment keeps; an experiment that has none of them goes"
    )
    search: Search | None = Field(
        None, description="learning rates that every grid gets as an axis; all grids have the preset's seeds"
    )
    seed_offset: int = Field(0, ge=0, lt=2**31, description="is added to every seed of a run, not to those of data")

    @field_validator("tracks")
    @classmethod
    def _some_track_stays(cls, tracks: tuple[TrackName, ...] | None) -> tuple[TrackName, ...] | None:
        if tracks == ():
            raise ValueError("no track; allowed: published, repaired or both")
        return tracks


def depart(content: dict[str, Any], own: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return a preset after the departures of the file that extends it.

    Args:
        content: the preset, as plain values that nobody has checked yet; a value of a wrong type is left as it is, for
            the check of the whole.
        own: the keys of the file that are departures.
        file: the file, for messages.

    Raises:
        ParameterError: a departure is wrong, or a grid is trained by an optimiser for which the search has no rates.
    """
    asked = checked(Departures, own, file)
    changed = copy.deepcopy(content)
    if asked.tracks is not None:
        _keep_tracks(changed, asked.tracks)
    if asked.search is not None:
        _add_rates(changed, asked.search, file)
    if asked.seed_offset:
        _shift_seeds(changed, asked.seed_offset)
    return changed


def with_one_set_of_seeds(content: dict[str, Any]) -> dict[str, Any]:
    """Return a preset in which no track and no grid has seeds of its own, so that those of the preset count."""
    changed = copy.deepcopy(content)
    for _, track in _tracks(changed):
        for section in (track, *map(_mapping, _mapping(track.get("grids")).values())):
            section.pop("seeds", None)
    return changed


def _keep_tracks(content: dict[str, Any], names: tuple[TrackName, ...]) -> None:
    experiments = _mapping(content.get("experiments"))
    for name, experiment in list(experiments.items()):
        tracks = _mapping(_mapping(experiment).get("tracks"))
        for track in tracks.keys() - set(names):
            del tracks[track]
        if not tracks:
            del experiments[name]
    if isinstance(content.get("omit"), list):  # which may name an experiment that is gone now
        content["omit"] = [name for name in content["omit"] if name in experiments]


def _add_rates(content: dict[str, Any], search: Search, file: Path) -> None:
    """Give every grid an axis of learning rates, and take the seeds that a track or a grid has of its own.

    A grid that has such an axis already shows what other rates do, as a control; it has no place in a search.
    """
    rates = search.model_dump(mode="json")
    for where, track in _tracks(content):
        track.pop("seeds", None)
        grids = _mapping(track.get("grids"))
        for name in [name for name, grid in grids.items() if AXIS in _mapping(_mapping(grid).get("axes"))]:
            del grids[name]
        for name, grid in grids.items():
            training = {**_mapping(track.get("training")), **_mapping(_mapping(grid).get("training"))}
            optimiser = training.get("optimiser", Training.model_fields["optimiser"].default)
            if optimiser not in rates:
                allowed = ", ".join(rates)
                raise ParameterError(
                    f"{file}: search: {where}.grids.{name} is trained by {optimiser!r}; allowed: {allowed}"
                )
            if isinstance(grid, dict):
                grid.pop("seeds", None)
                grid["axes"] = {**_mapping(grid.get("axes")), AXIS: rates[optimiser]}


def _shift_seeds(content: dict[str, Any], offset: int) -> None:
    """Change the seeds of the preset, and those that a track or a grid has of its own; their number stays."""
    content.setdefault("seeds", list(Params.model_fields["seeds"].default))
    tracks = [track for _, track in _tracks(content)]
    grids = [grid for track in tracks for grid in _mapping(track.get("grids")).values()]
    for section in filter(None, map(_mapping, [content, *tracks, *grids])):
        if isinstance(section.get("seeds"), list):
            section["seeds"] = [seed + offset if isinstance(seed, int) else seed for seed in section["seeds"]]


def _tracks(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every track with its key in the preset."""
    for name, experiment in _mapping(content.get("experiments")).items():
        for track_name, track in _mapping(_mapping(experiment).get("tracks")).items():
            yield f"experiments.{name}.tracks.{track_name}", _mapping(track)


def _mapping(value: Any) -> dict[str, Any]:
    """The value itself if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}
