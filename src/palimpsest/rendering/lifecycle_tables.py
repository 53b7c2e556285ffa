"""Tables about memories with operations: what each model reaches, what its memory does, and what each loss is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.analysis.frames import axes_of
from palimpsest.rendering import style
from palimpsest.rendering.frames import (
    KEYS,
    axes_of_words,
    best_cells,
    cell_from_path,
    cell_of,
    cell_path,
    records,
    rows_of_cell,
)
from palimpsest.rendering.latex import bounds, escape, interval, longtable, number
from palimpsest.rendering.table_parts import Entry, cell_text, grouped

OPERATED = "test_operations_per_step"
"""A model has this metric if its memory has operations."""
ACCURACIES = ("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled")
DYNAMICS = (
    "test_utilisation",
    "test_age_steps",
    "test_write_ratio",
    "test_update_rate",
    "test_forget_rate",
    "test_operations_per_step",
)
ABLATION, UNABLATED = "ablation", "none"
RATES = ("test_write_ratio", "test_forget_rate", "test_loss_stability")


_LEVELS = ("chance", "floor", "ceiling", "parameters")
"""Columns of a run beside its accuracies, which are headings as well."""


def lifecycle_frame(runs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """One row a model and variant of every experiment in which a memory has operations.

    Variants are cells that differ in an axis of words; of cells that differ in numbers the one that validation chose.
    """
    axes, rows = axes_of(summary), []
    for row in sorted(
        records(best_cells(_operated(summary), axes_of_words(summary))), key=lambda row: _place(row, axes)
    ):
        first = records(rows_of_cell(runs, row, axes))[0]
        rows.append(
            {**{key: row[key] for key in KEYS}, "cell": cell_path(cell_of(row, axes)), "n": int(row["n"])}
            | {name: row.get(name) for name in _COLUMNS}
            | {name: first[name] for name in _LEVELS}
        )
    return pd.DataFrame(rows, columns=[*KEYS, "cell", "n", *_COLUMNS, *_LEVELS])


def _place(row: Mapping[str, Any], axes: Sequence[str]) -> tuple[Any, ...]:
    """What rows are sorted by: experiment and track, baselines last, variants as figures show them."""
    cell = [style.rank(axis, value) for axis, value in cell_of(row, axes).items()]
    return (row["experiment"], row["track"], style.position(row["model"]), row["model"], cell)


_METRICS, _PARTS = (*ACCURACIES, *DYNAMICS), ("mean", "low", "high")
_COLUMNS = [f"{metric}_{part}" for metric in _METRICS for part in _PARTS]


def _operated(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of the experiments in which any memory has operations."""
    if f"{OPERATED}_mean" not in summary:
        return summary.iloc[:0]
    known = set(summary["experiment"][np.isfinite(summary[f"{OPERATED}_mean"].to_numpy(float))])
    return summary.loc[[experiment in known for experiment in summary["experiment"]]]


