"""A linear map for every run of a pack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from palimpsest.layers.product import product


class Linear(nn.Module):
    """y_r = x_r W_r + b_r for every run r.

    Args:
        runs: size R of the pack.
        d_in: features in.
        d_out: features out.
        init: ``kaiming`` draws W and b from U(±1/√d_in), as PyTorch's ``nn.Linear`` does; ``xavier`` draws W from
            U(±√(6/(d_in+d_out))) with b = 0, as ``nn.MultiheadAttention`` does for its input projection.
        bias_value: a constant for b in place of a drawn one.
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        d_out: int,
        *,
        init: Literal["kaiming", "xavier"] = "kaiming",
        bias_value: float | None = None,
    ) -> None:
        super().__init__()
        self.d_in, self.d_out, self.init, self.bias_value = d_in, d_out, init, bias_value
        self.weight = nn.Parameter(torch.empty(runs, d_in, d_out))
        self.bias = nn.Parameter(torch.empty(runs, d_out))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's weights from that run's own generator."""
        bound = 1 / math.sqrt(self.d_in) if self.init == "kaiming" else math.sqrt(6 / (self.d_in + self.d_out))
        for weight, bias, generator in zip(self.weight, self.bias, generators, strict=True):
            weight.uniform_(-bound, bound, generator=generator)
            if self.bias_value is not None:
                bias.fill_(self.bias_value)
            elif self.init == "kaiming":
                bias.uniform_(-bound, bound, generator=generator)
            else:
                bias.zero_()

    def forward(self, x: Float[Tensor, "runs *inner d_in"]) -> Float[Tensor, "runs *inner d_out"]:
        """Map the last axis; all axes between runs and features are treated alike."""
        runs, inner = x.shape[0], x.shape[1:-1]
        y = product(x.reshape(runs, -1, self.d_in), self.weight, self.bias)
        return y.reshape(runs, *inner, self.d_out)
