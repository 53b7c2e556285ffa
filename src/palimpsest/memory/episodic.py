"""Episodic memory: N slots that hold the latest vectors written, first in, first out (source 000)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

_WRITTEN_FIRST = 1 << 40  # larger than any time step: a written vector ranks before every unwritten one


class EpisodicState(NamedTuple):
    """What an episodic memory holds; axes R runs, B batch, N slots, D features."""

    slots: Float[Tensor, "runs batch slots dim"]
    weight: Float[Tensor, "runs batch slots"]
    """1 where a slot holds a written vector, 0 where it is free."""
    time: Int[Tensor, "runs batch slots"]
    """Step at which the slot's vector came by; −1 − i for slot i that has never held anything."""
    steps: int
    """Vectors seen so far, written or not."""


def initial_state(
    runs: int, batch: int, num_slots: int, dim: int, *, device: torch.device | str = "cpu"
) -> EpisodicState:
    """An empty memory."""
    return EpisodicState(
        slots=torch.zeros(runs, batch, num_slots, dim, device=device),
        weight=torch.zeros(runs, batch, num_slots, device=device),
        time=(-1 - torch.arange(num_slots, device=device)).expand(runs, batch, num_slots),
        steps=0,
    )


def append(
    state: EpisodicState,
    vectors: Float[Tensor, "runs batch time dim"],
    weight: Float[Tensor, "runs batch time"],
) -> EpisodicState:
    """Write the vectors whose weight is 1, in order; a full memory forgets its oldest vector for each new one.

    The memory holds the N latest written vectors: FIFO, without a loop over time. A slot that is free holds the
    *shadow* of the latest unwritten vector: its weight is 0, so that no read can see it, but a gate trained with
    straight-through gradients learns through it what writing that vector would have been worth. "The N latest, the
    written before the unwritten" is a total order, so a sequence written at once equals its chunks written in turn.

    Args:
        state: the memory before.
        vectors: candidates, oldest first.
        weight: 0 or 1 each, possibly with a straight-through gradient.
    """
    num_slots, time = state.weight.shape[-1], weight.shape[-1]
    now = torch.arange(state.steps, state.steps + time, device=weight.device).expand(weight.shape)
    times = torch.cat([state.time, now], -1)
    weights = torch.cat([state.weight, weight], -1)
    rank = times + (weights.detach() > 0.5) * _WRITTEN_FIRST
    kept = rank.topk(num_slots, sorted=True).indices
    slots = torch.cat([state.slots, vectors], -2)
    return EpisodicState(
        slots=slots.gather(-2, kept[..., None].expand(*kept.shape, slots.shape[-1])),
        weight=weights.gather(-1, kept),
        time=times.gather(-1, kept),
        steps=state.steps + time,
    )


def written_time(state: EpisodicState) -> Int[Tensor, "runs batch slots"]:
    """Step of each slot's vector, −1 for free slots."""
    return torch.where(state.weight.detach() > 0.5, state.time, -1)
