"""A Transformer with slots: segments of a sequence are encoded one by one, and what is kept of them is in the slots.

[Wu et al. 2020], "Memformer: A Memory-Augmented Transformer for Sequence Modeling": slots that are read by
cross-attention in every layer and written by attention over a segment, once it has ended.

Axes: R runs, B batch, T time, L layers, H heads, N slots, D width; P tokens of the segment that has begun, below S.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.activation import sigmoid, tanh
from palimpsest.layers.attention import SelfAttention
from palimpsest.layers.linear import Linear
from palimpsest.layers.norm import LayerNorm
from palimpsest.layers.places import sinusoids
from palimpsest.layers.product import product
from palimpsest.layers.transformer import causal_window
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.sizes import at_least_one

SPREAD = 0.5
"""Standard deviation of what the slots are at first."""
Features = Float[Tensor, "runs batch time width"]
Slots = Float[Tensor, "runs batch slots width"]


class SegmentState(NamedTuple):
    """What a :class:`SegmentMemory` carries from token to token; slots of all layers lie one after the other."""

    slots: Float[Tensor, "runs batch layers_slots width"]
    """After the last segment that has ended."""
    open: Float[Tensor, "runs batch layers begun width"]
    """What each layer has heard of the segment that has begun; it goes through that again when more is heard."""
    read_weights: Float[Tensor, "runs batch heads layers_slots"]
    """Where the last token read: of every layer, a share of 1/L; sums to one."""


class CrossAttention(nn.Module):
    """softmax(Q Kᵀ/√d_head) V, Q from one set of vectors, K and V from another    [Vaswani et al. 2017, eq. 1].

    Args:
        runs: size R of the pack.
        width: features of both, and of what comes out.
        num_heads: H, a divisor of the width.
    """

    def __init__(self, runs: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = Linear(runs, width, width, init="xavier")
        self.key_value = Linear(runs, width, 2 * width, init="xavier")
        self.project_out = Linear(runs, width, width, bias_value=0.0)

    def forward(
        self, asking: Float[Tensor, "runs batch asking width"], asked: Float[Tensor, "runs batch asked width"]
    ) -> tuple[Float[Tensor, "runs batch asking width"], Float[Tensor, "runs batch heads asking asked"]]:
        """What each of ``asking`` finds in ``asked``, and the weights."""
        query = self._of_heads(self.query(asking))
        key, value = (self._of_heads(part) for part in self.key_value(asked).chunk(2, -1))
        weights = product(query / math.sqrt(query.shape[-1]), key.transpose(-1, -2)).softmax(-1)
        return self.project_out(product(weights, value).transpose(2, 3).flatten(3)), weights

    def _of_heads(self, x: Features) -> Float[Tensor, "runs batch heads time dim"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(2, 3)


class SegmentLayer(nn.Module):
    """One layer on one segment, and the slots that it leaves to the next one.

        x ← norm(x + A(x + p))                    A: causal self-attention; p: code of the place in the segment
        x ← norm(x + C(x + p, M))                 C: cross-attention, here to the slots of the segment before
        y = norm(x + W₂ max(0, W₁ x))             post-norm, as [Vaswani et al. 2017]
        u = C'(M + K, y + p)                      once the segment has ended, each slot attends to all of it
        z = σ(V [M; u] + b)
        M ← M + z ∘ (tanh(u) − M)                 a GRU's update gate [Cho et al. 2014, eq. 7]

    K tells slots apart that hold the same. [Wu et al. 2020] let a slot also attend to itself where here it has a gate,
    and norm the slots, which here are bounded by the first memory or 1.

    Args:
        runs: size R of the pack.
        width: D.
        num_slots: N.
        num_heads: H, a divisor of the width.
        feedforward: hidden units of the position-wise network.
    """

    def __init__(self, runs: int, width: int, num_slots: int, num_heads: int, feedforward: int) -> None:
        super().__init__()
        self.attention = SelfAttention(runs, width, num_heads, 0.0, 0)
        self.norm_attention = LayerNorm(runs, width)
        self.read = CrossAttention(runs, width, num_heads)
        self.norm_read = LayerNorm(runs, width)
        self.expand = Linear(runs, width, feedforward)
        self.contract = Linear(runs, feedforward, width)
        self.norm_feedforward = LayerNorm(runs, width)
        self.write = CrossAttention(runs, width, num_heads)
        self.gate = Linear(runs, 2 * width, width)
        self.keys = nn.Parameter(torch.empty(runs, num_slots, width))
        self.memory = nn.Parameter(torch.empty(runs, num_slots, width))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """K from N(0, 1), the first memory from N(0, ¼); the other layers draw for themselves."""
        for keys, memory, generator in zip(self.keys, self.memory, generators, strict=True):
            keys.normal_(generator=generator)
            memory.normal_(std=SPREAD, generator=generator)

    def forward(
        self, x: Features, places: Float[Tensor, "time width"], slots: Slots, control: Control = "on"
    ) -> tuple[Features, Float[Tensor, "runs batch heads time slots"]]:
        """What is said of a segment, or of the beginning of one, and where the slots were read."""
        mask = causal_window(x.shape[2], x.shape[2], x.device)
        x = self.norm_attention(x, self.attention(x + places, mask))
        found, weights = self.read(x + places, shuffle_memory(slots, control))
        x = self.norm_read(x, silence_reads(found, control))
        return self.norm_feedforward(x, self.contract(self.expand(x, relu=True))), weights

    def written(self, slots: Slots, y: Features, places: Float[Tensor, "time width"]) -> Slots:
        """The slots after a segment of which ``y`` was said."""
        taken, _ = self.write(slots + self.keys[:, None], y + places)
        gate = sigmoid(self.gate(torch.cat([slots, taken], -1)))
        return slots + gate * (tanh(taken) - slots)


class SegmentMemory(nn.Module):
    """Layers on top of each other, each with slots of its own, over sequences of any length.

    Something is said at every token, from the tokens up to it in its segment and from the slots. Segments are counted
    from the beginning of the sequence, however it is cut into chunks.

    Args:
        runs: size R of the pack.
        width: D, features in and out.
        num_slots: N, of each layer.
        num_heads: H, a divisor of the width.
        feedforward: hidden units of the position-wise network.
        segment: S, tokens of a segment.
        num_layers: L.

    Raises:
        ParameterError: a size is below one, or H does not divide D.
    """

    places: Float[Tensor, "segment width"]

    def __init__(
        self,
        runs: int,
        width: int,
        num_slots: int,
        *,
        num_heads: int = 1,
        feedforward: int = 64,
        segment: int = 16,
        num_layers: int = 1,
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, width=width, num_slots=num_slots, num_heads=num_heads)
        at_least_one(feedforward=feedforward, segment=segment, num_layers=num_layers)
        if width % num_heads:
            raise ParameterError(f"num_heads: {num_heads} does not divide width {width}; allowed: a divisor")
        self.width, self.num_slots, self.num_heads, self.segment = width, num_slots, num_heads, segment
        self.d_out = width
        self.layers = nn.ModuleList(
            SegmentLayer(runs, width, num_slots, num_heads, feedforward) for _ in range(num_layers)
        )
        self.register_buffer("places", sinusoids(segment, width), persistent=False)

    def initial_state(self, batch: int) -> SegmentState:
        """The learned slots, for every example; nothing heard, nothing read."""
        slots = torch.cat([layer.memory for layer in self.layers], 1)  # type: ignore[arg-type]
        runs, count, width = slots.shape
        return SegmentState(
            slots=slots[:, None].expand(-1, batch, -1, -1),
            open=slots.new_zeros(runs, batch, len(self.layers), 0, width),
            read_weights=slots.new_zeros(runs, batch, self.num_heads, count),
        )

    def step(
        self, x: Float[Tensor, "runs batch width"], state: SegmentState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch width"], SegmentState]:
        """One token."""
        said, after = self.unroll(x[:, :, None], state, control)
        return said.squeeze(2), after

    def unroll(self, xs: Features, state: SegmentState, control: Control = "on") -> tuple[Features, SegmentState]:
        """Any number of tokens: what is said of each, and the state after the last."""
        said, after, _ = self.observed(xs, state, control)
        return said, after

    def observed(
        self, xs: Features, state: SegmentState, control: Control = "on"
    ) -> tuple[Features, SegmentState, Float[Tensor, "runs batch time heads layers_slots"]]:
        """As :meth:`unroll`, and where every token read."""
        slots, begun, weights = [], [], []
        of_layers = zip(self.layers, state.slots.split(self.num_slots, 2), state.open.unbind(2), strict=True)
        for layer, before, open_ in of_layers:
            xs, after, rest, read = self._through(layer, torch.cat([open_, xs], 2), open_.shape[2], before, control)  # type: ignore[arg-type]
            slots.append(after)
            begun.append(rest)
            weights.append(read)
        where = torch.cat(weights, -1) / len(self.layers)
        return xs, SegmentState(torch.cat(slots, 2), torch.stack(begun, 2), where[:, :, -1]), where

    def _through(
        self,
        layer: SegmentLayer,
        x: Float[Tensor, "runs batch known_and_time width"],
        known: int,
        slots: Slots,
        control: Control,
    ) -> tuple[Features, Slots, Float[Tensor, "runs batch begun width"], Float[Tensor, "runs batch time heads slots"]]:
        """One layer over segments: what it says of new tokens, slots, what has begun, and where new tokens read."""
        said, weights = [], []
        parts = x.split(self.segment, 2)
        for part in parts:
            places = self.places[: part.shape[2]].to(x.dtype)
            y, read = layer(part, places, slots, control)
            said.append(y)
            weights.append(read)
            if part.shape[2] == self.segment:
                slots = layer.written(slots, y, places)
        rest = parts[-1] if parts[-1].shape[2] < self.segment else parts[-1][:, :, :0]
        read = torch.cat(weights, 3).transpose(2, 3)
        return torch.cat(said, 2)[:, :, known:], slots, rest, read[:, :, known:]
