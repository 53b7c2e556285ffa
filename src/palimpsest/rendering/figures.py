"""The figures of every experiment, as data, and the function that draws them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palimpsest.analysis.dynamics import read_lifecycle, read_within_sequence, read_write_positions
from palimpsest.analysis.runs import read_histories, read_runs
from palimpsest.analysis.sequences import read_generalisation, read_said, read_weightings
from palimpsest.analysis.statistics import read_summary
from palimpsest.analysis.steps import read_steps
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.planning.parameters import Params
from palimpsest.rendering import comparison_plots, dynamics_plots, plots, sequence_plots, style
from palimpsest.rendering.frames import RUNS, SUMMARY, select
from palimpsest.rendering.panels import Products


@dataclass(frozen=True)
class Drawing:
    """One figure: its file's name, the kind of plot, and what the plot is about."""

    name: str
    kind: Callable[..., Any]
    about: dict[str, Any] = field(default_factory=dict)


_WRITERS = ("write_all", "write_none", "random_writer", "oracle_writer")
_WITHOUT_MEMORY = ("no_memory", "window_only", "full_attention")
_TREATMENTS = {
    "memory on": "test_accuracy_on",
    "read zeroed": "test_accuracy_off",
    "memories swapped": "test_accuracy_shuffled",
    "written at random": "test_accuracy_random_writes",
}

_LITE = {"model": "nema_lite"}
_POLICIES = ("nema_lc", "fifo", "lru", "least_used", "random_replacement", "oracle_replacement")
_UNABLATED = {"ablation": "none"}
_VARIANTS = {"models": ("nema_lc",), "where": {"memory": None}}
_PROXY = (
    Drawing(
        "baseline_vs_memory",
        comparison_plots.side_by_side,
        {"metrics": ("test_accuracy_on", "test_accuracy_off"), "accuracies": ("test_accuracy_on", "test_accuracy_off")},
    ),
    Drawing(
        "training_curves",
        dynamics_plots.trajectories,
        {"clock": "training", "metrics": ("accuracy", "loss"), "accuracy": "accuracy"},
    ),
)


def _sequences(size: str, **more: Any) -> tuple[Drawing, ...]:
    """The figures of a task of sequences, whose sizes count ``size``."""
    accuracies = ("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled")
    return (
        Drawing(
            "learning_curves_by_seed",
            dynamics_plots.trajectories,
            {"clock": "stream", "metrics": ("validation_accuracy_on", "validation_sequence_accuracy", "train_loss")}
            | {"accuracy": "validation_accuracy_on"},
        ),
        Drawing(
            "length_generalisation",
            sequence_plots.by_size,
            {"metrics": ("accuracy", "sequence_accuracy"), "accuracy": "accuracy", "size": size} | more,
        ),
        Drawing(
            "baseline_vs_memory",
            comparison_plots.side_by_side,
            {"metrics": (*accuracies, "test_slots_written"), "accuracies": accuracies},
        ),
        Drawing("weightings", sequence_plots.weightings),
    )


def _vectors_and_repeats(size: int) -> str:
    """How repeat copy spells its sizes.

    >>> _vectors_and_repeats(2010)
    '20 × 10'
    """
    return f"{size // 100} × {size % 100}"


_PICTURES = Drawing("pictures", sequence_plots.pictures)
_LINKS = Drawing("usage_and_links", sequence_plots.usage_and_links)

