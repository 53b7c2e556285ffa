"""Memory dynamics: tables of the memories of trained runs on the probe batch, from their traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from palimpsest.analysis.frames import COUNT, IDENTITY, INTEGER, NUMBER, SHARE, Layout, one_of, read_frame
from palimpsest.analysis.runs import axes, key_of, run_frame
from palimpsest.analysis.traces import Array, Trace, read_trace, traces
from palimpsest.foundation.errors import DataError
from palimpsest.planning.parameters import Params

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
OPERATIONS = ("free", "retain", "update", "write", "forget", "replace")
"""Operations on a slot in a memory step, in order of their codes in a trace; "replace" is "forget" and "write"."""
LIFECYCLE = Layout(
    IDENTITY,
    {
        "seed": COUNT,
        "example": COUNT,
        "answer_step": INTEGER,
        "step": COUNT,
        "slot": COUNT,
        "operation": one_of(*OPERATIONS),
    },
    metrics=False,
)
WITHIN_SEQUENCE = Layout(
    IDENTITY,
    {
        "seed": COUNT,
        "step": COUNT,
        "utilisation": NUMBER,
        "age_steps": NUMBER,
        "write_ratio": SHARE,
        "update_rate": SHARE,
        "forget_rate": SHARE,
        "n": COUNT,
    },
    metrics=False,
)


def write_positions(params: Params, root: Path, experiment: str) -> DataFrame:
    """Return the mean gate and the share of writes, by position in the sequence.

    Positions count tokens if the memory may write at each token, and memory steps if it takes one step a chunk.
    ``alignment`` is the origin of positions: ``absolute`` counts from the start of the sequence; ``from_answer`` counts
    from the token that the answer depends on (0 is this token) and leaves out examples without such a token. ``n`` is
    the number of examples of the batch with this position.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; runs without a memory give no rows.

    Raises:
        DataError: a trace is missing or corrupt, or has another shape.
        ParameterError: the preset has no such experiment.
    """
    rows = [
        {**key_of(spec), **row}
        for path, spec in traces(params, root, experiment)
        for row in _run_rows(path, read_trace(path))
    ]
    return run_frame(rows, axes(params, experiment), list(WRITE_POSITIONS.middle))


def _run_rows(path: Path, trace: Trace) -> list[dict[str, Any]]:
    if "writes" not in trace or "write_gate" not in trace:
        return []
    writes, gate = trace["writes"].astype(np.float64), trace["write_gate"].astype(np.float64)
    if gate.ndim != 2 or writes.shape != gate.shape:
        raise DataError(f"{path}: write_gate {gate.shape}, writes {writes.shape}; allowed: (examples, steps) both")
    position = np.broadcast_to(np.arange(gate.shape[1]), gate.shape)
    rows = mean_by_position("absolute", position, gate, writes)
    answer = answer_step(path, trace, *gate.shape)
    asked_for = answer >= 0
    if asked_for.any():
        distance = position - answer[:, None]
        rows += mean_by_position("from_answer", distance[asked_for], gate[asked_for], writes[asked_for])
    return rows


def answer_step(path: Path, trace: Trace, examples: int, steps: int) -> NDArray[np.int64]:
    """Return the memory step of the token that each answer depends on; −1 if there is none.

    Token t of T belongs to step ⌊t S / T⌋ of S. A trace without ``inputs`` has one step for each token.

    Args:
        path: the file of the trace, for messages.
        trace: its tensors; without ``answer_position`` the result is −1 for all examples.
        examples: number of examples of the trace.
        steps: S.

    Raises:
        DataError: ``inputs`` or ``answer_position`` has another shape, or a position lies outside the sequence.
    """
    if "answer_position" not in trace:
        return np.full(examples, -1)
    length = steps
    if "inputs" in trace:
        inputs = trace["inputs"]
        if inputs.ndim != 2 or len(inputs) != examples or inputs.shape[1] < steps:
            raise DataError(f"{path}: inputs {inputs.shape}; allowed: ({examples}, tokens), tokens ≥ {steps} steps")
        length = inputs.shape[1]
    answer = trace["answer_position"].astype(np.int64)
    if answer.shape != (examples,):
        raise DataError(f"{path}: answer_position {answer.shape}; allowed: {(examples,)}")
    outside = answer[(answer < -1) | (answer >= length)]
    if len(outside):
        raise DataError(f"{path}: answer_position {outside[0]}; allowed: 0 to {length - 1}, or -1 for none")
    return np.where(answer < 0, -1, answer * steps // length)


def mean_by_position(alignment: str, position: Array, gate: Array, writes: Array) -> list[dict[str, Any]]:
    """Return the means of gate and writes over all steps with the same position; one row for each position, in order.

    Args:
        alignment: origin of positions; copied into the rows.
        position: (examples, steps), integers.
        gate: (examples, steps), in [0, 1].
        writes: (examples, steps), 0 or 1.
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


