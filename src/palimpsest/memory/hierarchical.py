"""Hierarchical memory: levels of slots, each of which sums up the level below and is written less often."""

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
from palimpsest.memory.control import Control, heard, seen
from palimpsest.memory.sizes import at_least_one

GATE_FLOOR = 1e-3
"""A step counts this much in a summary at least, so that no summary is a quotient of nothings."""


class HierarchicalState(NamedTuple):
    """What a :class:`HierarchicalMemory` carries from step to step; slots of all levels stand one after the other."""

    slots: Float[Tensor, "runs batch slots dim"]
    sums: Float[Tensor, "runs batch levels dim"]
    """Σ g v over the steps since each level was last written."""
    mass: Float[Tensor, "runs batch levels"]
    """Σ g over the same steps."""
    steps: Int[Tensor, "runs batch"]
    """Steps so far."""
    read_weights: Float[Tensor, "runs batch heads slots"]
    write_weights: Float[Tensor, "runs batch levels slots"]
    """1 at the slot of each level that was written, 0 elsewhere."""


class HierarchicalMemory(nn.Module):
    """Level 0 holds the latest steps; level l holds summaries of c^l steps each, and so looks further back.

        level 0, every step, in turn:         S⁰_t = v_t, with mass G⁰_t = g_t
        level l, every c^l steps, in turn:    S^l_t = Σ_j G^{l−1}_j S^{l−1}_j / G^l_t,  G^l_t = Σ_j G^{l−1}_j,
                                              over the c entries of level l − 1 that were written since
        read, every step, head by head:       p(l) = softmax_l(z_t) over the levels that hold something
                                              p(i | l) = softmax_{i in l}(β_t cos(k_t, M(i))) over written slots
                                              r_t = Σ_l p(l) Σ_{i in l} p(i | l) M(i)

    A mean of means with these masses is the mean over all c^l steps, and that is how it is computed: from a running sum
    a level, so that it does not matter whether the level below still holds what is summed up. The gate g says how much
    a step counts in summaries. The source names levels, their sizes and connections between them, and gives no
    equation: these are ours. Levels of time scales c^l as in the clockwork RNN [Koutník et al. 2014].

    Args:
        runs: size R of the pack.
        d_in: features of x.
        level_slots: slots of each level, from the fastest on.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        period: c, how many entries of a level one entry of the next sums up; at least 1.

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
        of_levels = {f"level_slots[{number}]": size for number, size in enumerate(level_slots)}
        at_least_one(levels=len(level_slots), **of_levels)
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
        """Levels that hold nothing."""
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
        """Write every level whose turn it is, then read."""
        heads, dim, levels = self.num_read_heads, self.slot_dim, self.num_levels
        value, gate, keys, strengths, preference = self.project(x).split(
            [dim, 1, heads * dim, heads, heads * levels], -1
        )
        steps = state.steps + 1
        entries = steps[..., None] // self.periods
        due = steps[..., None] % self.periods == 0
        counts = GATE_FLOOR + (1 - GATE_FLOOR) * sigmoid(gate)
        sums, mass = state.sums + (counts * value)[:, :, None], state.mass + counts
        write_weights = self._turn(entries, due, x.dtype)
        summaries = sums / mass[..., None]
        slots = erase_and_add(state.slots, write_weights, torch.ones_like(summaries), summaries)
        holds = (self.place < entries[..., self.level]).to(x.dtype)
        visible, written = seen(slots, control), seen(holds, control) > 0
        alike = cosine_similarity(keys.unflatten(-1, (heads, dim)), visible)
        scores = (1 + softplus(strengths))[..., None] * alike
        read_weights = self._address(scores, preference.unflatten(-1, (heads, levels)), written)
        kept = (~due).to(x.dtype)
        after = HierarchicalState(slots, sums * kept[..., None], mass * kept, steps, read_weights, write_weights)
        return heard(read(visible, read_weights), control).flatten(2), after

    def _turn(
        self, entries: Int[Tensor, "runs batch levels"], due: Bool[Tensor, "runs batch levels"], dtype: torch.dtype
    ) -> Float[Tensor, "runs batch levels slots"]:
        """1 at the slot whose turn it is in every level that is written."""
        turn = self.first + (entries - 1) % self.sizes
        slot = torch.arange(self.num_slots, device=turn.device)
        return ((turn[..., None] == slot) & due[..., None]).to(dtype)

    def _address(
        self,
        scores: Float[Tensor, "runs batch heads slots"],
        preference: Float[Tensor, "runs batch heads levels"],
        written: Bool[Tensor, "runs batch slots"],
    ) -> Float[Tensor, "runs batch heads slots"]:
        """p(l) p(i | l); what holds nothing gets nothing. Level 0 always holds something, as a step writes first."""
        least = torch.finfo(scores.dtype).min
        of_levels = preference.masked_fill(~written[..., self.first][:, :, None], least).softmax(-1)
        scores = scores.masked_fill(~written[:, :, None], least)
        within = torch.cat([part.softmax(-1) for part in scores.split(self.level_slots, -1)], -1)
        return of_levels[..., self.level] * within
