"""Temporal memory: an encoder whose states are stored with the time, and memories that reach back differently far.

Axes: R runs, B batch, T time, K scales, N slots, W slot_dim.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.layers.activation import softplus
from palimpsest.layers.cells import GRUCell, GRUState
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product
from palimpsest.memory.addressing import cosine_similarity
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.hierarchical import HierarchicalMemory, HierarchicalState
from palimpsest.memory.sizes import at_least_one

SHORTEST = 4
"""Period of the fastest hand of a clock, in steps."""


class TemporalState(NamedTuple):
    """The state of a :class:`TemporalMemory` between two steps."""

    encoder: GRUState
    scales: Any
    """:class:`HierarchicalState` of each memory, the one that reaches back least first: a named tuple."""

    @property
    def slots(self) -> Float[Tensor, "runs batch slots dim"]:
        """Slots of all scales, one after the other."""
        return torch.cat([scale.slots for scale in self.scales], 2)

    @property
    def read_weights(self) -> Float[Tensor, "runs batch scales slots"]:
        """A head for each scale, which reads the slots of its own."""
        return _side_by_side([scale.read_weights for scale in self.scales])

    @property
    def write_weights(self) -> Float[Tensor, "runs batch scales slots"]:
        """A head for each scale, which writes the slots of its own."""
        return _side_by_side([scale.write_weights for scale in self.scales])


@functools.cache
def _scales(count: int) -> Any:
    """The type of the states of so many memories; a tuple without names could not be read from a file."""
    return NamedTuple("Scales", [(f"scale_{number}", HierarchicalState) for number in range(count)])  # pyright: ignore[reportArgumentType]


def _side_by_side(weights: list[Tensor]) -> Tensor:
    """(R, B, 1, N_k) of K scales as (R, B, K, Σ N_k), zero at the slots of other scales."""
    sizes = [part.shape[-1] for part in weights]
    padded = [F.pad(part, (sum(sizes[:k]), sum(sizes[k + 1 :]))) for k, part in enumerate(weights)]
    return torch.cat(padded, 2)


class TemporalMemory(nn.Module):
    """K memories of the last steps, each with a reach of its own, behind one encoder.

        h_t = GRU(x_t)                       the encoder
        c^k_t: sin and cos of 2π t / P for the periods P = 4, 8, … up to twice the slots N_k
        r^k_t = memory_k([h_t; c^k_t])       :class:`HierarchicalMemory` of one level: written in turn, read by content
        p_t = softmax(W_p h_t)               how much each scale counts
        y_t = max(0, W_y [h_t; p_t(1) r^1_t; …; p_t(K) r^K_t])

    Scale K has N slots, and every scale below half as many as the next, at least one: N_k = ⌈N / 2^(K − k)⌉. A memory
    of N_k slots holds the last N_k steps. The time is part of what is stored, so that a key can ask for what was some
    steps ago: a rotation of the clock's hands is a linear map. Nothing that is read enters the encoder, so that a
    sequence can be gone over at once (:meth:`unroll`).

    The source names the model. In its public code each of K GRUs takes one of K parts of the sequence and hands its
    last state to a hierarchical memory of one level, whose output is weighed by a learned constant.

    Deviates: one GRU takes the whole sequence; it has a clock; the weights depend on the state, as a constant could not
    choose a scale for a sequence; scales have different numbers of slots; the output is not linear. The public code
    makes one step a sequence, so that its memories hold a single entry, and reads and writes have nothing to choose.

    Of the memories' parameters, the weight of a step in summaries and the preference of levels have no effect, as there
    is one level.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        d_hidden: units of the encoder, and features out.
        num_slots: N, of the scale that reaches back most.
        slot_dim: W.
        num_scales: K.

    Raises:
        ParameterError: a size is below one.
    """

    def __init__(self, runs: int, d_in: int, d_hidden: int, num_slots: int, slot_dim: int, num_scales: int = 3) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, d_hidden=d_hidden, num_slots=num_slots, slot_dim=slot_dim)
        at_least_one(num_scales=num_scales)
        self.d_out = d_hidden
        self.scale_slots = slots_of_scales(num_slots, num_scales)
        self.encoder = GRUCell(runs, d_in, d_hidden)
        self.memories = nn.ModuleList(
            HierarchicalMemory(runs, d_hidden + 2 * len(periods(slots)), (slots,), slot_dim)
            for slots in self.scale_slots
        )
        self.weigh = Linear(runs, d_hidden, num_scales)
        self.combine = Linear(runs, d_hidden + num_scales * slot_dim, d_hidden)

    def initial_state(self, batch: int) -> TemporalState:
        """Return an encoder at zero and empty memories."""
        return TemporalState(
            self.encoder.initial_state(batch),
            self._together(memory.initial_state(batch) for memory in self.memories),  # type: ignore[operator]
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: TemporalState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], TemporalState]:
        """Encode, then write and read every scale."""
        hidden, encoder = self.encoder.step(x, state.encoder)
        reads, scales = [], []
        for memory, before in zip(self.memories, state.scales, strict=True):
            timed = torch.cat([hidden, clock(before.steps, memory.num_slots, x.dtype)], -1)  # type: ignore[arg-type]
            out, after = memory.step(timed, before, control)  # type: ignore[operator]
            reads.append(out)
            scales.append(after)
        return self._combined(hidden, reads), TemporalState(encoder, self._together(scales))

    def unroll(
        self, xs: Float[Tensor, "runs batch time d_in"], state: TemporalState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch time d_out"], TemporalState]:
        """Take T steps: the encoder one after the other, each scale all at once."""
        encoder, outputs = state.encoder, []
        for of_input in self.encoder.of_input(xs).unbind(2):
            h, encoder = self.encoder.advance(of_input, encoder)
            outputs.append(h)
        hidden = torch.stack(outputs, 2)
        reads, scales = [], []
        for memory, before in zip(self.memories, state.scales, strict=True):
            steps = before.steps[..., None] + torch.arange(xs.shape[2], device=xs.device)
            timed = torch.cat([hidden, clock(steps, memory.num_slots, xs.dtype)], -1)  # type: ignore[arg-type]
            out, after = all_at_once(memory, timed, before, control)  # type: ignore[arg-type]
            reads.append(out)
            scales.append(after)
        return self._combined(hidden, reads), TemporalState(encoder, self._together(scales))

    def _together(self, scales: Iterable[HierarchicalState]) -> Any:
        return _scales(len(self.memories))(*scales)

    def _combined(self, hidden: Float[Tensor, "runs *inner hidden"], reads: list[Tensor]) -> Tensor:
        weights = self.weigh(hidden).softmax(-1).split(1, -1)
        weighted = [weight * read for weight, read in zip(weights, reads, strict=True)]
        return self.combine(torch.cat([hidden, *weighted], -1)).relu()


def slots_of_scales(num_slots: int, num_scales: int) -> tuple[int, ...]:
    """N_k of every scale, the one that reaches back least first.

    >>> slots_of_scales(16, 3), slots_of_scales(3, 4)
    ((4, 8, 16), (1, 1, 2, 3))
    """
    return tuple(-(-num_slots // 2**behind) for behind in range(num_scales - 1, -1, -1))


def periods(num_slots: int) -> list[int]:
    """Periods of a clock that tells the steps of a memory apart: 4, 8, … up to twice its slots, and 4 at least.

    >>> periods(16), periods(1)
    ([4, 8, 16, 32], [4])
    """
    return [SHORTEST * 2**hand for hand in range(max(1, (num_slots // 2).bit_length()))]


def clock(steps: Int[Tensor, "*shape"], num_slots: int, dtype: torch.dtype) -> Float[Tensor, "*shape hands"]:
    """Return sin and cos of 2π t / P for every period P.

    Args:
        steps: t.
        num_slots: of the memory whose steps are told apart.
        dtype: of the result. Angles are computed modulo the period, so that long sequences lose nothing.
    """
    every = torch.tensor(periods(num_slots), device=steps.device)
    angle = (steps[..., None] % every).double() * (2 * math.pi / every)
    return torch.cat([angle.sin(), angle.cos()], -1).to(dtype)


def all_at_once(
    memory: HierarchicalMemory,
    xs: Float[Tensor, "runs batch time d_in"],
    state: HierarchicalState,
    control: Control,
) -> tuple[Float[Tensor, "runs batch time dim"], HierarchicalState]:
    """Take T steps of a memory of one level and one head, as its ``step`` does, one product for all of them.

    What is written depends on no read, so that step t sees the N entries up to its own: a band of those of the state,
    from old to new, and the new ones.
    """
    dim, slots = memory.slot_dim, memory.num_slots
    values, _, keys, strength, _ = memory.project(xs).split([dim, 1, dim, 1, 1], -1)
    order = (state.steps[..., None] + torch.arange(slots, device=xs.device)) % slots  # of slots, oldest entry first
    old = state.slots.gather(2, order[..., None].expand(*order.shape, dim))
    entries = torch.cat([old, values], 2)
    seen = _seen(state.steps, slots, xs.shape[2])
    visible = shuffle_memory(entries, control)
    scores = (1 + softplus(strength)) * cosine_similarity(keys, visible)
    weights = scores.masked_fill(~shuffle_memory(seen, control), torch.finfo(scores.dtype).min).softmax(-1)
    reads = silence_reads(product(weights, visible), control)
    return reads, _after(state, entries, weights[:, :, -1:], xs.shape[2])


def _seen(steps: Int[Tensor, "runs batch"], slots: int, time: int) -> Bool[Tensor, "runs batch time entries"]:
    """Whether a step sees an entry: it is one of the last N, and is there."""
    entry, step = torch.arange(slots + time, device=steps.device), torch.arange(time, device=steps.device)[:, None]
    band = (entry > step) & (entry <= step + slots)
    return band & (entry >= slots - steps[..., None, None])


def _after(
    state: HierarchicalState,
    entries: Float[Tensor, "runs batch entries dim"],
    weights: Float[Tensor, "runs batch 1 entries"],
    time: int,
) -> HierarchicalState:
    """The state behind the last step: its last N entries, each at the slot of its turn."""
    slots = state.slots.shape[2]
    steps = state.steps + time
    place = torch.arange(slots, device=steps.device)
    newest = (place - steps[..., None]) % slots  # which of the last N entries a slot has, from old to new
    kept, weights = entries[:, :, -slots:], weights[..., -slots:]
    return state._replace(
        slots=kept.gather(2, newest[..., None].expand_as(kept)),
        steps=steps,
        read_weights=weights.gather(3, newest[:, :, None]),
        write_weights=((steps[..., None] - 1) % slots == place)[:, :, None].to(weights.dtype),
    )
