"""Saving and loading states of memories as safetensors, bit for bit."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.tensors import read_tensors, write_tensors
from palimpsest.foundation.tree import NUMBERS, stored

State = TypeVar("State")


def save_state(path: Path, state: Any) -> None:
    """Write a state whole or not at all.

    Tensors are stored as they are, NaN and signs of zero included, without their gradients; ``None`` is left out. The
    name of a tensor is the name of the state's type and the path of fields: ``DNCState.controller.hidden``.

    Args:
        path: the file.
        state: a named tuple of tensors, numbers, ``None``, :class:`palimpsest.foundation.tree.Storable` parts and
            further named tuples.

    Raises:
        ParameterError: ``state`` or one of its parts is of another type.
        DataError: the file cannot be written.
    """
    if not _is_named_tuple(type(state)):
        raise ParameterError(f"state: {type(state).__name__} is no state; allowed: a named tuple")
    parts = stored(state, type(state).__name__)
    try:
        write_tensors(path, parts)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


def load_state(path: Path, kind: type[State]) -> State:
    """Read a state that :func:`save_state` wrote, onto the CPU.

    Args:
        path: the file.
        kind: the type of the state.

    Raises:
        ParameterError: ``kind`` is not the type of a state.
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


def _assemble(path: Path, name: str, kind: Any, tensors: dict[str, Tensor]) -> Any:
    """Make a part of a given type from the tensors below its name, and remove them from ``tensors``."""
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
