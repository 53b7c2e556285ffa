"""Layer normalisation for every run of a pack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F


class LayerNorm(nn.Module):
    """y = (x − mean) / √(var + 10⁻⁵) · γ_r + β_r over the last axis [Ba, Kiros, Hinton 2016]."""

    def __init__(self, runs: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(runs, dim))
        self.bias = nn.Parameter(torch.empty(runs, dim))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """γ = 1, β = 0; nothing is drawn."""
        del generators
        self.weight.fill_(1)
        self.bias.zero_()

    def forward(self, x: Float[Tensor, "runs *inner dim"]) -> Float[Tensor, "runs *inner dim"]:
        """Normalise the last axis."""
        shape = (x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])
        return F.layer_norm(x, x.shape[-1:]) * self.weight.view(shape) + self.bias.view(shape)
