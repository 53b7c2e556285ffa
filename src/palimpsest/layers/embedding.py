"""An embedding table for every run of a pack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F


class Embedding(nn.Module):
    """Looks up rows of a (runs, num_embeddings, dim) table, drawn from N(0, 1) as in PyTorch's ``nn.Embedding``."""

    def __init__(self, runs: int, num_embeddings: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(runs, num_embeddings, dim))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's table with that run's own generator."""
        for weight, generator in zip(self.weight, generators, strict=True):
            weight.normal_(generator=generator)

    def forward(self, index: Int[Tensor, "runs *inner"]) -> Float[Tensor, "runs *inner dim"]:
        """Look up ``index``, in [0, num_embeddings), run by run.

        Raises:
            IndexError: an index of the last run is too large. The caller must check the indices of the other runs.
        """
        runs, rows, dim = self.weight.shape
        offset = torch.arange(runs, device=index.device).view(-1, *[1] * (index.dim() - 1)) * rows
        return F.embedding(index + offset, self.weight.reshape(runs * rows, dim))
