"""Kinds of figures, a file a family: functions that draw a description from tables. Here: which function draws which.

A file beside this one exports ``KINDS``: type of a description (:mod:`palimpsest.sources.shared.figures`, or a subclass
of its ``Figure`` from anywhere) → the function that draws it. A new file is a new family: nothing else lists them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from palimpsest.foundation.errors import ParameterError
from palimpsest.sources.shared.figures import Figure


def names() -> list[str]:
    """Every family: the files beside this one."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def drawers() -> dict[type[Figure], Callable[..., Any]]:
    """Type of a description → ``draw(products, description)``, which returns matplotlib's figure."""
    found: dict[type[Figure], Callable[..., Any]] = {}
    for name in names():
        found |= importlib.import_module(f"{__name__}.{name}").KINDS
    return found


def drawer(figure: Figure, where: str = "figure") -> Callable[..., Any]:
    """The function that draws a description.

    Raises:
        ParameterError: no family draws descriptions of this type.
    """
    known = drawers()
    if type(figure) not in known:
        allowed = ", ".join(sorted(kind.__name__ for kind in known))
        raise ParameterError(f"{where}: {figure.name!r}: {type(figure).__name__} is no kind; allowed: {allowed}")
    return known[type(figure)]
