"""Hierarchical memory: levels of slots; each level summarises the level below and is written less often."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import cosine_similarity, erase_and_add, read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.sizes import at_least_one

GATE_FLOOR = 1e-3
"""Smallest weight of a step in a summary, so that no summary divides zero by zero."""


class HierarchicalState(NamedTuple):
    """The state of a :class:`HierarchicalMemory` between two steps; slots of all levels lie one after the other."""

    slots: Float[Tensor, "runs batch slots dim"]
    sums: Float[Tensor, "runs batch levels dim"]
    """Σ g v over the steps since each level was last written."""
    mass: Float[Tensor, "runs batch levels"]
    """Σ g over the same steps."""
    steps: Int[Tensor, "runs batch"]
    """Number of steps so far."""
    read_weights: Float[Tensor, "runs batch heads slots"]
    write_weights: Float[Tensor, "runs batch levels slots"]
    """1 at the slot that was written in each level, 0 elsewhere."""


class HierarchicalMemory(nn.Module):
    """Level 0 holds the latest steps; level l holds summaries of c^l steps each, and so reaches further back.

        level 0, every step, in turn:         S⁰_t = v_t, with mass G⁰_t = g_t
        level l, every c^l steps, in turn:    S^l_t = Σ_j G^{l−1}_j S^{l−1}_j / G^l_t,  G^l_t = Σ_j G^{l−1}_j,
                                              over the c entries of level l − 1 that were written since
        read, every step, head by head:       p(l) = softmax_l(z_t) over the levels that hold something
                                              p(i | l) = softmax_{i in l}(β_t cos(k_t, M(i))) over written slots
                                              r_t = Σ_l p(l) Σ_{i in l} p(i | l) M(i)

    A mean of means with these masses is the mean over all c^l steps. So it is computed from one running sum a level,
    and the level below may already have overwritten the entries that are summarised. The gate g is the weight of a step
    in summaries. The source names levels, their sizes and connections between them, but gives no equation: these
    equations are ours. The time scales c^l of the levels are those of the clockwork RNN [Koutník et al. 2014].

    Args:
        runs: size R of the pack.
        d_in: features of x.
        level_slots: slots of each level, the fastest level first.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        period: c, number of entries of a level that one entry of the next level summarises; at least 1.

    Raises:
        ParameterError: a size is below one, or there is no level.
    """

    sizes: Int[Tensor, " levels"]
    periods: Int[Tensor, " levels"]
    first: Int[Tensor, " levels"]
    level: Int[Tensor, " slots"]
    place: Int[Tensor, " slots"]

    def __init__(
        self,
        runs: int,
        d_in: int,
        level_slots: Sequence[int],
        slot_dim: int,
        num_read_heads: int = 1,
        *,
        period: int = 4,
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, slot_dim=slot_dim, num_read_heads=num_read_heads, period=period)
        level_sizes = {f"level_slots[{number}]": size for number, size in enumerate(level_slots)}
        at_least_one(levels=len(level_slots), **level_sizes)
        self.level_slots, self.slot_dim, self.num_read_heads = tuple(level_slots), slot_dim, num_read_heads
        self.num_slots, self.num_levels = sum(level_slots), len(level_slots)
        self.d_out = num_read_heads * slot_dim
        self.project = Linear(runs, d_in, slot_dim + 1 + num_read_heads * (slot_dim + 1 + self.num_levels))
        sizes = torch.tensor(self.level_slots)
        first = torch.tensor([0, *itertools.accumulate(self.level_slots)][:-1])
        level = torch.arange(self.num_levels).repeat_interleave(sizes, output_size=self.num_slots)
        self.register_buffer("sizes", sizes, persistent=False)
        periods = torch.tensor([period**number for number in range(self.num_levels)])
        self.register_buffer("periods", periods, persistent=False)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("level", level, persistent=False)
        self.register_buffer("place", torch.arange(self.num_slots) - first[level], persistent=False)

    def initial_state(self, batch: int) -> HierarchicalState:
        """Return a state in which all levels are empty."""
        weight = self.project.weight
        shape = (len(weight), batch)
        return HierarchicalState(
            slots=weight.new_zeros(*shape, self.num_slots, self.slot_dim),
            sums=weight.new_zeros(*shape, self.num_levels, self.slot_dim),
            mass=weight.new_zeros(*shape, self.num_levels),
            steps=torch.zeros(shape, dtype=torch.int64, device=weight.device),
            read_weights=weight.new_zeros(*shape, self.num_read_heads, self.num_slots),
            write_weights=weight.new_zeros(*shape, self.num_levels, self.num_slots),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: HierarchicalState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], HierarchicalState]:
        """Write every level that is due, then read."""
        heads, dim, levels = self.num_read_heads, self.slot_dim, self.num_levels
        value, gate, keys, strengths, preference = self.project(x).split(
            [dim, 1, heads * dim, heads, heads * levels], -1
        )
        steps = state.steps + 1
        entries = steps[..., None] // self.periods
        due = steps[..., None] % self.periods == 0
        weight = GATE_FLOOR + (1 - GATE_FLOOR) * sigmoid(gate)
        sums, mass = state.sums + (weight * value)[:, :, None], state.mass + weight
        write_weights = self._write_weights(entries, due, x.dtype)
        summaries = sums / mass[..., None]
        slots = erase_and_add(state.slots, write_weights, torch.ones_like(summaries), summaries)
        filled = (self.place < entries[..., self.level]).to(x.dtype)
        visible, written = shuffle_memory(slots, control), shuffle_memory(filled, control) > 0
        similarity = cosine_similarity(keys.unflatten(-1, (heads, dim)), visible)
        scores = (1 + softplus(strengths))[..., None] * similarity
        read_weights = self._address(scores, preference.unflatten(-1, (heads, levels)), written)
        keep = (~due).to(x.dtype)
        after = HierarchicalState(slots, sums * keep[..., None], mass * keep, steps, read_weights, write_weights)
        return silence_reads(read(visible, read_weights), control).flatten(2), after

    def _write_weights(
        self, entries: Int[Tensor, "runs batch levels"], due: Bool[Tensor, "runs batch levels"], dtype: torch.dtype
    ) -> Float[Tensor, "runs batch levels slots"]:
        """Return 1 at the next slot of every level that is due; slots are written in turn."""
        next_slot = self.first + (entries - 1) % self.sizes
        slot = torch.arange(self.num_slots, device=next_slot.device)
        return ((next_slot[..., None] == slot) & due[..., None]).to(dtype)

    def _address(
        self,
        scores: Float[Tensor, "runs batch heads slots"],
        preference: Float[Tensor, "runs batch heads levels"],
        written: Bool[Tensor, "runs batch slots"],
    ) -> Float[Tensor, "runs batch heads slots"]:
        """Return p(l) p(i | l), 0 for empty levels and slots; level 0 is never empty, because a step writes first."""
        lowest = torch.finfo(scores.dtype).min
        level_weights = preference.masked_fill(~written[..., self.first][:, :, None], lowest).softmax(-1)
        scores = scores.masked_fill(~written[:, :, None], lowest)
        slot_weights = torch.cat([part.softmax(-1) for part in scores.split(self.level_slots, -1)], -1)
        return level_weights[..., self.level] * slot_weights


LEVELS = 3
"""Levels of a memory from :func:`build`, if there are as many slots."""


def build(runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1) -> HierarchicalMemory:
    """The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`.

    The slots are divided among the levels, the faster ones first.
    """
    return HierarchicalMemory(runs, d_in, levels_of(num_slots), slot_dim, num_read_heads)


def levels_of(num_slots: int) -> tuple[int, ...]:
    """So many slots in ``LEVELS`` levels that differ by one at most.

    >>> levels_of(8), levels_of(2)
    ((3, 3, 2), (1, 1))

    Raises:
        ParameterError: there is no slot.
    """
    at_least_one(num_slots=num_slots)
    levels = min(LEVELS, num_slots)
    return tuple(num_slots // levels + (level < num_slots % levels) for level in range(levels))
