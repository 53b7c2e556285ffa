"""Traces of single runs on the probe batch: their paths, and their tensors as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from palimpsest.analysis.runs import asked
from palimpsest.foundation.tensors import read_tensors
from palimpsest.planning.parameters import Params
from palimpsest.planning.specs import RunSpec

Array = NDArray[Any]
Trace = dict[str, Array]
"""Field → values; the first axis of most fields is the example."""


def traces(params: Params, root: Path, experiment: str) -> Iterator[tuple[Path, RunSpec]]:
    """Yield the trace's path and the specification of every run of an experiment, sorted by path, then by seed.

    Reads no trace, so that a caller can skip runs.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments.

    Raises:
        ParameterError: the preset has no such experiment.
    """
    for cell, spec in asked(params, experiment):
        yield root / cell.directory(spec.seed) / "trace.safetensors", spec


def read_trace(path: Path) -> Trace:
    """Read every field of a trace.

    Raises:
        DataError: the file is missing or corrupt.
    """
    return {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
