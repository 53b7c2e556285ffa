"""The kinds of tables, a dataclass a kind: what a source adds to the tables that every preset has."""

from __future__ import annotations

from dataclasses import dataclass

COMMON = (
    "claims.tex",
    "claims_matrix.tex",
    "claims_sensitivity.tex",
    "summary_final_epoch.tex",
    "comparison.csv",
    "comparison.tex",
    "models.csv",
    "models.tex",
    "generalisation.csv",
    "generalisation.tex",
    "parameters.tex",
)
"""Files below ``tables/`` that every preset has, beside those of its sources."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a source, ``tables/<name>.tex`` and, of some kinds, ``tables/<name>.csv``.

    Two sources that describe the same table share one file, which is about the experiments of both.
    """

    name: str

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files below ``tables/``."""
        return (f"{self.name}.tex",)

    @property
    def named_experiments(self) -> tuple[str, ...]:
        """Experiments of the source that it names; a kind that lets its user choose none names none."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Lifecycle(Table):
    """Scores of each model beside what its memory does: operations, utilisation, ages; LaTeX and CSV."""

    name: str = "lifecycle"

    @property
    def files(self) -> tuple[str, ...]:
        """The CSV file holds what the LaTeX table is made from."""
        return (f"{self.name}.csv", f"{self.name}.tex")


@dataclass(frozen=True, kw_only=True)
class Ablations(Table):
    """What each ablation changes, from the evidence of the claims."""

    name: str = "ablations"


@dataclass(frozen=True, kw_only=True)
class Scores(Table):
    """Metrics of the final epoch with their intervals: a row a track and model, at the cell that validation chose."""

    metrics: tuple[str, ...]
    experiments: tuple[str, ...] = ()
    """Which of the source's experiments; empty: all."""
    models: tuple[str, ...] = ()
    """Which models; empty: all."""

    @property
    def named_experiments(self) -> tuple[str, ...]:
        """Those that were chosen."""
        return self.experiments


@dataclass(frozen=True, kw_only=True)
class Continual(Table):
    """Measures of continual learning with their intervals: a row a track and model, at the cell that validation chose.

    Experiments without phases have no rows.
    """

    name: str = "continual"
    experiments: tuple[str, ...] = ()
    """Which of the source's experiments; empty: all."""
    models: tuple[str, ...] = ()
    """Which models; empty: all."""

    @property
    def named_experiments(self) -> tuple[str, ...]:
        """Those that were chosen."""
        return self.experiments
