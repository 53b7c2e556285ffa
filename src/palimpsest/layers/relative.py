"""Encoder layers whose tokens see a window of earlier ones and know how far away each of them is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from palimpsest.layers.linear import Linear
from palimpsest.layers.noise import dropout
from palimpsest.layers.norm import LayerNorm
from palimpsest.layers.product import product
from palimpsest.layers.transformer import EncoderConfig

Features = Float[Tensor, "runs batch time width"]
Seen = Float[Tensor, "runs batch seen width"]


class RelativeAttention(nn.Module):
    """Attention of every token to itself and to the W − 1 tokens before it, with keys and values for each distance.

    e(t, s) = q_t · (k_s + a_{t−s}) / √d,   p = softmax of e over s,   y_t = Σ_s p(t, s) (v_s + b_{t−s})
    for 0 ≤ t − s < W    [Shaw et al. 2018, Self-Attention with Relative Position Representations, eqs. 3 and 4].

    Deviates: every head has distances a and b of its own.

    Args:
        runs: size R of the pack.
        width: features; ``num_heads`` divides them.
        num_heads: H.
        window: W.
    """

    def __init__(self, runs: int, width: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.window, dim = num_heads, window, width // num_heads
        self.project_in = Linear(runs, width, 3 * width, init="xavier")
        self.project_out = Linear(runs, width, width, bias_value=0.0)
        self.distance_keys = nn.Parameter(torch.empty(runs, num_heads, window, dim))
        self.distance_values = nn.Parameter(torch.empty(runs, num_heads, window, dim))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's keys and values of distances from U(±1/√d); its linear maps draw their own."""
        bound = 1 / math.sqrt(self.distance_keys.shape[-1])
        for keys, values, generator in zip(self.distance_keys, self.distance_values, generators, strict=True):
            keys.uniform_(-bound, bound, generator=generator)
            values.uniform_(-bound, bound, generator=generator)

    def forward(self, seen: Seen, time: int) -> Features:
        """Return what the last ``time`` of the tokens ``seen`` attend to.

        Args:
            seen: tokens in order; the first are only attended to.
            time: T.
        """
        query, key, value = self.project_in(seen).unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query = query[:, :, :, -time:] / math.sqrt(query.shape[-1])
        inner, count = query.shape[:3], seen.shape[2]
        token = torch.arange(count - time, count, device=seen.device)[:, None]
        distance = token - torch.arange(count, device=seen.device)
        in_sight = (distance >= 0) & (distance < self.window)
        near = self._by_head(query, self.distance_keys.transpose(-1, -2))
        near = near.gather(-1, distance.clamp(0, self.window - 1).expand(*inner, -1, -1))
        scores = product(query, key.transpose(-1, -2)) + near
        weights = scores.masked_fill(~in_sight, -torch.inf).softmax(-1)
        attended = token - torch.arange(self.window, device=seen.device)  # by distance; negative before the first
        by_distance = weights.gather(-1, attended.clamp_min(0).expand(*inner, -1, -1)) * (attended >= 0)
        found = product(weights, value) + self._by_head(by_distance, self.distance_values)
        return self.project_out(found.transpose(2, 3).flatten(-2))

    @staticmethod
    def _by_head(
        x: Float[Tensor, "runs batch heads time a"], table: Float[Tensor, "runs heads a b"]
    ) -> Float[Tensor, "runs batch heads time b"]:
        """Map every head's vectors with its own table."""
        batch, time = x.shape[1], x.shape[3]
        return product(x.transpose(1, 2).flatten(2, 3), table).unflatten(2, (batch, time)).transpose(1, 2)


class RelativeLayer(nn.Module):
    """Attention over distances, then a ReLU network; each is followed by dropout, a residual sum and a norm."""

    def __init__(self, runs: int, config: EncoderConfig, window: int, stream: int) -> None:
        super().__init__()
        self.rate, self.stream = config.dropout, stream
        self.attention = RelativeAttention(runs, config.width, config.num_heads, window)
        self.norm_attention = LayerNorm(runs, config.width)
        self.expand = Linear(runs, config.width, config.feedforward)
        self.contract = Linear(runs, config.feedforward, config.width)
        self.norm_feedforward = LayerNorm(runs, config.width)

    def forward(self, seen: Seen, time: int, noise_key: Int[Tensor, " runs"] | None) -> Features:
        """X ← norm(x + attention(seen)); x ← norm(x + W₂ ReLU(W₁ x)), for the last ``time`` of the tokens seen."""
        attended = dropout(self.attention(seen, time), self.rate, noise_key, self.stream)
        x = self.norm_attention(seen[:, :, -time:], attended)
        hidden = dropout(self.expand(x, relu=True), self.rate, noise_key, self.stream + 1)
        return self.norm_feedforward(x, dropout(self.contract(hidden), self.rate, noise_key, self.stream + 2))
