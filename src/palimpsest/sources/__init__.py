"""Sources, one manifest a file: what is shown of a source, and under which names and looks.

A file beside this one exports ``SOURCE``, a :class:`~palimpsest.sources.shared.manifest.Source`; its name is the name
of the source in ``params/default/<name>.yaml``, ``params/claims/<name>.yaml`` and ``params/published/<name>.yaml``. A
new file is a new source: nothing else lists them. Nothing here imports torch or matplotlib, as Snakemake reads the
manifests at every start.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from palimpsest.foundation.errors import ParameterError
from palimpsest.sources.shared.checks import check_together, located
from palimpsest.sources.shared.manifest import Source


def names() -> list[str]:
    """The name of every source: the files beside this one; a folder holds what they share."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def load(name: str, where: str = "source") -> Source:
    """The manifest of one source.

    Raises:
        ParameterError: there is no such file, or it exports no ``SOURCE``.
    """
    if name not in names():
        raise ParameterError(f"{where}: {name!r} is no source; allowed: {', '.join(names())}")
    source = getattr(importlib.import_module(f"{__name__}.{name}"), "SOURCE", None)
    if not isinstance(source, Source):
        raise ParameterError(f"{located(name)}: SOURCE: {source!r}; allowed: a Source")
    return source


@functools.cache
def manifests() -> dict[str, Source]:
    """Name → manifest of every source, in the order of their numbers.

    Raises:
        ParameterError: two sources have one number, or name the same experiment, figure file, table or notebook, or
            give the same thing different names or looks.
    """
    found = sorted(((name, load(name)) for name in names()), key=lambda item: (item[1].number, item[0]))
    check_together(dict(found))
    return dict(found)
