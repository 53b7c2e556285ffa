"""The state of a cell as a user handles it: checked against the cell's own, and read from disk with all its types.

A state is a named tuple of tensors (R, B, …), numbers, ``None``, further named tuples, and
:class:`palimpsest.foundation.tree.Storable` parts. A *pattern* is the module's state of no sequence at all: it has all
parts, and every axis that may have any length has length 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from palimpsest.foundation import tree
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.tree import is_named_tuple


def detached(state: Any) -> Any:
    """Return the same state without gradients: for training on a long sequence piece by piece.

    Args:
        state: returned by a module.
    """
    return tree.detached(state)


def copied_to(state: Any, pattern: Any, device: torch.device) -> Any:
    """Return a state that was loaded as a :func:`stored_type` with the types of the pattern, on a device."""
    return tree.on_device(tree.with_leaves(pattern, tree.leaves(state, "state"), "state"), device)


def stored_type(pattern: Any) -> Any:
    """Return a type like the pattern's in which every part has one exact type instead of ``Any`` or a union."""
    if pattern is None:
        return Tensor | None  # the part is absent; :func:`check_state` refuses a tensor there
    if not is_named_tuple(pattern):
        return type(pattern)
    fields = [(name, stored_type(value)) for name, value in zip(pattern._fields, pattern, strict=True)]
    return NamedTuple(type(pattern).__name__, fields)  # pyright: ignore[reportArgumentType]


def check_state(state: Any, pattern: Any, batch: int | None = None) -> None:
    """Check that a state fits a module.

    Args:
        state: given by the user.
        pattern: the module's state of no sequence.
        batch: number of sequences that the state must have; ``None``: any number.

    Raises:
        ParameterError: another type, shape or number of sequences; one line with the part and what is allowed.
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
