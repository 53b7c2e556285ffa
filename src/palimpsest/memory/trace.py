"""What a memory did, in one form for every model, so that every figure works for every model.

A model returns a *record*: what its mechanism has at hand after a forward pass. Beside the module of a record stands
one of the same name with ``_trace`` that turns the record into a :class:`MemoryTrace` and measures it; a module whose
name ends in ``_log`` is beside the one without that ending. Training imports none of them.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from jaxtyping import Float
from torch import Tensor


class MemoryTrace(NamedTuple):
    """Record of one forward pass; what a model does not have is ``None``.

    Axes: R runs, B batch, T time, N slots. Time counts tokens where every token may be written, and memory steps where
    the memory takes a step a chunk.
    """

    write_gate: Tensor | None = None
    """(R, B, T), in [0, 1]: probability of a write at each token."""
    writes: Tensor | None = None
    """(R, B, T), 0 or 1: what was written."""
    read_weights: Tensor | None = None
    """(R, B, N), non-negative: how much of each slot was read."""
    slot_time: Tensor | None = None
    """(R, B, N), int64: the time step that each slot holds, −1 where it holds none."""
    usage: Tensor | None = None
    """(R, B, N): how often a slot was read."""
    age: Tensor | None = None
    """(R, B, N), steps: how long ago a slot was written."""
    alive: Tensor | None = None
    """(R, B, N), 0 or 1: whether a slot holds something."""
    operations: Tensor | None = None
    """(R, B, T, N), int64: what has happened to each slot, as :mod:`palimpsest.memory.lifecycle` numbers it."""
    utilisation: Tensor | None = None
    """(R, B, T), in [0, 1]: share of slots that hold something after each step."""
    age_steps: Tensor | None = None
    """(R, B, T), steps: mean age of the slots that hold something and were not just written, after each step."""
    over_budget: Tensor | None = None
    """(R, B, T), 0 or 1: whether a step executed more operations than its budget."""

    read_weighting: Tensor | None = None
    """(R, B, T, H, N), non-negative, sums to at most 1: where each read head read at each time step."""
    write_weighting: Tensor | None = None
    """(R, B, T, H, N), non-negative, sums to at most 1: where each write head wrote at each time step."""
    usage_steps: Tensor | None = None
    """(R, B, T, N), in [0, 1]: usage of each slot after each time step."""
    link: Tensor | None = None
    """(R, B, N, N), in [0, 1]: how surely the row's slot was written right after the column's, at the end."""

    def present(self) -> dict[str, Tensor]:
        """The fields that this model has, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


@runtime_checkable
class TraceModule(Protocol):
    """What a module with the ending ``_trace`` exports."""

    def trace(self, record: Any) -> MemoryTrace:
        """Turn a record into a trace."""
        ...

    def measure(self, trace: MemoryTrace) -> dict[str, Float[Tensor, " runs"]]:
        """Measure a trace: means over the examples of a batch by name, float64; no name of the training log."""
        ...


def trace_of(record: Any) -> MemoryTrace:
    """Return the trace of a record; an empty one of ``None``, which models without a memory return."""
    return MemoryTrace() if record is None else _module_of(record).trace(record)


def measures_of(record: Any) -> dict[str, Float[Tensor, " runs"]]:
    """Return what is measured of a record's trace: means over the examples of a batch by name, float64."""
    return {} if record is None else _module_of(record).measure(trace_of(record))


def module_beside(module: str) -> str:
    """Return the name of the module that turns the records of a module into traces."""
    return f"{module.removesuffix('_log')}_trace"


def _module_of(record: Any) -> TraceModule:
    return cast(TraceModule, importlib.import_module(module_beside(type(record).__module__)))
