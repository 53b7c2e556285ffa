"""Sections of parameters: frozen models that forbid unknown keys, how YAML is read, and errors in one line.

Nothing here imports torch, and nothing here knows which sections there are (:mod:`palimpsest.planning.parameters`).
"""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from palimpsest.foundation.errors import ParameterError

Scalar = bool | int | float | str
NAME = re.compile(r"[a-z][a-z0-9_]*")
T = TypeVar("T", bound=BaseModel)


class Section(BaseModel):
    """A frozen group of parameters; an unknown key is an error, and so is a value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class PerRun:
    """Marks a parameter that may differ between the runs of one pack: it reaches the model as a tensor (runs,)."""


def per_run_fields(section: type[BaseModel]) -> tuple[str, ...]:
    """Names of the fields of ``section`` that are marked :class:`PerRun`, in the order of their definition."""
    return tuple(
        name for name, field in section.model_fields.items() if any(isinstance(mark, PerRun) for mark in field.metadata)
    )


def as_number(section: type[BaseModel], name: str, value: Scalar) -> bool | int | float:
    """What a per-run parameter is in a tensor: itself; a word is its place among those that are allowed."""
    return typing.get_args(section.model_fields[name].annotation).index(value) if isinstance(value, str) else value


def format_value(value: Scalar) -> str:
    """Spell a value as paths and tables do: 0.05, 1e-06, 64, true.

    >>> [format_value(v) for v in (0, 0.0, 0.05, 1e-6, True, "flag")]
    ['0', '0', '0.05', '1e-06', 'true', 'flag']
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        short = format(value, "g")
        return short if float(short) == value else repr(value)
    return value


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C, where PyYAML has it: ten times as fast."""


class _UniqueKeyLoader(_Loader):
    """YAML as usual, but a repeated key is an error and 1e-3 is a number (YAML 1.1 reads it as text)."""


def _mapping_without_repeats(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    repeated = {key for key in keys if keys.count(key) > 1}
    if repeated:
        raise ParameterError(f"line {node.start_mark.line + 1}: key {sorted(repeated)[0]!r} is given twice")
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ParameterError: the file is missing, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise ParameterError(f"{path}: no such file") from None
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ParameterError(f"{path}: holds {type(content).__name__}; allowed: a mapping")
    return content


def merge(base: Any, over: Any) -> Any:
    """``base`` with the values of ``over``; mappings merge key by key, all else is replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: merge(base.get(key), over[key]) if key in over else base[key] for key in {**base, **over}}
    return over


def checked(section: type[T], content: Any, file: Path | str, prefix: str = "") -> T:
    """Build ``section`` from plain values, with errors in the project's one-line form.

    Raises:
        ParameterError: see :func:`read_params`.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise ParameterError("\n".join(_lines(error, section, file, prefix))) from None


def _lines(error: ValidationError, section: type[BaseModel], file: Path | str, prefix: str) -> list[str]:
    lines = []
    for issue in error.errors(include_url=False):
        key = ".".join([*([prefix] if prefix else []), *map(str, issue["loc"])])
        if issue["type"] == "extra_forbidden":
            known = ", ".join(_known_keys(section, issue["loc"][:-1]))
            lines.append(f"{file}: {key}: {issue['input']!r}: unknown key; allowed: {known}")
        elif issue["type"] == "missing":
            lines.append(f"{file}: {key}: missing")
        else:
            message = issue["msg"].removeprefix("Value error, ")
            shown = "" if isinstance(issue["input"], dict) else f" {issue['input']!r}:"
            lines.append(f"{file}: {key}:{shown} {message[0].lower() + message[1:]}")
    return lines


def _known_keys(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """What a section, found by following ``location`` through fields, unions, lists and mappings, may hold."""
    current: Any = section
    for part in location:
        model = _model_in(current)
        if model is not None and part in model.model_fields:
            current = model.model_fields[str(part)].annotation
        else:  # a name within a mapping, a place in a list
            current = next((part for part in reversed(typing.get_args(current)) if part is not ...), current)
    model = _model_in(current)
    return sorted(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or that stands in its union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
    return None
