"""States of memories on disk and back, bit for bit, as safetensors."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.tensors import read_tensors, write_tensors

State = TypeVar("State")
NUMBERS = (bool, int, float)
"""Plain numbers that a state may have; each is stored as a tensor without axes."""


@runtime_checkable
class Storable(Protocol):
    """Part of a state that is no tensor and says itself which tensors it is made from."""

    def to_tensors(self) -> dict[str, Tensor]:
        """All that it takes to make the same again."""
        ...

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Any:
        """The same again."""
        ...


def save_state(path: Path, state: Any) -> None:
    """Write a state whole or not at all.

    Tensors are stored as they are, NaN and signs of zero included, without their gradients; what is ``None`` is left
    out. A name is the path of fields to it, behind the name of the state's type: ``DNCState.controller.hidden``.

    Args:
        path: of the file.
        state: a named tuple of tensors, numbers, ``None``, :class:`Storable` parts and further named tuples.

    Raises:
        ParameterError: ``state`` or one of its parts is nothing of these.
        DataError: the file cannot be written.
    """
    if not _is_named_tuple(type(state)):
        raise ParameterError(f"state: {type(state).__name__} is no state; allowed: a named tuple")
    parts = _parts(type(state).__name__, state)
    try:
        write_tensors(path, parts)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


def load_state(path: Path, kind: type[State]) -> State:
    """Read what :func:`save_state` wrote, onto the CPU.

    Args:
        path: of the file.
        kind: type of the state.

    Raises:
        ParameterError: ``kind`` is no type of a state.
        DataError: the file is missing, corrupt, or holds another state.
    """
    if not _is_named_tuple(kind):
        raise ParameterError(f"kind: {kind!r} is no type of a state; allowed: a named tuple")
    try:
        tensors = read_tensors(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    state = _assemble(path, kind.__name__, kind, tensors)
    if tensors:
        raise DataError(f"{path}: {sorted(tensors)[0]} is no part of it; allowed: the parts of a {kind.__name__}")
    return state


def _is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def _parts(name: str, part: Any) -> dict[str, Tensor]:
    """Every tensor of a part, by name. A copy: fields may share their memory, which no file can."""
    if part is None:
        return {}
    if isinstance(part, Tensor):
        return {name: part.detach().clone(memory_format=torch.contiguous_format)}
    if isinstance(part, NUMBERS):
        return {name: torch.tensor(part, dtype=torch.float64 if isinstance(part, float) else None)}
    if _is_named_tuple(type(part)):
        of_fields = [_parts(f"{name}.{field}", value) for field, value in zip(part._fields, part, strict=True)]
        return {key: tensor for parts in of_fields for key, tensor in parts.items()}
    if isinstance(part, Storable):
        return {f"{name}.{key}": value.clone() for key, value in part.to_tensors().items()}
    raise ParameterError(f"{name}: {type(part).__name__} cannot be stored; allowed: tensors, numbers, named tuples")


def _assemble(path: Path, name: str, kind: Any, tensors: dict[str, Tensor]) -> Any:
    """Make a part from the tensors that have its name, and take them out."""
    optional = typing.get_origin(kind) in (typing.Union, types.UnionType)
    choices = [choice for choice in typing.get_args(kind) if choice is not types.NoneType] if optional else [kind]
    mine = {key for key in tensors if key == name or key.startswith(f"{name}.")}
    if optional and not mine:
        return None
    kind = choices[0]
    if _is_named_tuple(kind):
        hints = typing.get_type_hints(kind)
        return kind(*(_assemble(path, f"{name}.{field}", hints[field], tensors) for field in kind._fields))
    if isinstance(kind, type) and not issubclass(kind, Tensor) and hasattr(kind, "from_tensors"):
        return kind.from_tensors({key.removeprefix(f"{name}."): tensors.pop(key) for key in sorted(mine)})
    if name not in tensors:
        raise DataError(f"{path}: {name} is missing; allowed: all parts of the state that is asked for")
    tensor = tensors.pop(name)
    return tensor.item() if kind in NUMBERS else tensor