DRAWINGS: dict[str, tuple[Drawing, ...]] = {
    "nema_lite": (
        Drawing(
            "acc_vs_write_ratio",
            plots.scatter,
            _LITE
            | {"x": "test_write_ratio", "y": "test_accuracy_on", "by": "write_threshold"}
            | {"baselines": _WRITERS, "lines": _WITHOUT_MEMORY},
        ),
        Drawing(
            "write_ratio_vs_mem_lambda",
            plots.against_axis,
            _LITE
            | {"x": "mem_lambda", "y": "test_write_ratio", "by": "write_threshold", "levels": False}
            | {"lines": ("write_all", "write_none", "oracle_writer")},
        ),
        Drawing(
            "acc_vs_mem_lambda",
            plots.against_axis,
            _LITE
            | {"x": "mem_lambda", "y": "test_accuracy_on", "by": "write_threshold", "levels": True}
            | {"lines": ("write_all", "write_none", "oracle_writer", *_WITHOUT_MEMORY)},
        ),
        Drawing(
            "memory_on_vs_off",
            plots.controls,
            _LITE
            | {"x": "mem_lambda", "metrics": _TREATMENTS, "rows": "write_threshold"}
            | {"lines": _WITHOUT_MEMORY, "label": "test accuracy"},
        ),
        Drawing(
            "tradeoff_by_threshold",
            plots.paths,
            _LITE
            | {"x": "test_write_ratio", "y": "test_accuracy_on", "along": "mem_lambda", "rows": "write_threshold"}
            | {"baselines": _WRITERS},
        ),
        Drawing(
            "learning_curves",
            plots.curves,
            _LITE
            | {"metrics": ("validation_accuracy_on", "validation_write_ratio"), "by": "mem_lambda"}
            | {"at": "write_threshold", "lines": ("write_all", *_WITHOUT_MEMORY), "accuracy": "validation_accuracy_on"},
        ),
        Drawing(
            "where_it_writes", plots.positions, _LITE | {"y": "gate_mean", "by": "mem_lambda", "at": "write_threshold"}
        ),
    ),
    "nema_lc": (
        Drawing(
            "utilisation",
            dynamics_plots.trajectories,
            {"clock": "training", "metrics": ("utilisation",), "models": _POLICIES, "where": _UNABLATED},
        ),
        Drawing(
            "retention_age",
            dynamics_plots.trajectories,
            {"clock": "training", "metrics": ("age_steps",), "models": _POLICIES, "where": _UNABLATED},
        ),
        Drawing(
            "operation_rates",
            dynamics_plots.trajectories,
            {"clock": "training", "metrics": ("write_ratio", "update_rate", "forget_rate")} | _VARIANTS,
        ),
        Drawing(
            "loss_components",
            dynamics_plots.trajectories,
            {"clock": "training", "metrics": ("objective", "loss", "loss_write", "loss_forget", "loss_stability")}
            | _VARIANTS,
        ),
        Drawing(
            "lifecycle_raster",
            dynamics_plots.raster,
            {"models": ("nema_lc", "fifo", "oracle_replacement"), "where": _UNABLATED},
        ),
        Drawing(
            "within_sequence",
            dynamics_plots.trajectories,
            {"clock": "sequence", "models": _POLICIES, "where": _UNABLATED}
            | {"metrics": ("utilisation", "age_steps", "write_ratio", "update_rate", "forget_rate")},
        ),
        Drawing(
            "ablations",
            comparison_plots.side_by_side,
            {"metrics": ("test_accuracy_on", "test_write_ratio", "test_forget_rate", "test_loss_stability")}
            | {"accuracies": ("test_accuracy_on",)}
            | _VARIANTS,
        ),
        Drawing(
            "replacement_policies",
            comparison_plots.side_by_side,
            {"models": (*_POLICIES, *_WITHOUT_MEMORY), "where": _UNABLATED}
            | {"metrics": ("test_accuracy_on", "test_answer_kept"), "accuracies": ("test_accuracy_on",)},
        ),
    ),
    "nema_lc_lra": _PROXY,
    "nema_lc_documents": _PROXY,
    "nema_lc_document_qa": _PROXY,
    "copy": (*_sequences("vectors of a sequence"), _PICTURES, _LINKS),
    "repeat_copy": (*_sequences("vectors × repeats", spelt=_vectors_and_repeats), _PICTURES),
    "associative_recall": (*_sequences("items of a sequence"), _PICTURES),
    "priority_sort": (*_sequences("vectors of a sequence"), _PICTURES),
    "mqar": _sequences("pairs of a sequence"),
}
"""Experiment → its figures; their names stand in :mod:`palimpsest.catalogue`, for those who must not draw."""


def read_products(root: Path, experiment: str) -> Products:
    """The tables from which the figures of one experiment are drawn.

    Raises:
        DataError: a table is missing or broken, or none of its rows is about the experiment.
    """
    folder = root / "results" / experiment
    tables = (
        read_runs(root / RUNS),
        read_summary(root / SUMMARY),
        read_histories(folder / "learning_curves.csv"),
        read_write_positions(folder / "write_positions.csv"),
        read_steps(folder / "training_steps.csv"),
        read_within_sequence(folder / "within_sequence.csv"),
        read_lifecycle(folder / "lifecycle.csv"),
        read_generalisation(folder / "generalisation.csv"),
        read_said(folder / "said.csv"),
        read_weightings(folder / "weightings.csv"),
    )
    products = Products(*(select(table, experiment=experiment) for table in tables))
    if products.runs.empty:
        raise DataError(f"{root / RUNS}: experiment {experiment!r} has no run; allowed: one at least")
    return products


def write_figures(params: Params, root: Path, experiment: str) -> list[Path]:
    """Draw every figure of an experiment as ``plots/<experiment>/<name>.pdf`` and ``.png``.

    Args:
        params: the preset, which must know the experiment.
        root: product directory.
        experiment: its name.

    Returns:
        The files, in the order of the list of figures.

    Raises:
        ParameterError: nothing is known of the experiment, or it has no figures.
        DataError: a table is missing, broken or lacks a column.
    """
    if experiment not in params.experiments or experiment not in DRAWINGS:
        allowed = ", ".join(sorted(set(params.experiments) & set(DRAWINGS)))
        raise ParameterError(f"plot: {experiment!r} is no experiment with figures; allowed: {allowed}")
    products = read_products(root, experiment)
    written = []
    with style.sized_for_print():
        for drawing in DRAWINGS[experiment]:
            figure = draw_one(drawing, products)
            written += style.save(figure, root / "plots" / experiment / drawing.name)
    return written


def draw_one(drawing: Drawing, products: Products) -> Any:
    """One figure, within :func:`palimpsest.rendering.style.sized_for_print`.

    Raises:
        DataError: a table lacks a column.
    """
    try:
        return drawing.kind(products, **drawing.about)
    except KeyError as error:
        raise DataError(f"tables: {error.args[0]}: no such column; figure {drawing.name!r} needs it") from None
