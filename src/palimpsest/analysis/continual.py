"""Measures of continual learning, computed from the accuracy on the data of every phase after every phase.

R[i, j] is the accuracy on one split of the data of phase j after phase i; T phases are counted from 0, so that the last
row is R[T − 1]. A phase whose data another phase has, too, counts like any other phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palimpsest import tasks
from palimpsest.analysis.statistics import DIGITS
from palimpsest.foundation.errors import DataError
from palimpsest.planning.specs import RunSpec

RANGES = {
    "average_accuracy": (0, 1),
    "learnt_accuracy": (0, 1),
    "forgetting": (-1, 1),
    "backward_transfer": (-1, 1),
    "forward_transfer": (-1, 1),
}
SPLITS = ("validation", "test")
"""Splits that are measured after each phase."""
Matrix = NDArray[np.float64]


def average_accuracy(matrix: Matrix) -> float:
    """Return the mean accuracy on all phases at the end, in [0, 1].

    A = (1 / T) Σ_j R[T − 1, j]    [Lopez-Paz and Ranzato 2017, eq. 2]

    Args:
        matrix: R, (T, T), T ≥ 2.

    Raises:
        ValueError: the matrix is not square, or has one phase only.
    """
    return float(_checked(matrix)[-1].mean())


def learnt_accuracy(matrix: Matrix) -> float:
    """Return the mean accuracy on each phase directly after it was trained, in [0, 1].

    L = (1 / T) Σ_j R[j, j], so that A − L = BWT (T − 1) / T

    Args:
        matrix: R, (T, T), T ≥ 2.

    Raises:
        ValueError: the matrix is not square, or has one phase only.
    """
    return float(np.diagonal(_checked(matrix)).mean())


def forgetting(matrix: Matrix) -> float:
    """Return by how much the accuracies on earlier phases lie below their best, in [−1, 1]; high is bad.

    F = 1 / (T − 1) Σ_{j < T − 1} (max_{i < T − 1} R[i, j] − R[T − 1, j])    [Chaudhry et al. 2018, Section 3]

    It is negative where the last phase improves what was learnt before.

    Args:
        matrix: R, (T, T), T ≥ 2.

    Raises:
        ValueError: the matrix is not square, or has one phase only.
    """
    before, last = _checked(matrix)[:-1, :-1], matrix[-1, :-1]
    return float((before.max(0) - last).mean())


def backward_transfer(matrix: Matrix) -> float:
    """Return how much later phases change the accuracy on earlier ones, in [−1, 1]; negative if they are forgotten.

    BWT = 1 / (T − 1) Σ_{j < T − 1} (R[T − 1, j] − R[j, j])    [Lopez-Paz and Ranzato 2017, eq. 3]

    F ≥ −BWT, because the best accuracy on a phase is at least that directly after it was trained.

    Args:
        matrix: R, (T, T), T ≥ 2.

    Raises:
        ValueError: the matrix is not square, or has one phase only.
    """
    return float((_checked(matrix)[-1, :-1] - np.diagonal(matrix)[:-1]).mean())


def forward_transfer(matrix: Matrix, chance: Matrix) -> float:
    """Return how far above chance the accuracy on a phase is before it is trained, in [−1, 1].

    FWT = 1 / (T − 1) Σ_{j > 0} (R[j − 1, j] − b_j)    [Lopez-Paz and Ranzato 2017, eq. 4]

    Deviates: b_j is the accuracy of a guess that looks at nothing; the source takes that of a random initialisation.

    Args:
        matrix: R, (T, T), T ≥ 2.
        chance: b, (T,), in [0, 1].

    Raises:
        ValueError: the matrix is not square, or has one phase only; or there is not one chance for each phase.
    """
    above = np.diagonal(_checked(matrix), 1)
    if chance.shape != matrix.shape[:1]:
        raise ValueError(f"chance {chance.shape}; allowed: {matrix.shape[:1]}, one for each phase")
    return float((above - chance[1:]).mean())


def forgetting_curves(matrix: Matrix) -> Matrix:
    """Return the accuracy on each phase by the number of phases since it was trained, (T, T).

    C[k, j] = R[j + k, j]; NaN where j + k ≥ T, because no such phase was trained.

    Args:
        matrix: R, (T, T), T ≥ 2.

    Raises:
        ValueError: the matrix is not square, or has one phase only.
    """
    phases = len(_checked(matrix))
    curves = np.full((phases, phases), np.nan)
    for phase in range(phases):
        curves[: phases - phase, phase] = matrix[phase:, phase]
    return curves


def _checked(matrix: Matrix) -> Matrix:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f"accuracies {matrix.shape}; allowed: (T, T) of two phases or more")
    return matrix


def has_phases(spec: RunSpec) -> bool:
    """Return whether a run has more than one phase, and so an accuracy matrix."""
    return len(spec.phases) > 1


def accuracy_matrix(metrics: Mapping[str, float | None], spec: RunSpec, split: str, path: Path) -> Matrix:
    """Return R of a run with phases, (T, T); NaN where an accuracy is not finite.

    Args:
        metrics: of the run's ``final.json``.
        spec: of the run.
        split: one of ``SPLITS``.
        path: of ``final.json``, for messages.

    Raises:
        DataError: an accuracy is missing.
    """
    names = [phase.name for phase in spec.phases]
    found = [[_accuracy(metrics, f"{split}_accuracy_after_{after}_on_{on}", path) for on in names] for after in names]
    return np.array(found, dtype=np.float64)


def _accuracy(metrics: Mapping[str, float | None], name: str, path: Path) -> float | None:
    if name not in metrics:
        raise DataError(f"{path}: metrics.{name}: missing; allowed: the accuracy on every phase after every phase")
    return metrics[name]


def chances(spec: RunSpec) -> Matrix:
    """Return the accuracy of a guess that looks at nothing on the data of each phase, (T,)."""
    return np.array([_chance(phase.task) for phase in spec.stages])


def _chance(task: Mapping[str, object]) -> float:
    module = tasks.load(str(task["name"]))
    config = {name: value for name, value in task.items() if name not in ("name", "seed")}
    return module.chance(module.Config.model_validate(config))


def measures(metrics: Mapping[str, float | None], spec: RunSpec, path: Path) -> dict[str, float]:
    """Return the measures of a run with phases on each split, such as ``test_forgetting``; nothing of other runs.

    Args:
        metrics: of the run's ``final.json``.
        spec: of the run.
        path: of ``final.json``, for messages.

    Raises:
        DataError: an accuracy is missing.
    """
    if not has_phases(spec):
        return {}
    found, chance = {}, chances(spec)
    for split in SPLITS:
        matrix = accuracy_matrix(metrics, spec, split, path)
        found |= {
            f"{split}_average_accuracy": average_accuracy(matrix),
            f"{split}_learnt_accuracy": learnt_accuracy(matrix),
            f"{split}_forgetting": forgetting(matrix),
            f"{split}_backward_transfer": backward_transfer(matrix),
            f"{split}_forward_transfer": forward_transfer(matrix, chance),
        }
    return {name: round(value, DIGITS) + 0.0 for name, value in found.items()}  # a sum of differences may miss 0
