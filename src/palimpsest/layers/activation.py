"""Transcendental functions whose results have the same bits in a pack of any size."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 64  # number of elements that the widest vector loop of a CPU processes at once


def sigmoid(x: Float[Tensor, "runs *inner"]) -> Float[Tensor, "runs *inner"]:
    """σ(x) = 1 / (1 + e^−x)."""
    return _elementwise(torch.sigmoid, x)


def exponential(x: Float[Tensor, "runs *inner"]) -> Float[Tensor, "runs *inner"]:
    """e^x."""
    return _elementwise(torch.exp, x)


def tanh(x: Float[Tensor, "runs *inner"]) -> Float[Tensor, "runs *inner"]:
    """Hyperbolic tangent of x."""
    return _elementwise(torch.tanh, x)


def softplus(x: Float[Tensor, "runs *inner"]) -> Float[Tensor, "runs *inner"]:
    """log(1 + e^x)."""
    return _elementwise(F.softplus, x)


def logarithm(x: Float[Tensor, "runs *inner"]) -> Float[Tensor, "runs *inner"]:
    """Natural logarithm of x."""
    return _elementwise(torch.log, x)


def _elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function to every element, with vector instructions only.

    A CPU computes these functions on whole vectors. It computes the remaining elements at the end one by one, with
    another approximation whose last bit may differ. Which elements remain depends on the size of the pack. Every run is
    therefore padded to whole vectors, so that no element remains.
    """
    count = math.prod(x.shape[1:])
    if count % _BLOCK == 0:
        return function(x.contiguous())
    padded = F.pad(x.reshape(x.shape[0], count), (0, -count % _BLOCK))
    return function(padded)[:, :count].reshape(x.shape)
