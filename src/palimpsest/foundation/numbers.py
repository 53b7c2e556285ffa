"""Per-run parameters as the numbers that reach models and losses in tensors."""

from __future__ import annotations

import typing

from pydantic import BaseModel

from palimpsest.foundation.sections import Scalar


def as_number(section: type[BaseModel], name: str, value: Scalar) -> bool | int | float:
    """Return the number that stands for a per-run parameter in a tensor: its value, or the index of an allowed word."""
    return typing.get_args(section.model_fields[name].annotation).index(value) if isinstance(value, str) else value
