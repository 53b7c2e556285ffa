"""The text of params/*.yaml: values from a preset, comments and JSON schema from the models of its sections."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from palimpsest import models, tasks
from palimpsest.foundation.sections import Section, format_value
from palimpsest.planning.parameters import Grid, Params, Task, Track, Training

HEADER = """\
# Everything that this preset does. Comments are generated from the models of the sections: edit the values, then run
# `palimpsest params` to write the comments anew. What a track or a grid does not say has the default of its model,
# which `palimpsest describe NAME` prints.
"""


def render(params: Params) -> str:
    """The whole file: every section that the structure knows, each key explained where it first occurs."""
    return HEADER + "\n".join(_Writer().section(params, 0)) + "\n"


class _Writer:
    """Writes sections as YAML lines and remembers what it has explained."""

    def __init__(self) -> None:
        self.explained: set[str] = set()

    def section(self, section: BaseModel, depth: int, hints: dict[str, FieldInfo] | None = None) -> Iterator[str]:
        for name, field in type(section).model_fields.items():
            value = getattr(section, name)
            inner = _hints_of(section, name) or hints
            if value in ({}, None) and field.default_factory is not None:
                continue
            yield from self.entry(name, value, field, depth, inner)

    def entry(
        self, name: str, value: Any, field: FieldInfo | None, depth: int, hints: dict[str, FieldInfo] | None
    ) -> Iterator[str]:
        indent, comment = "  " * depth, self.comment(name, field)
        if isinstance(value, BaseModel) or (isinstance(value, dict) and value):
            yield f"{indent}{name}:{comment}"
            if isinstance(value, BaseModel):
                yield from self.section(value, depth + 1, hints)
            else:
                for key, item in value.items():
                    known = item_hints(item) if isinstance(item, BaseModel) else None
                    yield from self.entry(key, item, (hints or {}).get(key), depth + 1, known)
        else:
            yield f"{indent}{name}: {_scalar(value)}{comment}"

    def comment(self, name: str, field: FieldInfo | None) -> str:
        if field is None or not field.description or (name + field.description) in self.explained:
            return ""
        self.explained.add(name + field.description)
        allowed = _allowed(field)
        return f"  # {field.description}" + (f" ({allowed})" if allowed else "")


def item_hints(item: BaseModel) -> dict[str, FieldInfo] | None:
    """What is known about the free keys of a track: the fields of all its models."""
    if not isinstance(item, Track):
        return None
    names = dict.fromkeys(grid.model for grid in item.grids.values())
    return {key: field for name in names for key, field in models.load(name).Config.model_fields.items()}


def _hints_of(section: BaseModel, name: str) -> dict[str, FieldInfo] | None:
    if isinstance(section, Task) and name == "config":
        return dict(tasks.load(section.name).Config.model_fields)
    if isinstance(section, Grid) and name in ("config", "axes", "training"):
        return {**Training.model_fields, **models.load(section.model).Config.model_fields}
    return item_hints(section) if isinstance(section, Track) and name == "shared" else None


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


def schema() -> str:
    """JSON schema of a preset, with one definition for every task and model that exists."""
    whole = Params.model_json_schema()
    parts: dict[str, type[Section]] = {f"task.{name}": tasks.load(name).Config for name in tasks.names()}
    parts |= {f"model.{name}": models.load(name).Config for name in models.names()}
    for name, config in parts.items():
        whole["$defs"][name] = config.model_json_schema()
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def field_rows(config: type[Section]) -> Iterator[tuple[str, str, str, str]]:
    """Name, default, allowed values and meaning of every parameter of a section."""
    for name, field in config.model_fields.items():
        yield name, _scalar(field.get_default(call_default_factory=True)), _allowed(field), field.description or ""
