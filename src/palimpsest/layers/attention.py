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
from palimpsest.layers.noise import Stream, keep_mask, keep_scale, open_stream
from palimpsest.layers.product import product

CACHED_SCORES = 1 << 18
"""Number of attention scores in one block on a CPU: with their gradients they fit in a core's own cache of 2 MB."""


class SelfAttention(nn.Module):
    """softmax(Q Kᵀ / √d_head) V with heads side by side [Vaswani et al. 2017, eq. 1].

    The initialisation is that of PyTorch's ``nn.MultiheadAttention``: xavier for the joint projection of Q, K and V,
    and zero biases. Attention itself has no parameters, so runs, batch and heads form one axis of the batched products.

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
        """Let every position attend to all positions that its row of ``mask`` allows; ``None`` allows all."""
        rate = self.dropout_rate if noise_key is not None else 0.0
        if x.shape[2] == 1 and not rate:  # a single position attends to itself with weight 1, for any query and key
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
    """Compute dropout(softmax(Q Kᵀ / √d_head)) V for every head; results lie side by side.

    Args:
        projected: Q, K and V side by side, each with its heads side by side.
        num_heads: H.
        mask: True where the row's position may attend to the column's; ``None``: everywhere. Every row needs a True.
        dropout_rate: dropout of the attention weights, in [0, 1).
        noise_key: key of the dropout noise; needed unless the rate is 0.
        stream: number of the noise stream.

    Raises:
        ValueError: the dropout rate is not 0 and there is no key.
    """
    forbidden = None if mask is None else ~mask
    noise = None
    if dropout_rate:
        if noise_key is None:
            raise ValueError(f"dropout_rate {dropout_rate} without a noise_key")
        noise = open_stream(noise_key, stream)
    return _Attend.apply(projected, num_heads, forbidden, dropout_rate, noise)  # pyright: ignore[reportReturnType]


class _Attend(torch.autograd.Function):
    """Attention and its gradient, computed in blocks that fit in the cache.

    Scores, weights, dropout and their gradients are T × T a head, by far the largest arrays of a step. Operations on
    whole packs would move each of them to main memory and back. Here one block of sequences goes through all operations
    before the next block. The result does not depend on the blocks, because sequences are independent of each other.

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
        parts[2].mul_(keep_scale(rate))
        heads = projected.new_empty(runs, batch, time, num_heads, dim)
        weights = projected.new_empty(runs, batch, num_heads, time, time)
        keep = torch.empty_like(weights, dtype=torch.uint8) if noise is not None else None
        for block in _blocks(weights):
            query, key, value = (part[block] for part in parts)
            scores = product(query, key.transpose(-1, -2))
            if forbidden is not None:
                scores = scores.masked_fill_(forbidden, -math.inf)
            dropped = torch.softmax(scores, -1, out=weights[block])
            if keep is not None and noise is not None:
                first = (block[1].start or 0) * dropped[0, 0].numel()
                mask = keep_mask(noise.for_runs(block[0]), tuple(dropped.shape[1:]), rate, first)
                keep[block] = mask
                dropped = mask.to(dropped.dtype).mul_(dropped)
            heads[block] = product(dropped, value).transpose(2, 3)
        ctx.save_for_backward(parts, weights, keep)
        ctx.rate = rate
        return heads.flatten(-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradient of Q, K and V, side by side."""
        parts, weights, keep = ctx.saved_tensors
        _, runs, batch, num_heads, time, dim = parts.shape
        total = gradient.new_empty(runs, batch, time, 3, num_heads, dim)
        outer = gradient.unflatten(-1, (num_heads, dim))
        for block in _blocks(weights):
            query, key, value = (part[block] for part in parts)
            probabilities = dropped = weights[block]
            grad_out = outer[block].transpose(2, 3).contiguous()
            grad_weights = product(grad_out, value.transpose(-1, -2))
            if keep is not None:
                mask = keep[block].to(probabilities.dtype)
                grad_weights, dropped = grad_weights.mul_(mask), mask.mul_(probabilities)
            grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, probabilities, -1, probabilities.dtype)
            grad_query = product(grad_scores, key).mul_(1 / math.sqrt(dim))
            grad_key = product(grad_scores.transpose(-1, -2), query)
            grad_value = product(dropped.transpose(-1, -2), grad_out).mul_(keep_scale(ctx.rate))
            total[block] = torch.stack((grad_query, grad_key, grad_value)).permute(1, 2, 4, 0, 3, 5)
        return total.flatten(-3), None, None, None, None


def _blocks(weights: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield the runs and sequences of each block; a GPU computes all of them as one block."""
    runs, batch = weights.shape[:2]
    if weights.device.type != "cpu":
        yield slice(None), slice(None)
        return
    sequence = weights[0, 0].numel()
    together = max(1, CACHED_SCORES // (batch * sequence))
    # Noise is drawn two numbers at a time, so every block must begin with an even one.
    sequences = batch if together > 1 else max(2, CACHED_SCORES // sequence // 2 * 2)
    for run in range(0, runs, together):
        for first in range(0, batch, sequences):
            yield slice(run, run + together), slice(first, first + sequences)
