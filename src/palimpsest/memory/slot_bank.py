"""A bank of slots for every head: sparse reads by content, writes to the slots that were not used for longest.

Source 002, "Memory Is All You Need", Key Features 1 to 7. The source gives no equations; those below are ours, each
under the feature that it implements. A memory step is about C tokens, which all read before any of them writes.

Axes: R runs, B batch, C tokens of a memory step, H heads, N slots of each head, W features of a slot, D = H W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.linear import Linear
from palimpsest.layers.noise import uniform
from palimpsest.layers.product import product
from palimpsest.memory.addressing import cosine_similarity, read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.fast.nearest import nearest, nearest_softmax
from palimpsest.memory.sizes import at_least_one, within

Eviction = Literal["lru", "fifo", "random", "blind"]
"""Which slots a write takes: those used least recently, those written least recently, drawn ones, or those that the
write key points at, whatever they hold."""
Weights = Literal["softmax", "sigmoid"]
"""How the k slots share a read. A softmax over one slot is always 1, so that with k = 1 no gradient reaches the key;
a sigmoid has one for any k."""

STRENGTH_BIAS, MATCH_BIAS, ERASE_BIAS = 19.0, -2.0, 2.0
"""Where training begins: reads that tell slots apart, writes that take free slots, and slots that are wiped first."""

PerHead = Float[Tensor, "runs batch heads tokens"]
Vectors = Float[Tensor, "runs batch heads tokens dim"]
Weighting = Float[Tensor, "runs batch heads tokens slots"]
PerSlot = Float[Tensor, "runs batch heads slots"]


class BankState(NamedTuple):
    """The bank between two memory steps."""

    slots: Float[Tensor, "runs batch heads slots dim"]
    usage: PerSlot
    """In [0, 1]: how much a slot holds. A write raises it, decay lowers it."""
    age: PerSlot
    """Tokens since a slot was last used: read or written, each as far as its weight goes."""
    written: PerSlot
    """Tokens since a slot was last written, as far as the weight of the write goes."""


class Wishes(NamedTuple):
    """What the controller wants done in a memory step."""

    read_key: Vectors
    write_key: Vectors
    strength: PerHead
    """β ≥ 1, of both keys."""
    threshold: PerHead | None
    """θ of both keys: similarity at which a slot counts half; for ``sigmoid`` weights."""
    value: Vectors
    write_gate: PerHead
    """g in [0, 1]: how much is written at all."""
    match_gate: PerHead
    """m in [0, 1]: how much of a write goes to slots like the write key; the rest goes to slots that are freed."""
    erase: PerHead
    """e in [0, 1]: how much of what a slot held goes where something is written."""
    decay: Float[Tensor, "runs batch heads"] | None
    """b · mean_t x_t + c: the context's part of the logit with which slots decay; ``None``: they never do."""


class Step(NamedTuple):
    """A memory step."""

    reads: Float[Tensor, "runs batch tokens features"]
    """D = H W features."""
    read_weights: Weighting
    write_weights: Weighting
    """g times where; sums to g."""
    decay: PerSlot
    """Share of every slot that was forgotten."""
    state: BankState


def similarity(keys: Vectors, slots: Float[Tensor, "runs batch heads slots dim"]) -> Weighting:
    """cos(k_h, M_h(i)) of every token's key with the slots of its own head (:func:`addressing.cosine_similarity`)."""
    return cosine_similarity(keys.flatten(1, 2), slots.flatten(1, 2)).unflatten(1, keys.shape[1:3])


