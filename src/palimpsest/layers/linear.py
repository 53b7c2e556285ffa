"""A linear map for every run of a pack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from palimpsest.layers.product import product


class Linear(nn.Module):
    """y_r = x_r W_r + b_r for every run r.

    Args:
        runs: size R of the pack.
        d_in: features in.
        d_out: features out.
        init: ``kaiming`` draws W and b from U(±1/√d_in), as PyTorch's ``nn.Linear`` does; ``xavier`` draws W from
            U(±√(6/(d_in+d_out))) with b = 0, as ``nn.MultiheadAttention`` does for its input projection.
        bias_value: a constant value for b; ``None``: b is drawn.
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
        """Draw every run's weights with that run's own generator."""
        bound = 1 / math.sqrt(self.d_in) if self.init == "kaiming" else math.sqrt(6 / (self.d_in + self.d_out))
        for weight, bias, generator in zip(self.weight, self.bias, generators, strict=True):
            weight.uniform_(-bound, bound, generator=generator)
            if self.bias_value is not None:
                bias.fill_(self.bias_value)
            elif self.init == "kaiming":
                bias.uniform_(-bound, bound, generator=generator)
            else:
                bias.zero_()

    def forward(
        self, x: Float[Tensor, "runs *inner d_in"], *, outputs: slice | None = None, relu: bool = False
    ) -> Float[Tensor, "runs *inner d_out"]:
        """Map the last axis; all axes between runs and features are batch axes.

        Args:
            x: input.
            outputs: the output features to compute; ``None``: all.
            relu: whether to return max(0, y) instead of y.
        """
        weight, bias = self.weight, self.bias
        if outputs is not None:
            weight, bias = weight[..., outputs], bias[..., outputs]
        return _Affine.apply(x, weight, bias, relu)  # pyright: ignore[reportReturnType]


class _Affine(torch.autograd.Function):
    """The map and its gradient as one autograd node.

    One node makes half the calls of a step, and small networks are bound by call overhead.
    dx = dy Wᵀ, dW = xᵀ dy, db = Σ dy, where dy is set to zero wherever the ReLU returned zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        """See :meth:`Linear.forward`."""
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        y = product(flat, weight).add_(bias[:, None])
        if relu:
            y = y.relu_()
        ctx.save_for_backward(flat, weight, y if relu else None)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of x, W and b."""
        flat, weight, y = ctx.saved_tensors
        grad_y = gradient.reshape(*flat.shape[:-1], gradient.shape[-1])
        if y is not None:
            grad_y = torch.ops.aten.threshold_backward(grad_y, y, 0)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = product(grad_y, weight.transpose(1, 2)).view(*gradient.shape[:-1], flat.shape[-1])
        return grad_x, product(flat.transpose(1, 2), grad_y), grad_y.sum(1), None
