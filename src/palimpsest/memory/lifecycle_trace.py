"""What is seen of a memory with a lifecycle, and what is measured of it beside the training log."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.memory.lifecycle_log import LifecycleRecord
from palimpsest.memory.trace import MemoryTrace


def trace(record: LifecycleRecord) -> MemoryTrace:
    """The record, with usage and age of every slot at the end."""
    state = record.state
    return MemoryTrace(
        write_gate=record.write_gate,
        writes=record.writes,
        read_weights=record.read_weights,
        slot_time=record.slot_time,
        usage=state.usage,
        age=state.age,
        alive=record.alive,
        operations=record.operations,
        utilisation=record.utilisation,
        age_steps=record.age_steps,
        over_budget=record.over_budget,
    )


def measure(trace: MemoryTrace) -> dict[str, Float[Tensor, " runs"]]:
    """Nothing yet: every metric of this memory is in the training log."""
    del trace
    return {}
