"""The Neural Turing Machine: a controller with heads that address a memory by content and by location.

[Graves, Wayne, Danihelka 2014], "Neural Turing Machines".

Axes: R runs, B batch, H heads, N slots, W slot_dim, K shifts.

In a step, all heads compute their weightings on the memory M_{t−1} of the step before, the read heads read it, and the
write heads then change it into M_t. The paper leaves this order open. It also leaves the first state open. Here every
head starts at slot 0 or at a learned place, and the first reads are zero. With uniform first weightings the heads could
never distinguish the slots of a constant memory, because no operation of a step depends on the slot number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.cells import FeedForwardCell, GRUCell, LSTMCell, LSTMState
from palimpsest.layers.linear import Linear
from palimpsest.memory.addressing import (
    SIMILARITIES,
    Keys,
    PerHead,
    Slots,
    Weighting,
    content_weights,
    cosine_similarity,
    dot_similarity,
    erase_and_add,
    location_weights,
    read,
)
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.fast.ntm import NTMAccess
from palimpsest.memory.fast.sequence import Carried, Weights, unrolled
from palimpsest.memory.sizes import at_least_one, within

CONTROLLERS: dict[str, type[LSTMCell | GRUCell | FeedForwardCell]] = {
    "lstm": LSTMCell,
    "gru": GRUCell,
    "feedforward": FeedForwardCell,
}
MEMORIES = ("constant", "learned", "random")
PLACES = ("first", "learned")
CONSTANT = 1e-6
"""Initial value of a constant memory [Collier, Beel 2018, "Implementing Neural Turing Machines"]."""
SPREAD = 0.5
"""Standard deviation of a random memory, and of the initial values of a learned memory [Collier, Beel 2018]."""


class NTMState(NamedTuple):
    """What an NTM carries from step to step."""

    controller: Any
    """State of the controller."""
    slots: Slots
    """M."""
    read_weights: Weighting
    """w of the read heads."""
    write_weights: Weighting
    """w of the write heads."""
    reads: Float[Tensor, "runs batch reads"]
    """r of all read heads, side by side."""


class Heads(NamedTuple):
    """Parameters of the heads in one step; read heads come first."""

    key: Keys
    """k."""
    strength: PerHead
    """β ≥ 0."""
    gate: PerHead
    """g in [0, 1]."""
    kernel: Float[Tensor, "runs batch heads shifts"]
    """s, sums to one."""
    sharpness: PerHead
    """γ ≥ 1."""
    erase: Float[Tensor, "runs batch write_heads dim"]
    """e in [0, 1]."""
    add: Float[Tensor, "runs batch write_heads dim"]
    """a."""


class HeadOutputs(NamedTuple):
    """What the heads compute in one step: weightings, reads, and what the write heads write."""

    read_weights: Weighting
    """w of the read heads."""
    write_weights: Weighting
    """w of the write heads."""
    reads: Float[Tensor, "runs batch read_heads dim"]
    """r."""
    erase: Float[Tensor, "runs batch write_heads dim"]
    """e in [0, 1]."""
    add: Float[Tensor, "runs batch write_heads dim"]
    """a."""


class NTMCell(nn.Module):
    """One step of a Neural Turing Machine; the output is the controller's output and the reads, side by side.

        h = controller([x; r_{t−1}])            β = softplus    g = σ    s = softmax    γ = 1 + softplus    e = σ
        w = hybrid addressing of M_{t−1}        r = Σ_i w(i) M_{t−1}(i)        M_t = erase, then add

    Every head parameter is a linear function of h, followed by the nonlinearity named above; keys and add vectors have
    none.

    Args:
        runs: size R of the pack.
        d_in: features in.
        d_hidden: units of the controller.
        num_slots: N.
        slot_dim: W.
        num_read_heads: number of read heads.
        num_write_heads: number of write heads.
        max_shift: number of slots by which a step can move a head, in both directions.
        controller: ``lstm``, ``gru`` or ``feedforward``.
        memory: M_0, the same for every sequence: ``constant`` 10⁻⁶, ``learned`` by gradient, or ``random``, drawn once.
        weights: w_0; ``first``: all weight at slot 0; ``learned``: softmax of a parameter.
        similarity: of keys and slots, ``cosine`` or ``dot``.
        softmax_over: ``slots``; or ``batch``, a defect of source 004's public code. Its softmax goes over the wrong
            axis, so the addresses of a sequence depend on the other sequences in the batch.

    Raises:
        ParameterError: a size is not positive, ``max_shift`` needs more shifts than there are slots, or a name is
            unknown.
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        d_hidden: int,
        num_slots: int,
        slot_dim: int,
        *,
        num_read_heads: int = 1,
        num_write_heads: int = 1,
        max_shift: int = 1,
        controller: str = "lstm",
        memory: str = "constant",
        weights: str = "first",
        similarity: str = "cosine",
        softmax_over: str = "slots",
    ) -> None:
        super().__init__()
        at_least_one(d_in=d_in, d_hidden=d_hidden, num_slots=num_slots, slot_dim=slot_dim)
        at_least_one(num_read_heads=num_read_heads, num_write_heads=num_write_heads)
        within("max_shift", max_shift, 0, (num_slots - 1) // 2)
        _one_of("controller", controller, CONTROLLERS)
        _one_of("memory", memory, MEMORIES)
        _one_of("weights", weights, PLACES)
        _one_of("similarity", similarity, SIMILARITIES)
        _one_of("softmax_over", softmax_over, ("slots", "batch"))
        self.num_slots, self.slot_dim, self.similarity = num_slots, slot_dim, similarity
        self.num_read_heads, self.num_heads = num_read_heads, num_read_heads + num_write_heads
        self.d_out = d_hidden + num_read_heads * slot_dim
        self.controller = CONTROLLERS[controller](runs, d_in + num_read_heads * slot_dim, d_hidden)
        # One product computes all parameters of all heads; those with the same nonlinearity lie side by side.
        self.parts = [
            self.num_heads * slot_dim,  # keys
            num_write_heads * slot_dim,  # add vectors
            self.num_heads * (2 * max_shift + 1),  # shifts
            2 * self.num_heads,  # strength and sharpness
            self.num_heads + num_write_heads * slot_dim,  # gates and erase vectors
        ]
        self.compiled = False
        self.over_slots = softmax_over == "slots"
        common = controller == "lstm" and similarity == "cosine" and self.over_slots
        self.has_fast_pass = common and num_write_heads == 1
        self.heads = Linear(runs, d_hidden, sum(self.parts))
        slots = torch.empty(runs, num_slots, slot_dim)
        self.memory = nn.Parameter(slots) if memory == "learned" else None
        self.fixed: Tensor | None
        self.register_buffer("fixed", slots if memory == "random" else None)
        self.places = nn.Parameter(torch.empty(runs, self.num_heads, num_slots)) if weights == "learned" else None

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw the first memory and the first places of every run; controller and heads draw their own parameters."""
        for drawn, spread in ((self.memory, SPREAD), (self.fixed, SPREAD), (self.places, 1.0)):
            if drawn is not None:
                for part, generator in zip(drawn, generators, strict=True):
                    part.normal_(std=spread, generator=generator)

    def initial_state(self, batch: int) -> NTMState:
        """Return the state before the first step, see the top of this file."""
        weight = self.heads.weight
        runs, dim = len(weight), self.slot_dim
        slots = self.memory if self.memory is not None else self.fixed
        if slots is None:
            slots = weight.new_full((runs, self.num_slots, dim), CONSTANT)
        if self.places is not None:
            weights = self.places.softmax(-1)
        else:
            weights = weight.new_zeros(runs, self.num_heads, self.num_slots)
            weights[..., 0] = 1
        read_weights, write_weights = weights[:, None].expand(-1, batch, -1, -1).split(self._head_counts(), 2)
        reads = weight.new_zeros(runs, batch, self.num_read_heads * dim)
        controller = self.controller.initial_state(batch)
        return NTMState(controller, slots[:, None].expand(-1, batch, -1, -1), read_weights, write_weights, reads)

    def _head_counts(self) -> list[int]:
        return [self.num_read_heads, self.num_heads - self.num_read_heads]

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: NTMState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], NTMState]:
        """Take one step, equation by equation; return [h; r] and the next state."""
        hidden, controller = self.controller.step(torch.cat([x, state.reads], -1), state.controller)
        heads = self.attend(hidden, state, control)
        reads = silence_reads(heads.reads, control).flatten(2)
        slots = erase_and_add(state.slots, heads.write_weights, heads.erase, heads.add)
        after = NTMState(controller, slots, heads.read_weights, heads.write_weights, reads)
        return torch.cat([hidden, reads], -1), after

    def unroll(
        self, xs: Float[Tensor, "runs batch time d_in"], state: NTMState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch time d_out"], NTMState]:
        """Return the outputs of all steps of a sequence, (R, B, T, d_out), and the last state.

        Except under ``shuffled``, with an LSTM, cosine similarity and one write head it takes a fraction of the time of
        calls of :meth:`step`, and rounds differently. Half precision always uses :meth:`step`, whose equations are safe
        for it.
        """
        full_precision = xs.dtype in (torch.float32, torch.float64)
        if self.has_fast_pass and full_precision and control != "shuffled":
            return self._unroll_fast(xs, state, reading=control != "off")
        outputs = []
        for x in xs.unbind(2):
            y, state = self.step(x, state, control)
            outputs.append(y)
        return torch.stack(outputs, 2), state

    def _unroll_fast(
        self, xs: Float[Tensor, "runs batch time d_in"], state: NTMState, *, reading: bool
    ) -> tuple[Float[Tensor, "runs batch time d_out"], NTMState]:
        """Compute all steps as one autograd node, see :mod:`palimpsest.memory.fast.sequence`."""
        weights = torch.cat([state.read_weights, state.write_weights], 2)
        hidden, cell = state.controller
        carried = Carried(hidden, cell, state.reads, (state.slots, weights))
        access = NTMAccess(tuple(self.parts))
        outputs, after = unrolled(access, xs, carried, self._weights(), reading=reading, compiled=self.compiled)
        slots, weights = after.memory
        read_weights, write_weights = weights.split(self._head_counts(), 2)
        controller = LSTMState(after.hidden, after.cell)
        return outputs, NTMState(controller, slots, read_weights, write_weights, after.reads)

    def _weights(self) -> Weights:
        controller, heads = self.controller, self.heads
        assert isinstance(controller, LSTMCell)
        of_input = controller.of_input
        return Weights(of_input.weight, of_input.bias, controller.recurrent, heads.weight, heads.bias)

    def attend(
        self, hidden: Float[Tensor, "runs batch hidden"], state: NTMState, control: Control = "on"
    ) -> HeadOutputs:
        """Compute weightings and reads of all heads; under ``shuffled``, read heads address the neighbour's memory."""
        heads = self.head_parameters(hidden)
        visible = shuffle_memory(state.slots, control)
        content = self.content(heads, state.slots)
        if control == "shuffled":
            visible_content = self.content(heads, visible)
            content = torch.cat([visible_content[:, :, : self.num_read_heads], content[:, :, self.num_read_heads :]], 2)
        previous = torch.cat([state.read_weights, state.write_weights], 2)
        weights = location_weights(content, previous, heads.gate, heads.kernel, heads.sharpness)
        read_weights, write_weights = weights.split(self._head_counts(), 2)
        return HeadOutputs(read_weights, write_weights, read(visible, read_weights), heads.erase, heads.add)

    def content(self, heads: Heads, slots: Slots) -> Weighting:
        """Return the weightings of all heads by content alone."""
        if self.over_slots:
            return content_weights(heads.key, slots, heads.strength, self.similarity)
        similarity = (cosine_similarity if self.similarity == "cosine" else dot_similarity)(heads.key, slots)
        return (heads.strength[..., None] * similarity).transpose(1, -1).softmax(-1).transpose(1, -1)

    def head_parameters(self, hidden: Float[Tensor, "runs batch hidden"]) -> Heads:
        """Compute the parameters of the heads from the controller's output."""
        count, inner = self.num_heads, hidden.shape[:2]
        key, add, kernel, positive, bounded = self.heads(hidden).split(self.parts, -1)
        strength, sharpness = softplus(positive).split(count, -1)
        gate, erase = sigmoid(bounded).split([count, bounded.shape[-1] - count], -1)
        return Heads(
            key=key.reshape(*inner, count, self.slot_dim),
            strength=strength,
            gate=gate,
            kernel=kernel.reshape(*inner, count, -1).softmax(-1),
            sharpness=1 + sharpness,
            erase=erase.reshape(*inner, -1, self.slot_dim),
            add=add.reshape(*inner, -1, self.slot_dim),
        )


def _one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise a ParameterError if ``value`` is not allowed."""
    if value not in allowed:
        raise ParameterError(f"{name}: {value!r} is unknown; allowed: {', '.join(allowed)}")