def lifecycle(params: Params, root: Path, experiment: str) -> DataFrame:
    """Return the operation on each slot at each memory step, for one example of every cell.

    The example is the first of the probe batch, with the cell's first seed. There is one row for each step and slot.
    ``operation`` is one of ``OPERATIONS``; ``answer_step`` is the memory step of the token that the answer depends on,
    −1 if there is none.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; runs that record no operations give no rows.

    Raises:
        DataError: a trace is missing or corrupt, has another shape, or has an unknown operation.
        ParameterError: the preset has no such experiment.
    """
    rows: list[dict[str, Any]] = []
    shown: set[Path] = set()
    for path, spec in traces(params, root, experiment):
        cell = path.parents[1]
        if cell in shown:
            continue
        shown.add(cell)
        trace = read_trace(path)
        operations = _operations(path, trace)
        if operations is None:
            continue
        answer = answer_step(path, trace, *operations.shape[:2])
        head = {**key_of(spec), "example": 0, "answer_step": int(answer[0])}
        rows += [
            {**head, "step": step, "slot": slot, "operation": OPERATIONS[code]}
            for step, codes in enumerate(operations[0].tolist())
            for slot, code in enumerate(codes)
        ]
    return run_frame(rows, axes(params, experiment), list(LIFECYCLE.middle))


def within_sequence(params: Params, root: Path, experiment: str) -> DataFrame:
    """Return means of the memory at each memory step of a sequence, over the ``n`` examples of the probe batch.

    Means over examples: ``utilisation`` (share of slots in use), ``age_steps`` (mean age of the slots in use, in memory
    steps) and ``write_ratio`` (share of examples with a write). The first two are empty if the model does not record
    them. Means over examples and slots: ``update_rate`` and ``forget_rate``. A replaced slot counts as forgotten and as
    written.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; runs that record no operations give no rows.

    Raises:
        DataError: a trace is missing or corrupt, has another shape, or has an unknown operation.
        ParameterError: the preset has no such experiment.
    """
    rows: list[dict[str, Any]] = []
    for path, spec in traces(params, root, experiment):
        trace = read_trace(path)
        operations = _operations(path, trace)
        if operations is not None:
            rows += [{**key_of(spec), **row} for row in _by_step(path, trace, operations)]
    return run_frame(rows, axes(params, experiment), list(WITHIN_SEQUENCE.middle))


def _operations(path: Path, trace: Trace) -> NDArray[np.int64] | None:
    """Return the codes of operations, (examples, steps, slots); ``None`` if the trace has none."""
    if "operations" not in trace:
        return None
    codes = trace["operations"].astype(np.int64)
    if codes.ndim != 3 or not codes.size:
        raise DataError(f"{path}: operations {codes.shape}; allowed: (examples, steps, slots), none of them 0")
    unknown = codes[(codes < 0) | (codes >= len(OPERATIONS))]
    if len(unknown):
        words = ", ".join(f"{code} {word}" for code, word in enumerate(OPERATIONS))
        raise DataError(f"{path}: operations: code {unknown[0]}; allowed: {words}")
    return codes


def _by_step(path: Path, trace: Trace, operations: NDArray[np.int64]) -> list[dict[str, Any]]:
    means = {name: _mean_by_step(path, trace, name, operations.shape[:2]) for name in ("utilisation", "age_steps")}
    means |= {
        "write_ratio": _is(operations, "write", "replace").any(2).mean(0),
        "update_rate": _is(operations, "update").mean((0, 2)),
        "forget_rate": _is(operations, "forget", "replace").mean((0, 2)),
    }
    return [
        {"step": step, **{name: float(values[step]) for name, values in means.items()}, "n": len(operations)}
        for step in range(operations.shape[1])
    ]


def _is(operations: NDArray[np.int64], *words: str) -> NDArray[np.bool_]:
    return np.isin(operations, [OPERATIONS.index(word) for word in words])


def _mean_by_step(path: Path, trace: Trace, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the mean over examples; NaN if the trace lacks the field."""
    if name not in trace:
        return np.full(shape[1], np.nan)
    values = trace[name].astype(np.float64)
    if values.shape != shape:
        raise DataError(f"{path}: {name} {values.shape}; allowed: {shape}, as for operations")
    return values.mean(0)


def read_write_positions(path: Path) -> DataFrame:
    """Read ``write_positions.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, WRITE_POSITIONS)


def read_lifecycle(path: Path) -> DataFrame:
    """Read ``lifecycle.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, LIFECYCLE)


def read_within_sequence(path: Path) -> DataFrame:
    """Read ``within_sequence.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, WITHIN_SEQUENCE)
