"""Checks of the sizes of a memory, for use in constructors."""

from __future__ import annotations

from palimpsest.foundation.errors import ParameterError


def at_least_one(**sizes: int) -> None:
    """Check that sizes are positive.

    Raises:
        ParameterError: a size is below one; the message gives its name and value.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ParameterError(f"{name}: {size} is too small; allowed: 1 or more")


def within(name: str, value: int | float, least: int | float, most: int | float) -> None:
    """Check that a number lies in [least, most]; NaN does not.

    Raises:
        ParameterError: the number lies outside.
    """
    if not least <= value <= most:
        raise ParameterError(f"{name}: {value} is out of range; allowed: {least} to {most}")
