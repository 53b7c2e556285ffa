"""Draw the figures of an experiment as its manifest describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palimpsest import sources
from palimpsest.analysis import experiment_tables
from palimpsest.analysis.tables import read_runs, read_summary, runs_file
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.planning.parameters import Params
from palimpsest.rendering import kinds, style
from palimpsest.rendering.frames import select
from palimpsest.rendering.panels import Products
from palimpsest.sources.shared.figures import Figure

_FIELDS = {
    "learning_curves": "curves",
    "training_steps": "steps",
    "write_positions": "positions",
    "within_sequence": "within",
}
"""Table of an experiment → field of the products, where the two differ."""


def read_products(root: Path, experiment: str) -> Products:
    """The tables from which the figures of one experiment are drawn.

    Raises:
        DataError: a table is missing or broken, or none of its rows is about the experiment.
    """
    runs, summary = read_runs(root, experiment), read_summary(root, experiment)
    if runs.empty:
        raise DataError(f"{root / runs_file(experiment)}: no run; allowed: one at least")
    tables = experiment_tables.read(root, experiment)
    own = {_FIELDS.get(name, name): select(table, experiment=experiment) for name, table in tables.items()}
    return Products(runs=runs, summary=summary, experiment=sources.experiment_of(experiment), **own)


def write_figures(params: Params, root: Path, experiment: str) -> list[Path]:
    """Draw every figure of an experiment as ``plots/<experiment>/<name>.pdf`` and ``.png``.

    Args:
        params: the preset, which must know the experiment.
        root: product directory.
        experiment: its name.

    Returns:
        The files, in the order of the list of figures.

    Raises:
        ParameterError: the preset does not have the experiment, it has no figures, or one is of an unknown kind.
        DataError: a table is missing, broken or lacks a column.
    """
    figures = sources.experiment_of(experiment).figures
    if experiment not in params.experiments or not figures:
        allowed = ", ".join(sorted(name for name in params.experiments if sources.experiment_of(name).figures))
        raise ParameterError(f"plot: {experiment!r} is no experiment with figures; allowed: {allowed}")
    products = read_products(root, experiment)
    written = []
    with style.sized_for_print():
        for figure in figures:
            drawn = draw_one(figure, products)
            written += style.save(drawn, root / "plots" / experiment / figure.name)
    return written


def draw_one(figure: Figure, products: Products) -> Any:
    """Draw one figure, within :func:`palimpsest.rendering.style.sized_for_print`.

    Raises:
        ParameterError: no function draws figures of this kind.
        DataError: a table lacks a column.
    """
    draw = kinds.drawer(figure)
    try:
        return draw(products, figure)
    except KeyError as error:
        raise DataError(f"tables: {error.args[0]}: no such column; figure {figure.name!r} needs it") from None
