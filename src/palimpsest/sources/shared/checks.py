"""Checks of manifests: each alone, and all together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import NAME
from palimpsest.sources.shared import defaults
from palimpsest.sources.shared.figures import Figure
from palimpsest.sources.shared.manifest import Experiment, Looks, Source, Words
from palimpsest.sources.shared.tables import Table

NUMBER = re.compile(r"\d{3}")


def located(name: str) -> str:
    """Where the manifest of a source is, for error messages."""
    return f"src/palimpsest/sources/{name}.py"


def check_alone(name: str, source: Source) -> None:
    """Check the content of a manifest without looking at files or at other sources.

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
    _check_known(name, "section_needs", source.section_needs, source)
    if not source.section_needs:
        raise ParameterError(
            f"{located(name)}: section_needs: (); allowed: one at least of {', '.join(source.experiment_names)}"
        )
    for notebook in source.notebooks:
        _check_known(name, f"notebooks.{notebook.name}", notebook.experiments, source)
    for table in source.tables:
        _check_known(name, f"tables.{table.name}", table.named_experiments, source)


def _check_known(name: str, key: str, experiments: Iterable[str], source: Source) -> None:
    for experiment in experiments:
        if experiment not in source.experiment_names:
            allowed = ", ".join(source.experiment_names)
            raise ParameterError(f"{located(name)}: {key}: {experiment!r}; allowed: {allowed}")


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
        ParameterError: two sources have one title, one experiment, one notebook, one folder of templates, tables of
            one name that differ, or different names or looks for one thing; or one of them is wrong by itself.
    """
    for name, source in manifests.items():
        check_alone(name, source)
    for key, values in _OWNED.items():
        _check_owned(manifests, key, values)
    _check_same("tables", {name: {table.name: table for table in one.tables} for name, one in manifests.items()})
    shown = {"shared/defaults": (defaults.WORDS, defaults.LOOKS)}
    shown |= {name: (source.words, source.looks) for name, source in manifests.items()}
    for key, part in _SHARED.items():
        _check_same(key, {name: part(words, looks) for name, (words, looks) in shown.items()})


_OWNED: dict[str, Callable[[Source], Iterable[str]]] = {
    "titles": lambda source: (source.title,),
    "experiments": lambda source: source.experiment_names,
    "notebooks": lambda source: (notebook.name for notebook in source.notebooks),
    "templates": lambda source: (source.templates,),
}
"""What belongs to one manifest only; a large source may have several, with its number in each."""
_SHARED: dict[str, Callable[[Words, Looks], Mapping[Any, Any]]] = {
    "words.labels": lambda words, looks: words.labels,
    "words.symbols": lambda words, looks: words.symbols,
    "words.values": lambda words, looks: {
        (axis, value): text for axis, texts in words.values.items() for value, text in texts.items()
    },
    "looks.models": lambda words, looks: looks.models,
    "looks.cells": lambda words, looks: looks.cells,
}
"""What several sources may give a name or a look, if it is the same one; the common names and looks count, too."""


def _check_owned(manifests: Mapping[str, Source], key: str, values: Callable[[Source], Iterable[str]]) -> None:
    owner: dict[str, str] = {}
    for name, source in manifests.items():
        for value in values(source):
            if value in owner:
                raise ParameterError(
                    f"{located(name)}: {key}: {value!r} is also in {located(owner[value])}; allowed: one source"
                )
            owner[value] = name


def _check_same(key: str, parts: Mapping[str, Mapping[Any, Any]]) -> None:
    """Check that what is given in several manifests is the same in all of them."""
    known: dict[Any, tuple[str, Any]] = {}
    for name, part in parts.items():
        for item, value in part.items():
            other, same = known.setdefault(item, (name, value))
            if value != same:
                raise ParameterError(
                    f"{located(name)}: {key}: {item!r}: {value!r}, but {same!r} in {located(other)}; allowed: the same"
                )
