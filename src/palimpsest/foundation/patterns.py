"""Patterns of names: ``encoder.*`` matches every name that begins with ``encoder.``."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name matches one of some patterns with the wildcards of shells.

    >>> matches("encoder.0.weight", ["gate*", "encoder.*"]), matches("head.bias", [])
    (True, False)
    """
    return any(fnmatchcase(name, pattern) for pattern in patterns)
