"""Auxiliary losses of a slot bank (source 002, Optimization and Training); all have a gradient to the addressing.

Deviates: in the source's public code they are taken of detached weights, so that no gradient reaches anything.

Axes: R runs, B batch, T time, H heads, N slots.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.layers.activation import logarithm

Weighting = Float[Tensor, "runs batch heads time slots"]
Terms = Float[Tensor, " runs"]
FLOOR = 1e-8
"""ε of the source's logarithm."""


def entropy(shares: Float[Tensor, "*inner slots"]) -> Float[Tensor, "*inner"]:
    """H = −Σ_i p_i log(p_i + ε) in nats."""
    return -(shares * logarithm(shares + FLOOR)).sum(-1)


def utilisation(weights: Weighting, sign: Literal["printed", "maximised"] = "maximised") -> Terms:
    """Entropy of the mean read weights of each head, over examples and time, as a share of its largest value log N.

    maximised:  L = 1 − H(w̄) / log N, which is smallest where all slots are read alike
    printed:    L = H(w̄) / log N: the source prints L_util = −Σ w̄ log(w̄ + ε), which is H itself, as a loss to be
                minimised. Minimising it lets a single slot win, the collapse that it is to prevent.

    Deviates: each head has slots of its own, so that w̄ is a mean within a head, not over heads, and the losses of heads
    are averaged; the entropy is divided by log N, so that its weight means the same for any N.
    """
    share = entropy(weights.mean((1, 3))).mean(1) / math.log(max(2, weights.shape[-1]))
    return share if sign == "printed" else 1 - share


def read_entropy(weights: Weighting) -> Terms:
    """Mean entropy of a read, in nats: 0 where every read takes one slot."""
    return entropy(weights).mean((1, 2, 3))


def sparsity(weights: Weighting) -> Terms:
    """1 − Σ_i w_i², the chance that two draws from a read differ: 0 where every read takes one slot."""
    return 1 - weights.square().sum(-1).mean((1, 2, 3))


def diversity(reads: Float[Tensor, "runs batch time heads dim"]) -> Terms:
    """Mean squared cosine of what two heads read at a time: 0 where they read orthogonal vectors, or with one head."""
    heads = reads.shape[-2]
    if heads == 1:
        return reads.new_zeros(len(reads))
    unit = reads / torch.linalg.vector_norm(reads, dim=-1, keepdim=True).clamp_min(1e-3)
    alike = (unit @ unit.transpose(-1, -2)).square()
    own = alike.diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((alike.sum((-1, -2)) - own) / (heads * (heads - 1))).mean((1, 2))


def pressure(usage: Float[Tensor, "runs batch time heads slots"]) -> Terms:
    """Mean usage of all slots over time, in [0, 1]: what the bank holds is to be worth its place."""
    return usage.mean((1, 2, 3, 4))
