"""A manifest: what is shown of a source, under which names and looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from palimpsest.sources.shared.figures import Figure
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.tables import Table


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment of a source; its title, tracks and grids are in ``params/default/<source>.yaml``."""

    name: str
    figures: tuple[Figure, ...] = ()
    """In the order in which they are drawn."""
    size: str = "size"
    """What the sizes of its task count, as an axis of a figure names it."""
    spell_size: Callable[[int], str] = str
    """How the text shows a size, e.g. 2010 → ``20 × 10``."""
    picture_lines: str = ""
    """A sentence for captions: which lines of a picture of its sequences are no bits of vectors; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """A notebook of a source, ``notebooks/source/<source>/<name>.ipynb``."""

    name: str
    experiments: tuple[str, ...]
    """Experiments whose tables and figures it reads; it is executed where a preset has them all."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """Names for the reader of what a source's results are made of."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Metric, axis or model → name. A metric of a split has the name of the metric unless it is listed itself."""
    symbols: Mapping[str, str] = field(default_factory=dict)
    """Axis → short form, LaTeX."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Axis whose values are words → value → name, in the order in which figures show them."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Looks of what a source's figures show; the order of models is the order in figures of all models."""

    models: Mapping[str, Look] = field(default_factory=dict)
    cells: Mapping[tuple[str, str], Look] = field(default_factory=dict)
    """Axis and value of a cell with a look of its own, whatever its model."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source: its place among the others, its experiments, and how they are shown."""

    number: str
    """Three digits, as in the claims; the order in which sources come. Parts of one source have the same."""
    title: str
    """Its name as a heading."""
    phrase: str
    """Its name within a sentence and in the title of the paper."""
    citations: tuple[str, ...]
    """Keys of ``references.bib`` in ``paper/source`` or in its own templates; the first is the source itself."""
    description: str
    """One sentence."""
    experiments: tuple[Experiment, ...]
    """In order; a preset need not have them all."""
    section_needs: tuple[str, ...]
    """Experiments without which the paper has no section about it; at least one."""
    templates: str
    """Folder of its templates below ``paper/source``."""
    tables: tuple[Table, ...] = ()
    notebooks: tuple[Notebook, ...] = ()
    words: Words = field(default_factory=Words)
    looks: Looks = field(default_factory=Looks)

    @property
    def experiment_names(self) -> tuple[str, ...]:
        """Names of its experiments, in order."""
        return tuple(experiment.name for experiment in self.experiments)
