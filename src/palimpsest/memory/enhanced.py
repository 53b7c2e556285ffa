"""Slots that a GRU updates once a segment and that every token reads through a gate (source 003).

"Enhanced Memory Transformers (EMT)", Sections 2 to 4. The source names the parts and prints no equation; those below
are ours, each under the part that it implements. The memory stands beside a network: it takes the features of tokens
and returns them, changed by what was read.

A segment is S tokens in a row. Every token reads the slots after the last complete segment before it, and a segment is
written when its last token has come. So it makes no difference how a text is cut into calls.

Axes: R runs, B batch, T tokens of a call, N slots, W features of a slot, D features of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.activation import sigmoid
from palimpsest.layers.cells import GRUCell, GRUState
from palimpsest.layers.linear import Linear
from palimpsest.layers.norm import LayerNorm
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.segments import CrossAttention
from palimpsest.memory.sizes import at_least_one, within

Slots = Float[Tensor, "runs batch slots dim"]
Tokens = Float[Tensor, "runs batch time d_in"]
Valid = Bool[Tensor, "runs batch time"]
PerSequence = Int[Tensor, "runs batch"]

SPREAD = 0.5
"""Standard deviation of the slots' addresses."""


class EnhancedState(NamedTuple):
    """The memory of every sequence between two calls."""

    slots: Slots
    """After the last complete segment."""
    segments: PerSequence
    """How many segments were written."""
    open: Float[Tensor, "runs batch segment d_in"]
    """Features of the tokens of the segment that is not complete, then zeros."""
    begun: PerSequence
    """How many these are, in 0 … S − 1."""


class Rates(NamedTuple):
    """Rates in [0, 1], the same for all runs or, as (R, 1, 1, 1), one for each."""

    update_rate: float | Float[Tensor, "runs 1 1 1"]
    """ρ."""
    feedback: float | Float[Tensor, "runs 1 1 1"]
    """φ."""
    blend: float | Float[Tensor, "runs 1 1 1"]
    """ω."""


class EnhancedRecord(NamedTuple):
    """What was read and written in a call; K is the largest number of segments that it can touch."""

    read_weights: Float[Tensor, "runs batch time heads slots"]
    """Zero at tokens that are padding or come before the first complete segment."""
    read_gate: Float[Tensor, "runs batch time"]
    """Mean over features; zero at the same tokens."""
    write_gate: Float[Tensor, "runs batch segments slots"]
    """ρ w: how far each slot moved towards its candidate; zero where the call did not complete a segment."""


