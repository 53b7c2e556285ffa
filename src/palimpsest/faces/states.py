"""States of cells as a user handles them: checked, without gradients, moved, and with a type that tells all parts.

A state is a named tuple of tensors (R, B, …), numbers, ``None``, further named tuples, and parts that say themselves
which tensors they are made from (:class:`palimpsest.memory.persistence.Storable`). A *pattern* is the state of no
sequence at all: it tells which parts there are. What has length 0 in it may have any length in a state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.persistence import Storable


def detached(state: Any) -> Any:
    """The same state without gradients: for training on a long sequence piece by piece.

    Args:
        state: that a module returned.
    """
    return _mapped(state, Tensor.detach)


def _mapped(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(part, Tensor):
        return change(part)
    if is_named_tuple(part):
        return type(part)(*(_mapped(value, change) for value in part))
    return part


def is_named_tuple(part: Any) -> bool:
    """Whether it is one: a tuple whose places have names."""
    return isinstance(part, tuple) and hasattr(part, "_fields")


def copied_to(state: Any, pattern: Any, device: torch.device) -> Any:
    """A state that was loaded as a :func:`stored_type`, as the state that it is, on a device."""
    if isinstance(state, Tensor):
        return state.to(device)
    if is_named_tuple(pattern):
        return type(pattern)(*(copied_to(*both, device) for both in zip(state, pattern, strict=True)))
    if isinstance(state, Storable):
        return type(state).from_tensors({name: part.to(device) for name, part in state.to_tensors().items()})
    return state


def stored_type(pattern: Any) -> Any:
    """The type of a state with the types of all its parts, where the state's own says ``Any`` or gives a choice."""
    if pattern is None:
        return Tensor | None  # there is none: whatever is found there is too much
    if not is_named_tuple(pattern):
        return type(pattern)
    fields = [(name, stored_type(value)) for name, value in zip(pattern._fields, pattern, strict=True)]
    return NamedTuple(type(pattern).__name__, fields)  # pyright: ignore[reportArgumentType]


def check_state(state: Any, pattern: Any, batch: int | None = None) -> None:
    """Make sure that a state is one of a module.

    Args:
        state: given by the user.
        pattern: the module's state of no sequence.
        batch: how many sequences it has to be of; ``None``: any number.

    Raises:
        ParameterError: it is of another type, shape or number of sequences; one line with the part and what is allowed.
    """
    _check(state, pattern, type(pattern).__name__, batch)


def _check(part: Any, pattern: Any, name: str, batch: int | None) -> None:
    if type(part) is not type(pattern) and not (isinstance(part, Tensor) and isinstance(pattern, Tensor)):
        raise ParameterError(f"{name}: {type(part).__name__}; allowed: {type(pattern).__name__}")
    if isinstance(part, Tensor):
        allowed = [size or None for size in pattern.shape]
        allowed[1] = batch
        fits = part.dim() == len(allowed) and all(
            size is None or size == own for size, own in zip(allowed, part.shape, strict=True)
        )
        if not fits:
            sizes = ", ".join("any" if size is None else str(size) for size in allowed)
            raise ParameterError(f"{name}: shape {tuple(part.shape)}; allowed: ({sizes})")
        if part.dtype != pattern.dtype:
            raise ParameterError(f"{name}: {part.dtype}; allowed: {pattern.dtype}, as the parameters")
    elif is_named_tuple(part):
        for field, value, own in zip(part._fields, part, pattern, strict=True):
            _check(value, own, f"{name}.{field}", batch)
