"""A Transformer with slots: segments of a sequence are encoded one by one, and slots carry information between them.

[Wu et al. 2020], "Memformer: A Memory-Augmented Transformer for Sequence Modeling": slots that are read by
cross-attention in every layer, and written by attention over a segment at its end.

Axes: R runs, B batch, T time, L layers, H heads, N slots, D width; P < S tokens of the current segment.
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
"""Standard deviation of the initial slots."""
Features = Float[Tensor, "runs batch time width"]
Slots = Float[Tensor, "runs batch slots width"]


class SegmentState(NamedTuple):
    """The state of a :class:`SegmentMemory` between two tokens; slots of all layers lie one after the other."""

    slots: Float[Tensor, "runs batch layers_slots width"]
    """The slots after the last complete segment."""
    open: Float[Tensor, "runs batch layers begun width"]
    """Inputs of each layer in the current segment; the layer processes them again with the next tokens."""
    read_weights: Float[Tensor, "runs batch heads layers_slots"]
    """Read weights of the last token, 1/L of those of each layer; they sum to one."""


class CrossAttention(nn.Module):
    """softmax(Q Kᵀ/√d_head) V, with Q from one set of vectors, K and V from another    [Vaswani et al. 2017, eq. 1].

    Args:
        runs: size R of the pack.
        width: features of both sets, and of the output.
        num_heads: H, a divisor of the width.
    """

    def __init__(self, runs: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = Linear(runs, width, width, init="xavier")
        self.key_value = Linear(runs, width, 2 * width, init="xavier")
        self.project_out = Linear(runs, width, width, bias_value=0.0)

    def forward(
        self, queries: Float[Tensor, "runs batch queries width"], context: Float[Tensor, "runs batch context width"]
    ) -> tuple[Float[Tensor, "runs batch queries width"], Float[Tensor, "runs batch heads queries context"]]:
        """Return what each of ``queries`` reads from ``context``, and the attention weights."""
        query = self._split_heads(self.query(queries))
        key, value = (self._split_heads(part) for part in self.key_value(context).chunk(2, -1))
        weights = product(query / math.sqrt(query.shape[-1]), key.transpose(-1, -2)).softmax(-1)
        return self.project_out(product(weights, value).transpose(2, 3).flatten(3)), weights

    def _split_heads(self, x: Features) -> Float[Tensor, "runs batch heads time dim"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(2, 3)


class SegmentLayer(nn.Module):
    """One layer over one segment, and the update of its slots at the end of the segment.

        x ← norm(x + A(x + p))                    A: causal self-attention; p: code of the position in the segment
        x ← norm(x + C(x + p, M))                 C: cross-attention to the slots after the segment before
        y = norm(x + W₂ max(0, W₁ x))             post-norm, as [Vaswani et al. 2017]
        u = C'(M + K, y + p)                      at the end of the segment, each slot attends to all of it
        z = σ(V [M; u] + b)
        M ← M + z ∘ (tanh(u) − M)                 a GRU's update gate [Cho et al. 2014, eq. 7]

    K distinguishes slots with equal content. Two points differ from [Wu et al. 2020]: there a slot also attends to
    itself, here it has a gate; there slots are normalised, here they are bounded by the larger of the first memory and
    1.

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
        """Draw K from N(0, 1) and the first memory from N(0, ¼); sublayers draw their own parameters."""
        for keys, memory, generator in zip(self.keys, self.memory, generators, strict=True):
            keys.normal_(generator=generator)
            memory.normal_(std=SPREAD, generator=generator)

    def forward(
        self, x: Features, places: Float[Tensor, "time width"], slots: Slots, control: Control = "on"
    ) -> tuple[Features, Float[Tensor, "runs batch heads time slots"]]:
        """Return the outputs of a segment, or of the beginning of one, and the read weights."""
        mask = causal_window(x.shape[2], x.shape[2], x.device)
        x = self.norm_attention(x, self.attention(x + places, mask))
        reads, weights = self.read(x + places, shuffle_memory(slots, control))
        x = self.norm_read(x, silence_reads(reads, control))
        return self.norm_feedforward(x, self.contract(self.expand(x, relu=True))), weights

    def written(self, slots: Slots, y: Features, places: Float[Tensor, "time width"]) -> Slots:
        """Return the slots after a segment with outputs ``y``."""
        update, _ = self.write(slots + self.keys[:, None], y + places)
        gate = sigmoid(self.gate(torch.cat([slots, update], -1)))
        return slots + gate * (tanh(update) - slots)


