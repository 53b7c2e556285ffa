"""The text of a params file: values from sections and mappings, comments and JSON schema from the sections' fields."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from palimpsest import models, sources, tasks
from palimpsest.foundation.sections import Section, format_value
from palimpsest.planning.parameters import Grid, Method, Params, Phase, Task, Track, Training
from palimpsest.planning.presets import folder_of
from palimpsest.training import methods

HEADER = """\
# Everything that this preset does. Comments are generated from the classes of the sections: edit the values, then run
# `palimpsest params` to update the comments. A parameter that a track or a grid does not give has the default of its
# model, which `palimpsest describe NAME` prints.
"""

Content = BaseModel | Mapping[str, Any]
Fields = Mapping[str, FieldInfo]


HEADER_OF_SOURCE = """\
# Experiments of source {number}, {title}. Comments are generated as in params/default.yaml.
"""


def files(params: Params, path: Path) -> dict[Path, str]:
    """The text of every file of a preset: ``path``, and one file a source beside it if there is such a folder.

    Args:
        params: the preset as it was read from ``path``, with the experiments that it omits.
        path: e.g. ``params/default.yaml``.
    """
    if not folder_of(path).is_dir():
        return {path: render(params)}
    sections = {name: value for name, value in params if name != "experiments"}
    found = {path: render(sections, fields=Params.model_fields)}
    for name, source in sources.present(params.experiments).items():
        own = {known: one for known, one in params.experiments.items() if known in source.experiment_names}
        header = HEADER_OF_SOURCE.format(number=source.number, title=source.title)
        found[folder_of(path) / f"{name}.yaml"] = render({"experiments": own}, header)
    return found


def render(content: Content, header: str = HEADER, fields: Fields | None = None) -> str:
    """Write a section, or a mapping of names to sections, as YAML; each key has a comment where it first occurs.

    Args:
        content: a preset, or a part of one such as ``{"experiments": {"copy": …}}``.
        header: comment lines at the head of the file.
        fields: descriptions of the keys of a mapping; a section has its own.
    """
    return header + "".join(f"{line}\n" for line in _lines(content, fields or {}, set()))


def _lines(content: Content, fields: Fields, explained: set[str], indent: str = "") -> Iterator[str]:
    """The lines of a section or mapping.

    Args:
        content: what is written.
        fields: descriptions of the keys of a mapping; a section has its own.
        explained: comments that are already in the file; grows.
        indent: spaces before each line.
    """
    if isinstance(content, BaseModel):
        fields = type(content).model_fields
    for name, value in content if isinstance(content, BaseModel) else content.items():
        field = fields.get(name)
        if value in ({}, None) and isinstance(content, BaseModel) and field is not None and field.default_factory:
            continue
        comment = _comment(name, field, explained)
        if isinstance(value, BaseModel) or (isinstance(value, dict) and value):
            yield f"{indent}{name}:{comment}"
            yield from _lines(value, _inner_fields(content, name) or fields, explained, f"{indent}  ")
        else:
            yield f"{indent}{name}: {_scalar(value)}{comment}"


def _comment(name: str, field: FieldInfo | None, explained: set[str]) -> str:
    if field is None or not field.description or name + field.description in explained:
        return ""
    explained.add(name + field.description)
    allowed = _allowed(field)
    return f"  # {field.description}" + (f" ({allowed})" if allowed else "")


def _inner_fields(content: Content, name: str) -> Fields:
    """Descriptions of the free keys below ``name``: parameters of a task, of a model, or of all models of a track."""
    if isinstance(content, Task) and name == "config":
        return tasks.load(content.name).Config.model_fields
    if isinstance(content, Method) and name == "config":
        return methods.load(content.name).Config.model_fields
    if isinstance(content, Phase) and name == "training":
        return Training.model_fields
    if isinstance(content, Grid) and name in ("config", "axes", "training"):
        return {**Training.model_fields, **models.load(content.model).Config.model_fields}
    if isinstance(content, Track) and name == "shared":
        names = dict.fromkeys(grid.model for grid in content.grids.values())
        return {key: field for model in names for key, field in models.load(model).Config.model_fields.items()}
    return {}


def _scalar(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, bool | int | float):
        return format_value(value)
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


_SIGNS = {annotated_types.Ge: "≥", annotated_types.Gt: ">", annotated_types.Le: "≤", annotated_types.Lt: "<"}


def _allowed(field: FieldInfo) -> str:
    """Range or choices of a field, e.g. ``> 0``, ``one of a, b``, ``≥ 1 or auto``."""
    limits = _limits(field.metadata) or _limits(_marks(field.annotation))
    choices = _choices(field.annotation)
    if limits and choices:
        return f"{limits} or {', '.join(choices)}"
    return limits or (f"one of {', '.join(choices)}" if choices else "")


def _limits(marks: Iterable[Any]) -> str:
    return ", ".join(
        f"{sign} {format_value(getattr(mark, kind.__name__.lower()))}"
        for mark in marks
        for kind, sign in _SIGNS.items()
        if isinstance(mark, kind)
    )


def _marks(annotation: Any) -> list[Any]:
    """What limits the numbers in a union of numbers and words."""
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    fields = [mark for part in parts for mark in getattr(part, "__metadata__", ()) if isinstance(mark, FieldInfo)]
    return [mark for field in fields for mark in field.metadata]


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(annotation) for choice in _choices(part)]
    return []


def schemas() -> dict[str, str]:
    """File below ``params/`` → JSON schema: of a preset, and a file for the parameters of every task, model, method."""
    found = {"schema.json": _as_json(Params)}
    for kind, room in (("task", tasks), ("model", models), ("method", methods)):
        found |= {f"schema/{kind}.{name}.json": _as_json(room.load(name).Config) for name in room.names()}
    return found


def _as_json(section: type[Section]) -> str:
    return json.dumps(section.model_json_schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def field_rows(config: type[Section]) -> Iterator[tuple[str, str, str, str]]:
    """Name, default, allowed values and meaning of every parameter of a section."""
    for name, field in config.model_fields.items():
        yield name, _scalar(field.get_default(call_default_factory=True)), _allowed(field), field.description or ""
