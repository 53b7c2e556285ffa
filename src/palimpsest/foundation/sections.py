"""Sections of parameters: the base class, the reader of YAML, and validation errors as one line each.

The sections themselves are defined elsewhere (:mod:`palimpsest.planning.parameters`). Does not import torch.
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
    """A frozen group of parameters; an unknown key or a value of the wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class PerRun:
    """Marks a parameter that may differ between the runs of a pack; it reaches the model as a tensor (runs,)."""


def per_run_fields(section: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of the fields of ``section`` that are marked :class:`PerRun`, in the order of definition."""
    return tuple(
        name for name, field in section.model_fields.items() if any(isinstance(mark, PerRun) for mark in field.metadata)
    )


def format_value(value: Scalar) -> str:
    """Format a value for paths and tables: 0.05, 1e-06, 64, true.

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
"""PyYAML's parser in C if it is installed: ten times as fast."""


class _UniqueKeyLoader(_Loader):
    """YAML 1.1, except that a repeated key is an error and that 1e-3 is a number, not text."""


def _mapping_without_repeats(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    repeated = {key for key in keys if keys.count(key) > 1}
    if repeated:
        raise ParameterError(
            f"line {node.start_mark.line + 1}: key {sorted(repeated)[0]!r} is given twice; allowed: once"
        )
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
    """Return ``base`` with the values of ``over``: mappings are merged key by key, other values are replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: merge(base.get(key), over[key]) if key in over else base[key] for key in {**base, **over}}
    return over


def checked(section: type[T], content: Any, file: Path | str, prefix: str = "") -> T:
    """Build ``section`` from plain values.

    Args:
        section: the class.
        content: values as read from a file.
        file: the file, for messages.
        prefix: key of the section in the file, for messages.

    Raises:
        ParameterError: a line for each mistake: file, key, value, what is allowed.
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
            place = f"{file}: {key}:{shown}" if key else f"{file}:"  # of the whole file, the message names the key
            lines.append(f"{place} {message[0].lower() + message[1:]}")
    return lines


def _known_keys(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the allowed keys of the section at ``location``, a path through fields, unions, lists and mappings."""
    current: Any = section
    for part in location:
        model = _model_in(current)
        if model is not None and part in model.model_fields:
            current = model.model_fields[str(part)].annotation
        else:  # a key of a mapping, an index of a list
            current = next((part for part in reversed(typing.get_args(current)) if part is not ...), current)
    model = _model_in(current)
    return sorted(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model of an annotation, also from within a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
    return None