def lifecycle_table(lifecycle: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """:func:`lifecycle_frame` as LaTeX: a table of accuracies, and one of what the memories do.

    Args:
        lifecycle: the frame.
        titles: experiment → title.
    """
    operated = lifecycle.loc[lifecycle[f"{OPERATED}_mean"].notna()]
    reached = [[interval(*_spread(row, metric)) for metric in ACCURACIES] for row in records(lifecycle)]
    levels = [[number(row[name]) for name in _LEVELS] for row in records(lifecycle)]
    done = [[interval(*_spread(row, metric)) for metric in DYNAMICS] for row in records(operated)]
    first = longtable(
        "@{}lllllrrrr@{}",
        ["track", "model", "accuracy", "read zeroed", "swapped", *_LEVELS],
        grouped(_entries(lifecycle, [a + b for a, b in zip(reached, levels, strict=True)]), titles, 9, _EMPTY),
        "The performance table that the source leaves as the letter X: test accuracy with the memory as trained, with "
        "its read zeroed and with the memories swapped between examples; mean over seeds, in brackets its interval. "
        "Floor is the informed one.",
        "tab:lifecycle",
    )
    second = longtable(
        "@{}llllllll@{}",
        ["track", "model", *(escape(_SHORT[metric]) for metric in DYNAMICS)],
        grouped(_entries(operated, done), titles, 8, _EMPTY),
        "What the memories of Table~\\ref{tab:lifecycle} do on the test split: share of slots in use, mean age in "
        "memory steps of what is kept, share of memory steps that write, updates and forgettings a slot and memory "
        "step, and operations a memory step; mean over seeds, in brackets its interval.",
        "tab:lifecycle_rates",
    )
    return first + "\n" + second


_SHORT = {
    "test_utilisation": "utilisation",
    "test_age_steps": "age",
    "test_write_ratio": "writes",
    "test_update_rate": "updates",
    "test_forget_rate": "forgets",
    "test_operations_per_step": "operations",
}


def _spread(row: Mapping[str, Any], metric: str) -> tuple[float | None, float | None, float | None]:
    """Mean and interval; nothing of a metric that no run of the preset has."""
    return row.get(f"{metric}_mean"), row.get(f"{metric}_low"), row.get(f"{metric}_high")


def _entries(table: pd.DataFrame, values: Sequence[Sequence[str]]) -> list[Entry]:
    entries = []
    for row, shown in zip(records(table), values, strict=True):
        cell = cell_from_path(row["cell"])
        name = escape(style.label(row["model"])) + (f", {cell_text(cell)}" if cell else "")
        entries.append(Entry(row["experiment"], row["track"], "", [name, *shown]))
    return entries


_EMPTY = "no memory of this preset has operations"


def ablations_table(summary: pd.DataFrame, evidence: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """What becomes of accuracy and rates without each loss, as LaTeX.

    Args:
        summary: one row a cell.
        evidence: ``claims_evidence.json``, from which the reductions are taken: nothing is computed here.
        titles: experiment → title.
    """
    known = summary.loc[summary[ABLATION].notna()] if ABLATION in summary else summary.iloc[:0]
    entries = []
    for row in sorted(records(known), key=_by_ablation):
        name = escape(style.value_label(ABLATION, row[ABLATION]))
        values = [interval(*_spread(row, metric)) for metric in ("test_accuracy_on", *RATES)]
        shown = [name, number(int(row["n"])), *values, _reduction(row, evidence)]
        entries.append(Entry(row["experiment"], row["track"], "", shown))
    header = [
        "track",
        "losses",
        "$n$",
        "accuracy",
        "write ratio",
        "forget rate",
        "stability loss",
        "own rate lowered by",
    ]
    caption = (
        "Ablations of the lifecycle losses, test split: mean over seeds with its interval in brackets. The last "
        "column is by how much the loss that the row lacks lowers its own rate, as a share of the rate without it, "
        "with its interval and the claim whose evidence it is."
    )
    rows = grouped(entries, titles, len(header), "no model of this preset has ablations")
    return longtable("@{}llrlllll@{}", header, rows, caption, "tab:ablations")


def _by_ablation(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["experiment"], row["track"], row["model"], style.rank(ABLATION, row[ABLATION]))


def _reduction(row: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]]) -> str:
    """The share of the loss that a row lacks, from the evidence of a claim; a dash where no claim asks."""
    base = f"results/{row['experiment']}/track={row['track']}/"
    for one in evidence:
        compared = {cell["cell"].get(ABLATION) for cell in one["cells"] if cell["model"] == row["model"]}
        here = bool(one["runs"]) and all(run.startswith(base) for run in one["runs"])
        if here and one["kind"] == "reduction" and compared == {UNABLATED, row[ABLATION]} and len(compared) > 1:
            spread = "" if one["low"] is None or one["high"] is None else f" {bounds(one['low'], one['high'])}"
            return f"{number(one['estimate'])}{spread} ({escape(one['claim'])})"
    return "--"
