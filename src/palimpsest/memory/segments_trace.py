"""What is seen of a segment memory, and what is measured of it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.memory.segments import SegmentRecord
from palimpsest.memory.stepwise_trace import read_focus
from palimpsest.memory.trace import MemoryTrace


def trace(record: SegmentRecord) -> MemoryTrace:
    """Where each token read."""
    return MemoryTrace(read_weighting=record.read_weights)


def measure(trace: MemoryTrace) -> dict[str, Float[Tensor, " runs"]]:
    """``read_focus``, see :func:`palimpsest.memory.stepwise_trace.read_focus`."""
    return {} if trace.read_weighting is None else {"read_focus": read_focus(trace.read_weighting)}