def weighting(
    keys: Vectors,
    strength: PerHead,
    threshold: PerHead | None,
    slots: Float[Tensor, "runs batch heads slots dim"],
    k: int,
) -> Weighting:
    """Address the k most similar slots of each head    [source 002, Key Feature 2].

    softmax:  w(i) = e^(β K(i)) / Σ_j e^(β K(j)) over the k slots j, 0 elsewhere, K(i) = cos(k, M(i))
    sigmoid:  w(i) = σ(β (K(i) − θ)) / max(1, Σ_j σ(β (K(j) − θ))) over the k slots, 0 elsewhere

    Args:
        keys: k of every token and head.
        strength: β.
        threshold: θ; ``None``: the k slots share a read by softmax.
        slots: M.
        k: how many slots are addressed.
    """
    alike = similarity(keys, slots)
    kept = None if k == alike.shape[-1] else nearest(alike, k)
    if threshold is None:
        scores = strength[..., None] * alike
        return (scores if kept is None else scores.masked_fill(~kept, -torch.inf)).softmax(-1)
    own = sigmoid(strength[..., None] * (alike - threshold[..., None]))
    own = own if kept is None else own * kept
    return own / own.sum(-1, keepdim=True).clamp_min(1)


def freed(priority: PerSlot, tokens: int) -> Weighting:
    """Return where each of C tokens would write: the j-th at the slot with the j-th largest priority.

    Of equal slots the first goes first. More tokens than slots begin again with the first. There is no gradient.

    Args:
        priority: of each slot to be freed.
        tokens: C.
    """
    number = torch.arange(tokens, device=priority.device) % priority.shape[-1]
    order = priority.detach().argsort(dim=-1, descending=True, stable=True)[..., number]
    slot = torch.arange(priority.shape[-1], device=priority.device)
    return (order[..., None] == slot).to(priority.dtype)


def forget(state: BankState, decay: PerSlot) -> BankState:
    """M(i) ← (1 − d(i)) M(i), u(i) ← (1 − d(i)) u(i)    [source 002, Key Feature 7, slot-wise decay gates]."""
    kept = 1 - decay
    return state._replace(slots=state.slots * kept[..., None], usage=state.usage * kept)


def write(state: BankState, weights: Weighting, erase: PerHead, value: Vectors) -> BankState:
    """M(i) ← M(i) Π_t (1 − w_t(i) e_t) + Σ_t w_t(i) v_t    [source 002, Key Feature 6, "learned erase factors"].

    u(i) ← 1 − (1 − u(i)) Π_t (1 − w_t(i)): what is written is held.

    Args:
        state: before.
        weights: w_t of every token of the step; they write at once, in no order.
        erase: e_t.
        value: v_t.
    """
    kept = (1 - weights * erase[..., None]).prod(-2)
    slots = state.slots * kept[..., None] + product(weights.transpose(-1, -2), value)
    usage = 1 - (1 - state.usage) * (1 - weights).prod(-2)
    return state._replace(slots=slots, usage=usage)


def grow_older(state: BankState, read_weights: Weighting, write_weights: Weighting) -> BankState:
    """a(i) ← (a(i) + C) (1 − x(i)), x the largest weight that a token of the step read or wrote slot i with.

    ``written`` grows alike, by writes alone. There is no gradient.
    """
    tokens = read_weights.shape[-2]
    wrote = write_weights.detach().amax(-2).clamp_max(1)
    used = torch.maximum(wrote, read_weights.detach().amax(-2)).clamp_max(1)
    return state._replace(age=(state.age + tokens) * (1 - used), written=(state.written + tokens) * (1 - wrote))


