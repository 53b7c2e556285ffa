"""Record of a memory that takes a step a token and is watched: what was seen after each step, and the last state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Watch = Callable[[Any], Any]
"""Called with the state of a memory after every step; returns what is to be recorded, ``None`` if there is nothing."""


class StepwiseRecord(NamedTuple):
    """T steps of a watched memory."""

    seen: list[Any]
    """What the watch returned after each step."""
    state: Any
    """After the last step."""
