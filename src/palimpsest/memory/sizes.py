"""Sizes of memories, checked where a memory is made."""

from __future__ import annotations

from palimpsest.foundation.errors import ParameterError


def at_least_one(**sizes: int) -> None:
    """Refuse a size that no memory has.

    Raises:
        ParameterError: a size is below one; the message has its name and value.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ParameterError(f"{name}: {size} is too small; allowed: 1 or more")


def within(name: str, value: int | float, least: int | float, most: int | float) -> None:
    """Refuse a number outside [least, most], NaN included.

    Raises:
        ParameterError: it lies outside.
    """
    if not least <= value <= most:
        raise ParameterError(f"{name}: {value} is out of range; allowed: {least} to {most}")
