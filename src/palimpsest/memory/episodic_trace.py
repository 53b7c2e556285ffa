"""What is seen of an episodic memory, and what is measured of it beside the training log."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.memory.episodic_log import EpisodicRecord
from palimpsest.memory.trace import MemoryTrace


def trace(record: EpisodicRecord) -> MemoryTrace:
    """The record, field by field."""
    return MemoryTrace(**record._asdict())


def measure(trace: MemoryTrace) -> dict[str, Float[Tensor, " runs"]]:
    """Nothing yet: every metric of this memory is in the training log."""
    del trace
    return {}
