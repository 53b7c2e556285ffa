"""What is seen of slots beside a network, and what is measured of them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.memory.enhanced import EnhancedRecord
from palimpsest.memory.stepwise_trace import read_focus
from palimpsest.memory.trace import MemoryTrace


def trace(record: EnhancedRecord) -> MemoryTrace:
    """Where each token read; nothing before the first complete segment."""
    return MemoryTrace(read_weighting=record.read_weights.detach())


def measure(trace: MemoryTrace) -> dict[str, Float[Tensor, " runs"]]:
    """``read_focus``, see :func:`palimpsest.memory.stepwise_trace.read_focus`."""
    assert trace.read_weighting is not None
    return {"read_focus": read_focus(trace.read_weighting)}
