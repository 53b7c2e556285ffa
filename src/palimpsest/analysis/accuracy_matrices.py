"""The table of accuracy matrices: accuracy on the data of every phase after every phase of every run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pandas import DataFrame

from palimpsest.analysis.continual import SPLITS, accuracy_matrix, chances, has_phases
from palimpsest.analysis.frames import COUNT, IDENTITY, NAME, SHARE, Layout, read_frame
from palimpsest.analysis.runs import (
    Final,
    asked,
    axes,
    epochs_of_phases,
    key_of,
    read_final,
    read_history,
    run_frame,
    steps_in,
)
from palimpsest.planning.parameters import Params
from palimpsest.planning.specs import RunSpec

ACCURACY_MATRICES = Layout(
    IDENTITY,
    {
        "seed": COUNT,
        "phases_trained": COUNT,
        "after": NAME,
        "steps": COUNT,
        "phase": COUNT,
        "on": NAME,
        "chance": SHARE,
        **{f"{split}_accuracy": SHARE for split in SPLITS},
    },
    metrics=False,
)
"""Columns of ``accuracy_matrices.csv``: a row a run, a phase that was trained last and a phase that is evaluated.

``phases_trained`` counts the phases up to ``after``, in which the run has taken ``steps`` steps; ``phase`` is the place
of ``on`` among the phases, from 1; ``chance`` is that of its data.
"""


def accuracy_matrices(params: Params, root: Path, experiment: str) -> DataFrame:
    """Collect the accuracy matrix of every run with phases: a row an entry, with the columns of ``ACCURACY_MATRICES``.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; runs that diverged or have one phase give no rows.

    Raises:
        DataError: a ``final.json`` or ``history.csv`` is missing or corrupt, or lacks an accuracy or an epoch.
        ParameterError: the preset has no such experiment.
    """
    rows = []
    for cell, spec in asked(params, experiment):
        if not has_phases(spec):
            continue
        path = root / cell.directory(spec.seed) / "final.json"
        final = read_final(path, spec)
        if final.status == "completed":
            rows += [{**key_of(spec), **row} for row in _of_run(path, spec, final)]
    return run_frame(rows, axes(params, experiment), list(ACCURACY_MATRICES.middle))


def _of_run(path: Path, spec: RunSpec, final: Final) -> Iterator[dict[str, Any]]:
    history = path.with_name("history.csv")
    done = epochs_of_phases(history, spec, read_history(history, final.epochs))
    steps = list(itertools.accumulate(steps_in(*phase) for phase in zip(spec.phases, done, strict=True)))
    matrices = {f"{split}_accuracy": accuracy_matrix(final.metrics, spec, split, path) for split in SPLITS}
    chance = chances(spec)
    for trained, after in enumerate(spec.phases):
        for place, on in enumerate(spec.phases):
            yield {
                "phases_trained": trained + 1,
                "after": after.name,
                "steps": steps[trained],
                "phase": place + 1,
                "on": on.name,
                "chance": float(chance[place]),
                **{name: float(matrix[trained, place]) for name, matrix in matrices.items()},
            }


def read_accuracy_matrices(path: Path) -> DataFrame:
    """Read ``accuracy_matrices.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, ACCURACY_MATRICES)
