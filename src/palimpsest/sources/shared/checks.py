"""Checks of manifests: each alone, and all together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import NAME
from palimpsest.sources.shared.figures import Figure
from palimpsest.sources.shared.manifest import Experiment, Source
from palimpsest.sources.shared.tables import Table

NUMBER = re.compile(r"\d{3}")


def located(name: str) -> str:
    """Where the manifest of a source is, for error messages."""
    return f"src/palimpsest/sources/{name}.py"


def check_alone(name: str, source: Source) -> None:
    """Check what a manifest says without looking at files or at other sources.

    Raises:
        ParameterError: the number is no number, a name is no name, something is listed twice, or a notebook or a table
            reads an experiment that the source does not have.
    """
    if not NUMBER.fullmatch(source.number):
        raise ParameterError(f"{located(name)}: number: {source.number!r}; allowed: three digits")
    for key, items, kind in (
        ("experiments", source.experiments, Experiment),
        ("tables", source.tables, Table),
    ):
        _check_items(name, key, items, kind)
    for experiment in source.experiments:
        _check_items(name, f"experiments.{experiment.name}.figures", experiment.figures, Figure)
    for key, readers in (("notebooks", source.notebooks), ("tables", source.tables)):
        for reader in readers:
            for experiment in getattr(reader, "experiments", ()):
                if experiment not in source.experiment_names:
                    allowed = ", ".join(source.experiment_names)
                    raise ParameterError(f"{located(name)}: {key}.{reader.name}: {experiment!r}; allowed: {allowed}")


def _check_items(name: str, key: str, items: Iterable[Any], kind: type) -> None:
    seen: set[str] = set()
    for item in items:
        if not isinstance(item, kind) or type(item) in (Figure, Table):
            raise ParameterError(f"{located(name)}: {key}: {item!r}; allowed: a kind of {kind.__name__}")
        if not NAME.fullmatch(item.name):
            raise ParameterError(f"{located(name)}: {key}: {item.name!r}; allowed: lower case letters, digits, '_'")
        if item.name in seen:
            raise ParameterError(f"{located(name)}: {key}: {item.name!r} twice; allowed: each name once")
        seen.add(item.name)


def check_together(manifests: Mapping[str, Source]) -> None:
    """Check every manifest, and that no two of them claim the same thing.

    Raises:
        ParameterError: two sources have one number, one experiment, one notebook, one folder of templates, tables of
            one name that differ, or different names or looks for one thing; or one of them is wrong by itself.
    """
    for name, source in manifests.items():
        check_alone(name, source)
    for key, values in _OWNED.items():
        _check_owned(manifests, key, values)
    for key, parts in _SHARED.items():
        _check_shared(manifests, key, parts)


_OWNED: dict[str, Callable[[Source], Iterable[str]]] = {
    "number": lambda source: (source.number,),
    "experiments": lambda source: source.experiment_names,
    "notebooks": lambda source: (notebook.name for notebook in source.notebooks),
    "templates": lambda source: (source.templates,),
}
"""What belongs to one source only."""
_SHARED: dict[str, Callable[[Source], Mapping[Any, Any]]] = {
    "tables": lambda source: {table.name: table for table in source.tables},
    "words.labels": lambda source: source.words.labels,
    "words.symbols": lambda source: source.words.symbols,
    "words.values": lambda source: {
        (axis, v): text for axis, of in source.words.values.items() for v, text in of.items()
    },
    "looks.models": lambda source: source.looks.models,
    "looks.cells": lambda source: source.looks.cells,
}
"""What several sources may say, if they say the same."""


def _check_owned(manifests: Mapping[str, Source], key: str, values: Callable[[Source], Iterable[str]]) -> None:
    owner: dict[str, str] = {}
    for name, source in manifests.items():
        for value in values(source):
            if value in owner:
                raise ParameterError(
                    f"{located(name)}: {key}: {value!r} is also in {located(owner[value])}; allowed: one source"
                )
            owner[value] = name


def _check_shared(manifests: Mapping[str, Source], key: str, parts: Callable[[Source], Mapping[Any, Any]]) -> None:
    known: dict[Any, tuple[str, Any]] = {}
    for name, source in manifests.items():
        for part, value in parts(source).items():
            other, same = known.setdefault(part, (name, value))
            if value != same:
                raise ParameterError(
                    f"{located(name)}: {key}: {part!r}: {value!r}, but {same!r} in {located(other)}; allowed: the same"
                )
