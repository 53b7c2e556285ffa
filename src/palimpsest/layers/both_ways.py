"""A GRU in each direction over a whole sequence, as one autograd node, for every run of a pack."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from palimpsest.layers.activation import sigmoid, tanh
from palimpsest.layers.cells import GRUCell
from palimpsest.layers.product import product


class BothWays(nn.Module):
    """Two GRUs [Cho et al. 2014] that read a sequence from its first and from its last token [Schuster, Paliwal 1997].

    It computes the same as PyTorch's bidirectional ``nn.GRU``; the first states are zero. Both directions take their
    steps together, because small networks are bound by call overhead.

    Args:
        runs: size R of the pack.
        d_in: features in.
        d_hidden: units K of each direction; features out are 2 K.
    """

    def __init__(self, runs: int, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.d_hidden, self.d_out = d_hidden, 2 * d_hidden
        self.ahead = GRUCell(runs, d_in, d_hidden)
        self.back = GRUCell(runs, d_in, d_hidden)

    def forward(self, features: Float[Tensor, "runs batch time d_in"]) -> Float[Tensor, "runs batch time d_out"]:
        """Return both states at every token: ahead, after the tokens up to it; back, after those from it on."""
        gates = torch.stack([self.ahead.of_input(features), self.back.of_input(features.flip(2))], 1)
        weight, bias = (
            torch.stack([getattr(cell.of_hidden, name) for cell in (self.ahead, self.back)], 1).flatten(0, 1)
            for name in ("weight", "bias")
        )
        states = gru_states(gates.flatten(0, 1), weight, bias).unflatten(0, (-1, 2))
        return torch.cat([states[:, 0], states[:, 1].flip(2)], -1)


def gru_states(
    gates: Float[Tensor, "runs batch time gates"],
    weight: Float[Tensor, "runs hidden gates"],
    bias: Float[Tensor, "runs gates"],
) -> Float[Tensor, "runs batch time hidden"]:
    """Return the states of a GRU after each token; the first state is zero.

    r, z = σ(x + U h + d)    n = tanh(x + r ⊙ (U h + d))    h ← n + z ⊙ (h − n)

    Args:
        gates: x, the inputs' part of reset gate r, keep gate z and new content n, side by side.
        weight: U of all three.
        bias: d of all three.
    """
    return _States.apply(gates, weight, bias)  # pyright: ignore[reportReturnType]


class _States(torch.autograd.Function):
    """The pass and its gradient as one autograd node; the weights' gradient is one product over all steps."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See :func:`gru_states`."""
        size = weight.shape[1]
        hidden = gates.new_zeros(*gates.shape[:2], size)
        before, opened, news, recurrent = [], [], [], []
        for x in gates.unbind(2):
            before.append(hidden)
            inner = product(hidden, weight).add_(bias[:, None])
            both = sigmoid(x[..., : 2 * size] + inner[..., : 2 * size])
            new = tanh(torch.addcmul(x[..., 2 * size :], both[..., :size], inner[..., 2 * size :]))
            hidden = torch.addcmul(new, both[..., size:], hidden - new)
            opened.append(both)
            news.append(new)
            recurrent.append(inner[..., 2 * size :])
        ctx.save_for_backward(weight, *(torch.stack(part) for part in (before, opened, news, recurrent)))
        return torch.stack([*before[1:], hidden], 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of the inputs' part, of U and of d."""
        weight, before, opened, news, recurrent = ctx.saved_tensors
        size = weight.shape[1]
        back = weight.transpose(1, 2)
        grad = torch.zeros_like(before[0])
        of_input, of_hidden = [], []
        for time in range(len(before) - 1, -1, -1):
            grad = grad + gradient[:, :, time]
            reset, keep = opened[time].split(size, -1)
            new = torch.ops.aten.tanh_backward(grad * (1 - keep), news[time])
            both = torch.cat([new * recurrent[time], grad * (before[time] - news[time])], -1)
            both = torch.ops.aten.sigmoid_backward(both, opened[time])
            inner = torch.cat([both, new * reset], -1)
            grad = torch.addcmul(product(inner, back), grad, keep)
            of_input.append(torch.cat([both, new], -1))
            of_hidden.append(inner)
        inner = torch.stack(of_hidden[::-1], 1).flatten(1, 2)
        states = before.transpose(0, 1).flatten(1, 2)
        return torch.stack(of_input[::-1], 2), product(states.transpose(1, 2), inner), inner.sum(1)