class MultiHeadMemoryBank(nn.Module):
    """The bank, and the map from a controller's features to what is read and written.

    A memory step on features x_1 … x_C, all of which see the slots after the step before:

        r_t = Σ_i w^r_t(i) M(i), w^r_t by :func:`weighting`
        d(i) = σ(a · M(i) + b · mean_t x_t + c), slots decay by :func:`forget`
        w_t = g_t (m_t w^m_t + (1 − m_t) w^f_t), w^m by the write key on the same slots as w^r, w^f by :func:`freed`
        v_t = k^w_t + W₂ max(0, W₁ x_t), W₁ and W₂ the semantic bottleneck, narrower than D    [Key Feature 3]
        M by :func:`write`

    The write key k^w is stored with what the bottleneck lets through, so that a read key like it finds the slot again
    [as in Santoro et al. 2016, Section 3.1, where the key itself is what is written].

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N, of each head.
        slot_dim: D, the features of a slot over all heads; ``num_heads`` divides it.
        num_heads: H.
        top_k: k.
        bottleneck: hidden features of the bottleneck, at most D; ``None``: half of D, as in the source.
        eviction: which slots are freed.
        weights: how the k slots share a read.
        decay_bias: c, the initial logit of decay; ``None``: slots never decay.
        write_bias: initial logit of the write gate.

    Raises:
        ParameterError: a size is below one, k exceeds N, H does not divide D, or the bottleneck is wider than D.
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        num_slots: int,
        slot_dim: int,
        num_heads: int = 1,
        *,
        top_k: int = 4,
        bottleneck: int | None = None,
        eviction: Eviction = "lru",
        weights: Weights = "softmax",
        decay_bias: float | None = -6.0,
        write_bias: float = 1.0,
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_heads=num_heads)
        within("top_k", top_k, 1, num_slots)
        hidden = max(1, slot_dim // 2) if bottleneck is None else bottleneck
        within("bottleneck", hidden, 1, slot_dim)
        if slot_dim % num_heads:
            raise ParameterError(f"num_heads: {num_heads} does not divide slot_dim {slot_dim}; allowed: a divisor")
        self.num_slots, self.num_heads, self.dim = num_slots, num_heads, slot_dim // num_heads
        self.k = top_k
        self.eviction: Eviction = eviction
        self.weights: Weights = weights
        self.d_out = slot_dim
        self.sizes = [2 * slot_dim, hidden, *[num_heads] * (4 + (weights == "sigmoid") + (decay_bias is not None))]
        self.interface = Linear(runs, d_in, sum(self.sizes))
        self.widen = Linear(runs, hidden, slot_dim)
        self.decay_of_slot = None if decay_bias is None else Linear(runs, self.dim, 1, bias_value=decay_bias)
        gates = torch.tensor([write_bias, MATCH_BIAS, ERASE_BIAS])
        self.register_buffer("gate_bias", gates[:, None], persistent=False)

    def initial_state(self, batch: int) -> BankState:
        """Return empty slots; slot 0 counts as the one that was not used for longest, then slot 1, and so on."""
        weight = self.interface.weight
        shape = (len(weight), batch, self.num_heads, self.num_slots)
        never = torch.arange(self.num_slots, 0, -1, device=weight.device, dtype=weight.dtype).expand(shape)
        return BankState(
            slots=weight.new_zeros(*shape, self.dim), usage=weight.new_zeros(shape), age=never, written=never
        )

    def wishes(self, x: Float[Tensor, "runs batch tokens d_in"]) -> Wishes:
        """Map features to what is to be done, all of it by one linear map.

        Gates, erase and strength have the constants of this module added to their biases.
        """
        keys, narrow, strength, *more = self.interface(x).split(self.sizes, -1)
        read_key, write_key = keys.unflatten(-1, (2, self.num_heads, self.dim)).permute(3, 0, 1, 4, 2, 5)
        gates = torch.stack(more[:3], -2) + self.gate_bias  # pyright: ignore[reportOperatorIssue]  # a buffer
        write_gate, match_gate, erase = sigmoid(gates).permute(3, 0, 1, 4, 2)
        value = self.widen(narrow.relu()).unflatten(-1, (self.num_heads, self.dim)).transpose(2, 3)
        return Wishes(
            read_key=read_key,
            write_key=write_key,
            strength=1 + softplus(strength + STRENGTH_BIAS).transpose(2, 3),
            threshold=more[3].transpose(2, 3) if self.weights == "sigmoid" else None,
            value=value + write_key,
            write_gate=write_gate,
            match_gate=match_gate,
            erase=erase,
            decay=None if self.decay_of_slot is None else more[-1].mean(2),
        )

    def decay(self, wishes: Wishes, state: BankState) -> PerSlot:
        """d(i) in [0, 1] of every slot; zero where slots never decay."""
        if self.decay_of_slot is None or wishes.decay is None:
            return torch.zeros_like(state.usage)
        return sigmoid(self.decay_of_slot(state.slots).squeeze(-1) + wishes.decay[..., None])

    def step(
        self,
        wishes: Wishes,
        state: BankState,
        control: Control = "on",
        noise_key: Int[Tensor, " runs"] | None = None,
        number: int = 0,
    ) -> Step:
        """Take a memory step: every token reads, slots decay, every token writes.

        Args:
            wishes: :meth:`wishes` of the step's C tokens.
            state: before.
            control: what an evaluation does to the reads.
            noise_key: for the eviction ``random``.
            number: of the step in the sequence; with the key, it decides what is drawn.
        """
        visible = shuffle_memory(state.slots, control)
        reading, match = self._addressed(wishes, visible, state.slots)
        found = read(visible.flatten(1, 2), reading.flatten(1, 2)).unflatten(1, reading.shape[1:3])
        reads = silence_reads(found.transpose(2, 3).flatten(3), control)
        decay = self.decay(wishes, state)
        after = forget(state, decay)
        writing = self._write_weights(wishes, match, after, noise_key, number)
        after = grow_older(write(after, writing, wishes.erase, wishes.value), reading, writing)
        return Step(reads, reading, writing, decay, after)

    def _addressed(
        self, wishes: Wishes, visible: Float[Tensor, "runs batch heads slots dim"], own: Tensor
    ) -> tuple[Weighting, Weighting]:
        """Where the read keys point in the slots that reads see, and the write keys in the example's own."""
        keys, strength, threshold, k = (wishes.read_key, wishes.write_key), wishes.strength, wishes.threshold, self.k
        if visible is not own:
            reading, match = (
                weighting(key, strength, threshold, slots, k) for key, slots in zip(keys, (visible, own), strict=True)
            )
            return reading, match
        together, twice = torch.cat(keys, -2), torch.cat([strength, strength], -1)
        if threshold is None:
            both = nearest_softmax(together, twice, own, k)
        else:
            both = weighting(together, twice, torch.cat([threshold, threshold], -1), own, k)
        reading, match = both.chunk(2, -2)
        return reading, match

    def _write_weights(
        self,
        wishes: Wishes,
        match: Weighting,
        state: BankState,
        noise_key: Int[Tensor, " runs"] | None,
        number: int,
    ) -> Weighting:
        """Where every token writes, times how much."""
        gate = wishes.write_gate[..., None]
        if self.eviction == "blind":
            return gate * match
        place = freed(self._priority(state, noise_key, number), wishes.write_gate.shape[-1])
        return gate * (place + wishes.match_gate[..., None] * (match - place))

    def _priority(self, state: BankState, noise_key: Int[Tensor, " runs"] | None, number: int) -> PerSlot:
        """Which slots are freed first: those with the largest number."""
        if self.eviction == "lru":
            return state.age
        if self.eviction == "fifo":
            return state.written
        key = (
            torch.zeros(len(state.age), dtype=torch.int64, device=state.age.device) if noise_key is None else noise_key
        )
        return uniform(key, RANDOM_EVICTION + number, tuple(state.age.shape[1:])).to(state.age.dtype)


RANDOM_EVICTION = 1 << 16
"""Stream of the noise that draws the slots to be freed in the first step; the next steps have the next streams."""


class BankRecord(NamedTuple):
    """What was read and written at each of T tokens of a forward pass; a step's usage stands at all of its tokens."""

    read_weights: Float[Tensor, "runs batch time heads slots"]
    write_weights: Float[Tensor, "runs batch time heads slots"]
    usage: Float[Tensor, "runs batch time heads slots"]


def bank_record(steps: Sequence[Step], known: int = 0) -> BankRecord:
    """Join memory steps, without gradients.

    Args:
        steps: in order.
        known: tokens of the first one that are left out, as an earlier part of the sequence has recorded them.
    """

    def joined(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, 3).detach().transpose(2, 3)[:, :, known:]

    usage = [step.state.usage[:, :, :, None].expand_as(step.read_weights) for step in steps]
    return BankRecord(
        joined([step.read_weights for step in steps]), joined([step.write_weights for step in steps]), joined(usage)
    )