class EnhancedMemory(nn.Module):
    """N slots of W features that D features of every token read, and that segments of S tokens are written to.

    At the end of a segment x_1 … x_S    [Section 2.1, memory controller; 3.4, GRU]:

        c_i = what slot i finds in the segment: attention, queries norm(m_i) + a_i, keys and values from U norm(x_t)
        m̂_i = GRU(c_i, m_i)                          what is stored
        w_i = σ(u · [c_i, m_i])                       which slots are updated
        m_i ← m_i + ρ w_i (m̂_i − m_i)                 how old and new are blended; ρ the update rate

    At a token with features h    [2.1, memory attention gate; 3.3, feedback]:

        q = V norm(h),  r = what q finds in the slots: attention, keys and values from norm(m_i) + a_i
        g = σ(G [q, r])
        e = h + φ γ P (g ⊙ r)                         φ the feedback strength
        y = (1 − ω) h + ω e                           ω the blend ratio

    a_i is the learned address of a slot, without which equal slots would stay equal. Slots are normalised where they
    are read: a GRU's first steps are a tenth of an address, which would drown them. γ is a learned number for each run
    [Bachlechner et al. 2020, ReZero]; where it begins at zero, a memory that has not been trained changes nothing.
    Before the first complete segment nothing is read: y = h.

    Every token of a text takes part, as in the source [3.1]; padding does not. With φ = 0, ω = 0 or γ = 0, y is equal
    to h in every bit but the sign of a zero.

    Deviates: segments; the source says neither when slots are updated nor how.

    Args:
        runs: size R of the pack.
        d_in: D.
        num_slots: N.
        slot_dim: W, which ``num_heads`` divides.
        num_heads: heads of both attentions.
        segment: S.
        update_rate: ρ in [0, 1].
        feedback: φ in [0, 1].
        blend: ω in [0, 1].
        initial_gain: γ before training.

    Raises:
        ParameterError: a size is below one, ``num_heads`` does not divide W, or a rate lies outside [0, 1].
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        num_slots: int = 64,
        slot_dim: int = 256,
        num_heads: int = 4,
        *,
        segment: int = 32,
        update_rate: float = 0.5,
        feedback: float = 0.7,
        blend: float = 0.6,
        initial_gain: float = 1.0,
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_heads=num_heads, segment=segment)
        for name, rate in (("update_rate", update_rate), ("feedback", feedback), ("blend", blend)):
            within(name, rate, 0, 1)
        if slot_dim % num_heads:
            raise ParameterError(f"num_heads: {num_heads} does not divide slot_dim {slot_dim}; allowed: a divisor")
        self.d_in, self.num_slots, self.slot_dim, self.num_heads = d_in, num_slots, slot_dim, num_heads
        self.segment, self.update_rate, self.feedback, self.blend = segment, update_rate, feedback, blend
        self.initial_gain = initial_gain
        self.address = nn.Parameter(torch.empty(runs, num_slots, slot_dim))
        self.norm_slots = LayerNorm(runs, slot_dim)
        self.norm_write = LayerNorm(runs, d_in)
        self.embed = Linear(runs, d_in, slot_dim)
        self.gather = CrossAttention(runs, slot_dim, num_heads)
        self.update = GRUCell(runs, slot_dim, slot_dim)
        self.choose = Linear(runs, 2 * slot_dim, 1, bias_value=0.0)
        self.norm_read = LayerNorm(runs, d_in)
        self.ask = Linear(runs, d_in, slot_dim)
        self.find = CrossAttention(runs, slot_dim, num_heads)
        self.gate = Linear(runs, 2 * slot_dim, slot_dim, bias_value=0.0)
        self.project_out = Linear(runs, slot_dim, d_in, bias_value=0.0)
        self.gain = nn.Parameter(torch.empty(runs, 1))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's addresses from N(0, ``SPREAD``²) and set γ; the layers draw their own weights."""
        for address, generator in zip(self.address, generators, strict=True):
            address.normal_(0, SPREAD, generator=generator)
        self.gain.fill_(self.initial_gain)

    def initial_state(self, batch: int) -> EnhancedState:
        """Return empty slots of B sequences that begin."""
        runs = len(self.gain)
        count = torch.zeros(runs, batch, dtype=torch.int64, device=self.gain.device)
        return EnhancedState(
            slots=self.gain.new_zeros(runs, batch, self.num_slots, self.slot_dim),
            segments=count,
            open=self.gain.new_zeros(runs, batch, self.segment, self.d_in),
            begun=count,
        )

    def forward(
        self,
        x: Tokens,
        state: EnhancedState,
        valid: Valid | None = None,
        control: Control = "on",
        rates: Rates | None = None,
    ) -> tuple[Tokens, EnhancedState, EnhancedRecord]:
        """Read and write with T tokens of every sequence.

        Args:
            x: features h, in the memory's own type.
            state: after the tokens before.
            valid: False at padding, which stays as it is and is not written; ``None``: there is none.
            control: what an evaluation does to the reads.
            rates: instead of the memory's own.
        """
        rates = Rates(self.update_rate, self.feedback, self.blend) if rates is None else rates
        valid = x.new_ones(x.shape[:3], dtype=torch.bool) if valid is None else valid
        most = (self.segment - 1 + x.shape[2]) // self.segment  # segments that the call may complete
        counted = valid.cumsum(-1)
        place = state.begun[..., None] + counted - valid.long()  # padding has that of the next token
        end = state.begun + counted[..., -1]
        complete = end.div(self.segment, rounding_mode="floor")
        segments = self._by_segment(x.where(valid[..., None], 0), place, most + 1)
        segments = torch.cat([segments[:, :, :1] + state.open[:, :, None], segments[:, :, 1:]], 2)
        slots, moved = self._write(segments, state.slots, complete, rates.update_rate)
        number = place.div(self.segment, rounding_mode="floor")
        found, weights, gate = self._read(x, valid, place, shuffle_memory(slots, control))
        reads = valid & (state.segments[..., None] + number > 0)
        delta = silence_reads(found.where(reads[..., None], 0), control)
        y = x.lerp(x + rates.feedback * delta, rates.blend)  # pyright: ignore[reportArgumentType]
        after = EnhancedState(
            slots=_after(slots, complete),
            segments=state.segments + complete,
            open=_after(segments, complete),
            begun=end - complete * self.segment,
        )
        return y, after, EnhancedRecord(weights * reads[..., None, None], gate * reads, moved)

    def _by_segment(
        self, x: Float[Tensor, "runs batch time features"], place: Int[Tensor, "runs batch time"], count: int
    ) -> Float[Tensor, "runs batch count segment features"]:
        """Lay tokens out by segment; where none stands is zero, and tokens of one place are added."""
        rows = x.new_zeros(*x.shape[:2], count * self.segment, x.shape[3])
        return rows.scatter_add(2, place[..., None].expand_as(x), x).unflatten(2, (count, self.segment))

    def _addressed(self, slots: Slots) -> Slots:
        """norm(m_i) + a_i."""
        return self.norm_slots(slots) + self.address[:, None]

    def _write(
        self,
        segments: Float[Tensor, "runs batch count segment d_in"],
        slots: Slots,
        complete: PerSequence,
        rate: float | Float[Tensor, "runs 1 1 1"],
    ) -> tuple[Float[Tensor, "runs batch count slots dim"], Float[Tensor, "runs batch most slots"]]:
        """Write the complete segments one after the other.

        Returns:
            The slots before the first segment, after it, and so on; and ρ w of every segment but the last, which no
            call completes.
        """
        context = self.embed(self.norm_write(segments))
        stages, moves = [slots], []
        for index in range(segments.shape[2] - 1):
            found, _ = self.gather(self._addressed(slots), context[:, :, index])
            candidate = self._candidate(found, slots)
            move = sigmoid(self.choose(torch.cat([found, slots], -1))) * rate
            move = move * (index < complete)[..., None, None]
            slots = slots + move * (candidate - slots)
            stages.append(slots)
            moves.append(move.squeeze(-1))
        return torch.stack(stages, 2), torch.stack(moves, 2)

    def _candidate(self, found: Slots, slots: Slots) -> Slots:
        """GRU(c_i, m_i) of all slots at once."""
        flat, _ = self.update.step(found.flatten(1, 2), GRUState(slots.flatten(1, 2)))
        return flat.view(slots.shape)

    def _read(
        self,
        x: Tokens,
        valid: Valid,
        place: Int[Tensor, "runs batch time"],
        slots: Float[Tensor, "runs batch count slots dim"],
    ) -> tuple[Tokens, Float[Tensor, "runs batch time heads slots"], Float[Tensor, "runs batch time"]]:
        """Return γ P (g ⊙ r) of every token, its read weights, and the mean of its gate."""
        question = self.ask(self.norm_read(x)).where(valid[..., None], 0)
        count = slots.shape[2]
        asked = self._by_segment(question, place, count).flatten(1, 2)
        found, weights = self.find(asked, self._addressed(slots.flatten(1, 2)))
        found = found.unflatten(1, (-1, count)).flatten(2, 3)
        found = found.gather(2, place[..., None].expand(*place.shape, found.shape[-1]))
        weights = weights.transpose(2, 3).unflatten(1, (-1, count)).flatten(2, 3)
        weights = weights.gather(2, place[..., None, None].expand(*place.shape, *weights.shape[3:]))
        gate = sigmoid(self.gate(torch.cat([question, found], -1)))
        return self.project_out(gate * found) * self.gain[:, None, None], weights, gate.mean(-1)


def _after(
    stages: Float[Tensor, "runs batch count inner features"], complete: PerSequence
) -> Float[Tensor, "runs batch inner features"]:
    """Return what stands at each sequence's own stage."""
    index = complete[..., None, None, None].expand(*complete.shape, 1, *stages.shape[3:])
    return stages.gather(2, index).squeeze(2)
