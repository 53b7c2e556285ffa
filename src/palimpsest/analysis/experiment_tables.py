"""The tables of an experiment below ``results/<experiment>/``: how each is made from the runs, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pandas import DataFrame

from palimpsest.analysis import accuracy_matrices, dynamics, runs, sequences, steps, survival
from palimpsest.foundation.files import write_text
from palimpsest.planning.parameters import Params


class ExperimentTable(NamedTuple):
    """How a table is made and read."""

    make: Callable[[Params, Path, str], DataFrame]
    """(preset, product directory, experiment) → the table."""
    read: Callable[[Path], DataFrame]


TABLES = {
    "learning_curves": ExperimentTable(runs.histories, runs.read_histories),
    "training_steps": ExperimentTable(steps.steps, steps.read_steps),
    "write_positions": ExperimentTable(dynamics.write_positions, dynamics.read_write_positions),
    "lifecycle": ExperimentTable(dynamics.lifecycle, dynamics.read_lifecycle),
    "within_sequence": ExperimentTable(dynamics.within_sequence, dynamics.read_within_sequence),
    "generalisation": ExperimentTable(sequences.generalisation, sequences.read_generalisation),
    "outputs": ExperimentTable(sequences.outputs, sequences.read_outputs),
    "weightings": ExperimentTable(sequences.weightings, sequences.read_weightings),
    "survival": ExperimentTable(survival.survival, survival.read_survival),
    "accuracy_matrices": ExperimentTable(accuracy_matrices.accuracy_matrices, accuracy_matrices.read_accuracy_matrices),
}
"""Name of the file → table; :data:`palimpsest.planning.plan.EXPERIMENT_TABLES` has the names for Snakemake."""


def path_of(root: Path, experiment: str, name: str) -> Path:
    """Where a table of an experiment is below the product directory."""
    return root / f"results/{experiment}/{name}.csv"


def write(params: Params, root: Path, experiment: str) -> dict[Path, int]:
    """Write every table of an experiment; returns the files with their numbers of rows."""
    written = {}
    for name, table in TABLES.items():
        frame, path = table.make(params, root, experiment), path_of(root, experiment, name)
        write_text(path, frame.to_csv(index=False, lineterminator="\n"))
        written[path] = len(frame)
    return written


def read(root: Path, experiment: str) -> dict[str, DataFrame]:
    """Read every table of an experiment.

    Raises:
        DataError: a table is missing or broken.
    """
    return {name: table.read(path_of(root, experiment, name)) for name, table in TABLES.items()}
