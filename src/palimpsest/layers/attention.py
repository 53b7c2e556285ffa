"""Multi-head self-attention for every run of a pack."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from palimpsest.layers.linear import Linear
from palimpsest.layers.noise import Stream, keep_mask, kept_scale, open_stream
from palimpsest.layers.product import product

CACHED_SCORES = 1 << 18
"""Attention scores that a CPU works on at a time: with their gradients they stay in a core's own cache of 2 MB."""


class SelfAttention(nn.Module):
    """softmax(Q Kᵀ / √d_head) V with heads side by side [Vaswani et al. 2017, eq. 1].

    Initialised as PyTorch's ``nn.MultiheadAttention``: xavier for the joint projection of Q, K and V, no bias at the
    start. Attention itself has no parameters, so runs, batch and heads are one axis of the batched products.

    Raises:
        ValueError: ``num_heads`` does not divide ``width``.
    """

    def __init__(self, runs: int, width: int, num_heads: int, dropout_rate: float, stream: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads {num_heads} does not divide width {width}")
        self.num_heads, self.dropout_rate, self.stream = num_heads, dropout_rate, stream
        self.project_in = Linear(runs, width, 3 * width, init="xavier")
        self.project_out = Linear(runs, width, width, bias_value=0.0)

    def forward(
        self,
        x: Float[Tensor, "runs batch time width"],
        mask: Bool[Tensor, "time time"] | None = None,
        noise_key: Int[Tensor, " runs"] | None = None,
    ) -> Float[Tensor, "runs batch time width"]:
        """Let every position look at every position that ``mask`` allows (row: who looks; ``None``: all)."""
        rate = self.dropout_rate if noise_key is not None else 0.0
        if x.shape[2] == 1 and not rate:  # one position attends to itself with weight 1, whatever its query and key
            return self.project_out(self.project_in(x, outputs=slice(2 * x.shape[-1], None)))
        return self.project_out(attend(self.project_in(x), self.num_heads, mask, rate, noise_key, self.stream))


def attend(
    projected: Float[Tensor, "runs batch time three_widths"],
    num_heads: int,
    mask: Bool[Tensor, "time time"] | None = None,
    dropout_rate: float = 0.0,
    noise_key: Int[Tensor, " runs"] | None = None,
    stream: int = 0,
) -> Float[Tensor, "runs batch time width"]:
    """dropout(softmax(Q Kᵀ / √d_head)) V of every head, side by side.

    Args:
        projected: Q, K and V side by side, each with its heads side by side.
        num_heads: H.
        mask: True where a row may look at a column; ``None``: everywhere. Every row may look somewhere.
        dropout_rate: of the attention weights, in [0, 1).
        noise_key: for dropout; needed unless its rate is 0.
        stream: which stream of the noise.

    Raises:
        ValueError: dropout without a key.
    """
    forbidden = None if mask is None else ~mask
    noise = None
    if dropout_rate:
        if noise_key is None:
            raise ValueError(f"dropout_rate {dropout_rate} without a noise_key")
        noise = open_stream(noise_key, stream)
    return _Attend.apply(projected, num_heads, forbidden, dropout_rate, noise)  # pyright: ignore[reportReturnType]


class _Attend(torch.autograd.Function):
    """Attention and its gradient, a cacheful at a time.

    Scores, weights, dropout and their gradients are T × T a head, by far the largest arrays of a step. As operations on
    whole packs each of them would travel to main memory and back; here a block of sequences goes through all of them
    before the next. Blocks do not show in the result, as sequences have nothing to do with each other.

    With P = softmax(Q Kᵀ/√d) and A = P ∘ D, D the dropout's 0 or 1/(1 − rate):
    dV = Aᵀ dO, dP = (dO Vᵀ) ∘ D, dS = P ∘ (dP − rowsum(P ∘ dP)), dQ = dS K/√d, dK = dSᵀ Q/√d.
    """

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        num_heads: int,
        forbidden: Tensor | None,
        rate: float,
        noise: Stream | None,
    ) -> Tensor:
        """See :func:`attend`."""
        runs, batch, time, width = projected.shape
        dim = width // 3 // num_heads
        parts = projected.unflatten(-1, (3, num_heads, dim)).permute(3, 0, 1, 4, 2, 5).contiguous()
        parts[0].mul_(1 / math.sqrt(dim))
        parts[2].mul_(kept_scale(rate))
        heads = projected.new_empty(runs, batch, time, num_heads, dim)
        weights = projected.new_empty(runs, batch, num_heads, time, time)
        keep = torch.empty_like(weights, dtype=torch.uint8) if noise is not None else None
        for block in _blocks(weights):
            query, key, value = (part[block] for part in parts)
            scores = product(query, key.transpose(-1, -2))
            if forbidden is not None:
                scores = scores.masked_fill_(forbidden, -math.inf)
            used = torch.softmax(scores, -1, out=weights[block])
            if keep is not None and noise is not None:
                first = (block[1].start or 0) * used[0, 0].numel()
                kept = keep_mask(noise.of_runs(block[0]), tuple(used.shape[1:]), rate, first)
                keep[block] = kept
                used = kept.to(used.dtype).mul_(used)
            heads[block] = product(used, value).transpose(2, 3)
        ctx.save_for_backward(parts, weights, keep)
        ctx.rate = rate
        return heads.flatten(-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradient of Q, K and V."""
        parts, weights, keep = ctx.saved_tensors
        _, runs, batch, num_heads, time, dim = parts.shape
        total = gradient.new_empty(runs, batch, time, 3, num_heads, dim)
        outer = gradient.unflatten(-1, (num_heads, dim))
        for block in _blocks(weights):
            query, key, value = (part[block] for part in parts)
            used = dropped = weights[block]
            out = outer[block].transpose(2, 3).contiguous()
            of_used = product(out, value.transpose(-1, -2))
            if keep is not None:
                kept = keep[block].to(used.dtype)
                of_used, dropped = of_used.mul_(kept), kept.mul_(used)
            of_scores = torch.ops.aten._softmax_backward_data(of_used, used, -1, used.dtype)
            of_query = product(of_scores, key).mul_(1 / math.sqrt(dim))
            of_key = product(of_scores.transpose(-1, -2), query)
            of_value = product(dropped.transpose(-1, -2), out).mul_(kept_scale(ctx.rate))
            total[block] = torch.stack((of_query, of_key, of_value)).permute(1, 2, 4, 0, 3, 5)
        return total.flatten(-3), None, None, None, None


def _blocks(weights: Tensor) -> Iterator[tuple[slice, slice]]:
    """Runs and sequences that are worked on together; a GPU takes all at once, as it has no cache to stay in."""
    runs, batch = weights.shape[:2]
    if weights.device.type != "cpu":
        yield slice(None), slice(None)
        return
    sequence = weights[0, 0].numel()
    together = max(1, CACHED_SCORES // (batch * sequence))
    # noise comes two numbers at a time, so that a block begins with an even one
    sequences = batch if together > 1 else max(2, CACHED_SCORES // sequence // 2 * 2)
    for run in range(0, runs, together):
        for first in range(0, batch, sequences):
            yield slice(run, run + together), slice(first, first + sequences)
