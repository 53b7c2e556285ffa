"""How one series of a figure looks, as plain values that matplotlib understands."""

from __future__ import annotations

from typing import Any, NamedTuple


class Look(NamedTuple):
    """Colour, marker and line of a series, so that it is recognised without its colour."""

    color: Any
    marker: str
    line: Any = "-"
    """A line style of matplotlib: ``"-"``, or an offset and the lengths of dashes and gaps in points."""
