"""What is seen of memories that are read and written softly at every step, and what is measured of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from palimpsest.memory.observable import observable
from palimpsest.memory.stepwise import StepwiseRecord
from palimpsest.memory.trace import MemoryTrace

RANGES = {"slots_written": (0, 1), "read_focus": (0, 1)}


class Look(NamedTuple):
    """What can be seen of a memory after a step; ``None`` for what it does not have."""

    read_weights: Tensor | None
    write_weights: Tensor | None
    usage: Tensor | None


def look(state: Any) -> Look | None:
    """Look at the state of a memory, without gradients; ``None`` where there is nothing to see."""
    seen = Look(
        read_weights=_detached(observable(state, "read_weights")),
        write_weights=_detached(observable(state, "write_weights")),
        usage=_detached(observable(state, "usage")),
    )
    return None if all(part is None for part in seen) else seen


def _detached(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach()


def trace(record: StepwiseRecord) -> MemoryTrace:
    """Stack what was seen over time; links are those at the end."""

    def stacked(name: str) -> Tensor | None:
        parts = [part for part in (getattr(seen, name) for seen in record.seen) if part is not None]
        return torch.stack(parts, 2) if parts else None

    return MemoryTrace(
        read_weighting=stacked("read_weights"),
        write_weighting=stacked("write_weights"),
        usage_steps=stacked("usage"),
        link=_detached(observable(record.state, "link")),
    )


def measure(trace: MemoryTrace) -> dict[str, Float[Tensor, " runs"]]:
    """``slots_written``, the share of slots of :func:`slots_written`, and :func:`read_focus`."""
    means = {}
    if trace.write_weighting is not None:
        means["slots_written"] = slots_written(trace.write_weighting).double().mean((1, 2))
    if trace.read_weighting is not None:
        means["read_focus"] = read_focus(trace.read_weighting)
    return means


def slots_written(weights: Float[Tensor, "runs batch time heads slots"]) -> Bool[Tensor, "runs batch slots"]:
    """Which slots have been written more likely than not: 1 − Π (1 − w) > ½ over times and heads.

    That is the usage of slots that are never freed [Graves et al. 2016, Methods].
    """
    return (1 - weights.double()).flatten(2, 3).prod(2) < 0.5


def read_focus(weights: Float[Tensor, "runs batch time heads slots"]) -> Float[Tensor, " runs"]:
    """Mean of the largest weight of a read, float64: 1 where every read takes a single slot."""
    return weights.amax(-1).double().mean((1, 2, 3))
