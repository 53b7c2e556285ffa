"""Multi-head self-attention for every run of a pack."""

from __future__ import annotations

import math

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from palimpsest.layers.linear import Linear
from palimpsest.layers.noise import dropout
from palimpsest.layers.product import product


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
        runs, batch, time, width = x.shape
        if time == 1:  # one position attends to itself with weight 1, whatever its query and key
            value = self.project_in(x)[..., 2 * width :]
            if noise_key is None or not self.dropout_rate:
                return self.project_out(value)
        split = self.project_in(x).view(runs * batch, time, 3, self.num_heads, width // self.num_heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).flatten(1, 2)  # each (R·B·H, T, d_head)
        scores = product(query, key.transpose(1, 2)) * (1 / math.sqrt(query.shape[-1]))
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        weights = scores.softmax(-1)
        if self.dropout_rate and noise_key is not None:
            weights = dropout(weights.view(runs, -1), self.dropout_rate, noise_key, self.stream).view_as(weights)
        mixed = product(weights, value).view(runs, batch, self.num_heads, time, -1).transpose(2, 3)
        return self.project_out(mixed.reshape(runs, batch, time, width))
