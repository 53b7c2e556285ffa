"""Sources, one manifest a file: what is shown of a source, and under which names and looks.

A file beside this one exports ``SOURCE``, a :class:`~palimpsest.sources.shared.manifest.Source`; parts of a large
source may have a file each, with the same number, and are shown like sources. The file's name is the name of the source
in ``params/default/<name>.yaml``, ``params/claims/<name>.yaml`` and ``params/published/<name>.yaml``. A new file is a
new source: nothing else lists them. Nothing here imports torch or matplotlib, as Snakemake reads the manifests at every
start.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Collection, Iterable

from palimpsest.foundation.errors import ParameterError
from palimpsest.sources.shared import defaults
from palimpsest.sources.shared.checks import check_together, located
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words
from palimpsest.sources.shared.tables import COMMON, Table


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
        ParameterError: two sources have one title, or name the same experiment, figure file, table or notebook, or
            give the same thing different names or looks.
    """
    found = sorted(((name, load(name)) for name in names()), key=lambda item: (item[1].number, item[0]))
    check_together(dict(found))
    return dict(found)


# --- what follows from all manifests ----------------------------------------------------------------------------------


def source_of(experiment: str) -> str | None:
    """The name of the source that has an experiment.

    >>> source_of("repeat_copy"), source_of("somebody_elses")
    ('memory_library', None)
    """
    return next((name for name, source in manifests().items() if experiment in source.experiment_names), None)


def present(experiments: Collection[str]) -> dict[str, Source]:
    """Name → manifest of the sources that have any of these experiments, in the order of their numbers."""
    return {
        name: source for name, source in manifests().items() if not set(source.experiment_names).isdisjoint(experiments)
    }


def experiment_of(name: str) -> Experiment:
    """An experiment as its source's manifest has it; one that no source has is empty.

    >>> [figure.name for figure in experiment_of("nema_lc_lra").figures], experiment_of("somebody_elses").figures
    (['baseline_vs_memory', 'training_curves'], ())
    """
    every = (experiment for source in manifests().values() for experiment in source.experiments)
    return next((experiment for experiment in every if experiment.name == name), Experiment(name=name))


def notebooks_of(experiments: Iterable[str]) -> dict[str, list[Notebook]]:
    """Name of a source → those of its notebooks whose experiments are all among these, if there are any.

    >>> {source: [one.name for one in found] for source, found in notebooks_of(["nema_lite", "nema_lc_lra"]).items()}
    {'nema_lite': ['01_NeMA_Lite_Results_Summary']}
    """
    known = set(experiments)
    found = {
        name: [notebook for notebook in source.notebooks if known.issuperset(notebook.experiments)]
        for name, source in manifests().items()
    }
    return {name: notebooks for name, notebooks in found.items() if notebooks}


def tables_of(experiments: Collection[str]) -> dict[str, Table]:
    """Name → table of the sources that have any of these experiments.

    >>> list(tables_of(["nema_lc"])), list(tables_of(["nema_lite"]))
    (['lifecycle', 'ablations'], [])
    """
    return {table.name: table for source in present(experiments).values() for table in source.tables}


def table_files(experiments: Collection[str]) -> tuple[str, ...]:
    """The rendered tables of a preset with these experiments, and the claims of each of its sources.

    >>> [name for name in table_files(["nema_lite", "copy"]) if name.startswith("claims")]
    ['claims.tex', 'claims_matrix.tex', 'claims_sensitivity.tex', 'claims_000.tex', 'claims_004.tex']
    """
    own = (file for table in tables_of(experiments).values() for file in table.files)
    numbers = dict.fromkeys(source.number for source in present(experiments).values())
    return (*COMMON, *own, *(f"claims_{number}.tex" for number in numbers))


def sections_of(experiments: Iterable[str]) -> dict[str, Source]:
    """Name → manifest of the sources whose section the paper of a preset with these experiments has.

    >>> list(sections_of(["nema_lite", "mqar"]))
    ['nema_lite']
    """
    known = set(experiments)
    return {name: source for name, source in manifests().items() if known.issuperset(source.section_needs)}


@functools.cache
def words() -> Words:
    """Names of everything that is shown: those of the sources in order, and the common ones."""
    parts = [*(source.words for source in manifests().values()), defaults.WORDS]
    values: dict[str, dict[str, str]] = {}
    for part in parts:
        for axis, names_of_values in part.values.items():
            values.setdefault(axis, {}).update(names_of_values)
    return Words(
        labels={key: text for part in parts for key, text in part.labels.items()},
        symbols={key: text for part in parts for key, text in part.symbols.items()},
        values=values,
    )


@functools.cache
def looks() -> Looks:
    """Looks of everything that is shown: those of the sources in order, and the common ones."""
    parts = [*(source.looks for source in manifests().values()), defaults.LOOKS]
    return Looks(
        models={key: look for part in parts for key, look in part.models.items()},
        cells={key: look for part in parts for key, look in part.cells.items()},
    )
