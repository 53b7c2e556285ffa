"""Memory dynamics: what the memories of trained runs did on the probe batch, read off their traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from palimpsest.analysis.frames import COUNT, IDENTITY, INTEGER, NUMBER, Layout, one_of, read_frame
from palimpsest.analysis.runs import asked, axes, run_frame
from palimpsest.config import Params
from palimpsest.errors import DataError
from palimpsest.tensors import read_tensors

WRITE_POSITIONS = Layout(
    IDENTITY,
    {
        "seed": COUNT,
        "alignment": one_of("absolute", "from_answer"),
        "position": INTEGER,
        "gate_mean": NUMBER,
        "write_mean": NUMBER,
        "n": COUNT,
    },
    metrics=False,
)
Array = NDArray[Any]


def write_positions(params: Params, root: Path, experiment: str) -> DataFrame:
    """How open the gate is, and how often it writes, by token position.

    ``alignment`` says what positions count from: ``absolute``, from the start of the sequence; ``from_answer``, from
    the token that the answer depends on (0: that token itself), over as many tokens of the batch (``n``) as lie there.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; runs without a memory give no rows.

    Raises:
        DataError: a trace is missing, corrupt or of another shape.
        ParameterError: the preset has no such experiment.
    """
    rows: list[dict[str, Any]] = []
    for pack, spec in asked(params, experiment):
        key = {"experiment": spec.experiment, "track": spec.track, "model": spec.model, **spec.cell, "seed": spec.seed}
        rows += [{**key, **row} for row in _run_rows(root / pack.directory(spec.seed) / "trace.safetensors")]
    return run_frame(rows, axes(params, experiment), list(WRITE_POSITIONS.middle))


def _run_rows(path: Path) -> list[dict[str, Any]]:
    trace = {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
    if "writes" not in trace or "write_gate" not in trace:
        return []
    writes, gate = trace["writes"].astype(np.float64), trace["write_gate"].astype(np.float64)
    if gate.ndim != 2 or writes.shape != gate.shape:
        raise DataError(f"{path}: write_gate {gate.shape}, writes {writes.shape}; allowed: (examples, tokens) both")
    examples, length = gate.shape
    position = np.broadcast_to(np.arange(length), gate.shape)
    rows = mean_by_position("absolute", position, gate, writes)
    if "answer_position" in trace:
        answer = trace["answer_position"].astype(np.int64)
        if answer.shape != (examples,):
            raise DataError(f"{path}: answer_position {answer.shape}; allowed: {(examples,)}")
        rows += mean_by_position("from_answer", position - answer[:, None], gate, writes)
    return rows


def mean_by_position(alignment: str, position: Array, gate: Array, writes: Array) -> list[dict[str, Any]]:
    """Means of gate and writes over all tokens of the same position; one row a position, in order.

    Args:
        alignment: what positions count from; copied into the rows.
        position: (examples, tokens), integers.
        gate: (examples, tokens), in [0, 1].
        writes: (examples, tokens), 0 or 1.
    """
    values, place = np.unique(position, return_inverse=True)
    place = place.reshape(-1)
    count = np.bincount(place)
    gate_mean = np.bincount(place, gate.reshape(-1)) / count
    write_mean = np.bincount(place, writes.reshape(-1)) / count
    return [
        {"alignment": alignment, "position": int(value), "gate_mean": float(g), "write_mean": float(w), "n": int(n)}
        for value, g, w, n in zip(values, gate_mean, write_mean, count, strict=True)
    ]


def read_write_positions(path: Path) -> DataFrame:
    """Read ``write_positions.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, WRITE_POSITIONS)
