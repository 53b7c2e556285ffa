"""The write gate: which tokens are written to memory (source 000)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.activation import sigmoid
from palimpsest.layers.linear import Linear


class WriteDecision(NamedTuple):
    """What a writer decides about each token; axes R runs, B batch, T time."""

    weight: Float[Tensor, "runs batch time"]
    """0 or 1: written or not. Where the writer is trained, its gradient is the gate's (straight-through)."""
    gate: Float[Tensor, "runs batch time"]
    """Probability of a write, in [0, 1]."""
    logit: Float[Tensor, "runs batch time"]
    """The gate before its sigmoid; zero for a writer that has none."""


class WriteGate(nn.Module):
    """g_t = σ(W₂ ReLU(W₁ h_t)), with biases [source 000, "Write Gate"; biases: the authors' code].

    Args:
        runs: size R of the pack.
        width: features D of h.
        hidden: features of W₁ h.
        bias: initial bias of W₂; positive: the gate starts open. ``None``: drawn like any bias.
    """

    def __init__(self, runs: int, width: int, hidden: int, bias: float | None = None) -> None:
        super().__init__()
        self.hidden = Linear(runs, width, hidden)
        self.logit = Linear(runs, hidden, 1, bias_value=bias)

    def forward(self, states: Float[Tensor, "runs batch time width"]) -> Float[Tensor, "runs batch time"]:
        """Logit of the write probability of every token."""
        return self.logit(self.hidden(states, relu=True)).squeeze(-1)


def threshold_writes(
    logit: Float[Tensor, "runs batch time"], threshold: Float[Tensor, " runs"], *, straight_through: bool
) -> WriteDecision:
    """Write token t if and only if g_t > τ.

    With ``straight_through`` the decision passes the gradient on as if it were g_t itself [Bengio, Léonard,
    Courville 2013]: w = 1[g > τ] + g − stop(g). Without it, no gradient reaches the gate from what was written; that
    is what the published code does.

    Args:
        logit: the gate before its sigmoid.
        threshold: τ of each run, in (0, 1).
        straight_through: whether writes carry a gradient.
    """
    gate = sigmoid(logit)
    hard = (gate > threshold[:, None, None]).to(gate.dtype)
    return WriteDecision(hard + (gate - gate.detach()) if straight_through else hard, gate, logit)


def fixed_writes(written: Float[Tensor, "runs batch time"]) -> WriteDecision:
    """The decision of a writer that does not learn: ``written`` is 0 or 1."""
    return WriteDecision(written, written, torch.zeros_like(written))
