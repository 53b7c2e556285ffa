"""What a metric can be, as the module that measures it declares beside itself: ``RANGES``."""

from __future__ import annotations

import ast
import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.foundation.errors import DataError
from palimpsest.planning.provenance import RANGES, ROOT, declares_ranges

MEASURING = ("memory", "tasks", "training", "analysis")
"""Packages whose modules measure something."""
_SPLITS = ("train_", "validation_", "test_")


class Range(NamedTuple):
    """Smallest and largest value of a metric, both inside."""

    low: float = -math.inf
    high: float = math.inf


def range_of(metric: str) -> Range:
    """The range of a metric; the real line where no module declares one.

    A declared name speaks for all that begin with it and an underscore: ``accuracy`` for ``test_accuracy_at_20``. The
    longest one counts.

    Args:
        metric: its name, with or without the split.
    """
    name = next((metric.removeprefix(split) for split in _SPLITS if metric.startswith(split)), metric)
    declared = declared_ranges()
    fitting = [key for key in declared if f"{name}_".startswith(f"{key}_")]
    return declared[max(fitting, key=len)] if fitting else Range()


@functools.cache
def declared_ranges(root: Path = ROOT) -> dict[str, Range]:
    """Every declared range by the name of its metric, read from the files, for torch need not be there to read a table.

    Args:
        root: folder of the package.

    Raises:
        DataError: a declaration is no dictionary of pairs, or two modules differ about a metric.
    """
    found: dict[str, Range] = {}
    for path in (path for package in MEASURING for path in sorted((root / package).rglob("*.py"))):
        for name, ends in _declared(path).items():
            if found.setdefault(name, ends) != ends:
                raise DataError(
                    f"{path}: {RANGES}: {name}: {ends[:]}; allowed: {found[name][:]}, as another module has"
                )
    return found


def _declared(path: Path) -> dict[str, Range]:
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8"), str(path)).body:
        if isinstance(node, ast.Assign) and declares_ranges(node):
            try:
                pairs = ast.literal_eval(node.value).items()
                found |= {name: _range(ends) for name, ends in pairs}
            except (AttributeError, TypeError, ValueError):
                text = ast.unparse(node.value)
                raise DataError(
                    f"{path}: {RANGES}: {text}; allowed: name: (low, high), numbers with low < high, None for no end"
                ) from None
    return found


def _range(pair: Any) -> Range:
    low, high = pair
    ends = Range(-math.inf if low is None else float(low), math.inf if high is None else float(high))
    if not ends.low < ends.high:
        raise ValueError(pair)
    return ends
