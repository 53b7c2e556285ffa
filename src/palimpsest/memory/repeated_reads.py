"""Repeated reads: a memory that keeps a key and a value of every step, and is read several times before it answers."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.cells import LSTMCell, LSTMState
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product
from palimpsest.memory.associative import free
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.placement import in_turn
from palimpsest.memory.sizes import at_least_one


class RepeatedState(NamedTuple):
    """The state of :class:`RepeatedReads` between two steps."""

    slots: Float[Tensor, "runs batch slots two_dims"]
    """Key and value, side by side."""
    log_weight: Float[Tensor, "runs batch slots"]
    """0 where a slot was written; very negative where it is free."""
    steps: Int[Tensor, "runs batch"]
    """Number of steps so far."""
    read_weights: Float[Tensor, "runs batch reads slots"]
    """Of each read of the last step and each of its heads, one read after the other."""
    write_weights: Float[Tensor, "runs batch 1 slots"]
    """1 at the written slot, 0 elsewhere."""


class RepeatedReads(nn.Module):
    """Writes a key and a value at every step, and reads K times in turn, with the same weights.

        z⁰, k_t, v_t = W x_t + b;    slot t mod N ← (k_t, v_t)
        r^j = softmax(Q z^(j−1) Kᵀ/√d_head) V,    z^j = z^(j−1) + r^j,    j = 1 … K;    output Σ_j r^j

    The reads are those of an end-to-end memory network, u^(k+1) = u^k + o^k [Sukhbaatar et al. 2015, eq. 4], with the
    same weights for all. Q has a bias here, and the memory is what the steps wrote.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W, of a key, of a value and of z, also the features out.
        num_read_heads: H of each read, divides W.
        num_reads: K.

    Raises:
        ParameterError: a size is below one, or H does not divide W.
    """

    def __init__(
        self, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1, *, num_reads: int = 3
    ) -> None:
        super().__init__()
        at_least_one(
            runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads,
            num_reads=num_reads,
        )  # fmt: skip
        if slot_dim % num_read_heads:
            raise ParameterError(
                f"num_read_heads: {num_read_heads} does not divide slot_dim {slot_dim}; allowed: a divisor of it"
            )
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.num_reads, self.d_out = num_reads, slot_dim
        self.project = Linear(runs, d_in, 3 * slot_dim)
        self.query = Linear(runs, slot_dim, slot_dim)

    def initial_state(self, batch: int) -> RepeatedState:
        """Return a state in which all slots are free."""
        weight = self.project.weight
        shape = (len(weight), batch)
        reads = self.num_reads * self.num_read_heads
        return RepeatedState(
            slots=weight.new_zeros(*shape, self.num_slots, 2 * self.slot_dim),
            log_weight=weight.new_full((*shape, self.num_slots), free(weight)),
            steps=torch.zeros(shape, dtype=torch.int64, device=weight.device),
            read_weights=weight.new_zeros(*shape, reads, self.num_slots),
            write_weights=weight.new_zeros(*shape, 1, self.num_slots),
        )

    def write(self, x: Float[Tensor, "runs *inner d_in"]) -> Float[Tensor, "runs *inner two_dims"]:
        """Return what a step writes: key and value, side by side."""
        return self.project(x, outputs=slice(self.slot_dim, None))

    def start(self, x: Float[Tensor, "runs *inner d_in"]) -> Float[Tensor, "runs *inner dim"]:
        """Return z⁰ of a step."""
        return self.project(x, outputs=slice(self.slot_dim))

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: RepeatedState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch dim"], RepeatedState]:
        """Write, then read; the reads see the new content."""
        written = self.write(x)
        place = in_turn(state.steps, self.num_slots, written)
        kept = 1 - place.transpose(-1, -2)
        slots = state.slots * kept + place.transpose(-1, -2) * written[:, :, None]
        log_weight = state.log_weight * kept[..., 0]
        output, weights = self.reason(x[:, :, None], slots, log_weight[:, :, None], control)
        after = RepeatedState(slots, log_weight, state.steps + 1, weights.squeeze(3), place)
        return output.squeeze(2), after

    def reason(
        self,
        x: Float[Tensor, "runs batch questions d_in"],
        slots: Float[Tensor, "runs batch slots two_dims"],
        log_weight: Float[Tensor, "runs batch #questions slots"],
        control: Control = "on",
    ) -> tuple[Float[Tensor, "runs batch questions dim"], Float[Tensor, "runs batch reads questions slots"]]:
        """Answer questions about the same slots.

        Args:
            x: what each question starts from.
            slots: keys and values.
            log_weight: 0 where a question may read, and very negative elsewhere.
            control: of the memory.

        Returns:
            The sum of what was read, and the weights of each read and head.
        """
        heads = (self.num_read_heads, self.slot_dim // self.num_read_heads)
        parts = shuffle_memory(slots, control).split(self.slot_dim, -1)
        keys, values = (part.unflatten(-1, heads).transpose(2, 3) for part in parts)
        scale = 1 / math.sqrt(heads[1])
        limits = shuffle_memory(log_weight, control)[:, :, None]
        start, total, seen = self.start(x), torch.zeros_like(x[..., :1]), []
        for _ in range(self.num_reads):
            query = self.query(start + total).unflatten(-1, heads).transpose(2, 3)
            weights = (product(query, keys.transpose(-1, -2)) * scale + limits).softmax(-1)
            total = total + product(weights, values).transpose(2, 3).flatten(3)
            seen.append(weights)
        return silence_reads(total, control), torch.cat(seen, 2)


class EncodedState(NamedTuple):
    """The state of :class:`EncodedReads` between two steps; it has the observable parts of its memory's state."""

    encoder: LSTMState
    memory: RepeatedState

    @property
    def slots(self) -> Tensor:
        """Keys and values, (R, B, N, 2 W)."""
        return self.memory.slots

    @property
    def read_weights(self) -> Tensor:
        """Of each read of the last step and each of its heads, (R, B, K H, N)."""
        return self.memory.read_weights

    @property
    def write_weights(self) -> Tensor:
        """1 at the slot that the last step wrote, (R, B, 1, N)."""
        return self.memory.write_weights


class EncodedReads(nn.Module):
    """An LSTM whose output is written to the memory and starts its reads: h_t = LSTM(x_t), output [h_t; Σ_j r^j].

    What was read does not go back into the LSTM, so that a whole sequence can be encoded before anything is read.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        d_hidden: units of the LSTM.
        num_slots: N.
        slot_dim: W; features out are d_hidden + W.
        num_read_heads: H of each read, divides W.
        num_reads: K.

    Raises:
        ParameterError: a size is below one, or H does not divide W.
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        d_hidden: int,
        num_slots: int,
        slot_dim: int,
        num_read_heads: int = 1,
        *,
        num_reads: int = 3,
    ) -> None:
        super().__init__()
        at_least_one(d_in=d_in, d_hidden=d_hidden)
        self.encoder = LSTMCell(runs, d_in, d_hidden)
        self.memory = RepeatedReads(runs, d_hidden, num_slots, slot_dim, num_read_heads, num_reads=num_reads)
        self.d_out = d_hidden + slot_dim

    def initial_state(self, batch: int) -> EncodedState:
        """Return the initial states of both."""
        return EncodedState(self.encoder.initial_state(batch), self.memory.initial_state(batch))

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: EncodedState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], EncodedState]:
        """Encode, write and read."""
        hidden, encoder = self.encoder.step(x, state.encoder)
        output, memory = self.memory.step(hidden, state.memory, control)
        return torch.cat([hidden, output], -1), EncodedState(encoder, memory)


build = RepeatedReads
"""The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