class SegmentRecord(NamedTuple):
    """What a segment memory records of a forward pass."""

    read_weights: Float[Tensor, "runs batch time heads layers_slots"]
    """Where every token read, without a gradient."""


class SegmentMemory(nn.Module):
    """A stack of layers with their own slots, over sequences of any length.

    There is an output at every token. It depends on the slots, and on the tokens of the segment up to this one.
    Segments are counted from the beginning of the sequence, for any division of the sequence into chunks.

    Args:
        runs: size R of the pack.
        width: D, features in and out.
        num_slots: N, of each layer.
        num_heads: H, a divisor of the width.
        feedforward: hidden units of the position-wise network.
        segment: S, number of tokens of a segment.
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
        """Return the learned slots for every example, with no tokens and no reads."""
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
        """Process one token."""
        outputs, after = self.unroll(x[:, :, None], state, control)
        return outputs.squeeze(2), after

    def unroll(self, xs: Features, state: SegmentState, control: Control = "on") -> tuple[Features, SegmentState]:
        """Process any number of tokens; return the output at each, and the state after the last."""
        outputs, after, _ = self.observed(xs, state, control)
        return outputs, after

    def observed(
        self, xs: Features, state: SegmentState, control: Control = "on"
    ) -> tuple[Features, SegmentState, Float[Tensor, "runs batch time heads layers_slots"]]:
        """As :meth:`unroll`; return the read weights of every token, too."""
        slots, current, weights = [], [], []
        layers = zip(self.layers, state.slots.split(self.num_slots, 2), state.open.unbind(2), strict=True)
        for layer, before, open_ in layers:
            xs, after, rest, read = self._through(layer, torch.cat([open_, xs], 2), open_.shape[2], before, control)  # type: ignore[arg-type]
            slots.append(after)
            current.append(rest)
            weights.append(read)
        read_weights = torch.cat(weights, -1) / len(self.layers)
        after = SegmentState(torch.cat(slots, 2), torch.stack(current, 2), read_weights[:, :, -1])
        return xs, after, read_weights

    def _through(
        self,
        layer: SegmentLayer,
        x: Float[Tensor, "runs batch known_and_time width"],
        known: int,
        slots: Slots,
        control: Control,
    ) -> tuple[Features, Slots, Float[Tensor, "runs batch begun width"], Float[Tensor, "runs batch time heads slots"]]:
        """Process segments with one layer.

        Args:
            layer: the layer.
            x: its inputs, from the beginning of the current segment.
            known: number of inputs whose outputs were already returned.
            slots: the layer's slots before.
            control: of the slots.

        Returns:
            The outputs of the new tokens, the slots, the inputs of the incomplete segment, and the new read weights.
        """
        outputs, weights = [], []
        parts = x.split(self.segment, 2)
        for part in parts:
            places = self.places[: part.shape[2]].to(x.dtype)
            y, read = layer(part, places, slots, control)
            outputs.append(y)
            weights.append(read)
            if part.shape[2] == self.segment:
                slots = layer.written(slots, y, places)
        rest = parts[-1] if parts[-1].shape[2] < self.segment else parts[-1][:, :, :0]
        read = torch.cat(weights, 3).transpose(2, 3)
        return torch.cat(outputs, 2)[:, :, known:], slots, rest, read[:, :, known:]
