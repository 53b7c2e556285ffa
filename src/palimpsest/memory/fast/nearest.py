"""Weights of the k slots that are most like a key as one autograd node, with the gradient written by hand.

:func:`palimpsest.memory.slot_bank.weighting` is the readable form, and tests compare the two.

Axes: R runs, B batch, H heads, C tokens, N slots, W features of a slot.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from palimpsest.layers.product import product
from palimpsest.memory.addressing import NORM_FLOOR

softmax_gradient = torch.ops.aten._softmax_backward_data


def nearest(similarity: Float[Tensor, "*inner slots"], k: int) -> Bool[Tensor, "*inner slots"]:
    """Return True at the k largest similarities; of equal ones the first, so that there are k. It has no gradient."""
    order = similarity.detach().argsort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(similarity, dtype=torch.bool).scatter(-1, order[..., :k], True)


def nearest_softmax(
    keys: Float[Tensor, "runs batch heads tokens dim"],
    strength: Float[Tensor, "runs batch heads tokens"],
    slots: Float[Tensor, "runs batch heads slots dim"],
    k: int,
) -> Float[Tensor, "runs batch heads tokens slots"]:
    """w(i) = e^(β K(i)) / Σ_j e^(β K(j)) over the k slots j with the largest K(j) = cos(k, M(j)), 0 elsewhere.

    Norms below ``NORM_FLOOR`` are replaced by it, as in :func:`addressing.cosine_similarity`.
    """
    return _NearestSoftmax.apply(keys, strength, slots, k)  # pyright: ignore[reportReturnType]


class _NearestSoftmax(torch.autograd.Function):
    """With û = u / |u|, K = k̂ · M̂ᵀ and s = β K: ds = w (dw − Σ w dw), dβ = Σ ds K, dK = β ds, dk̂ = dK M̂, dM̂ = dKᵀ k̂."""

    @staticmethod
    def forward(ctx: Any, keys: Tensor, strength: Tensor, slots: Tensor, k: int) -> Tensor:
        """See :func:`nearest_softmax`."""
        unit_keys, inverse_keys = _unit(keys)
        unit_slots, inverse_slots = _unit(slots)
        alike = product(unit_keys, unit_slots.transpose(-1, -2))
        scores = alike * strength[..., None]
        if k < alike.shape[-1]:
            scores.masked_fill_(~nearest(alike, k), -torch.inf)
        weights = scores.softmax(-1)
        ctx.save_for_backward(weights, alike, strength, unit_keys, inverse_keys, unit_slots, inverse_slots)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_weights: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of keys, strength and slots."""
        weights, alike, strength, unit_keys, inverse_keys, unit_slots, inverse_slots = ctx.saved_tensors
        grad_scores = softmax_gradient(grad_weights, weights, -1, weights.dtype)
        grad_strength = (grad_scores * alike).sum(-1)
        grad_alike = grad_scores.mul_(strength[..., None])
        grad_keys = _unit_gradient(product(grad_alike, unit_slots), unit_keys, inverse_keys)
        grad_slots = _unit_gradient(product(grad_alike.transpose(-1, -2), unit_keys), unit_slots, inverse_slots)
        return grad_keys, grad_strength, grad_slots, None


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return û = u / max(|u|, floor), and 1 / max(|u|, floor)."""
    inverse = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min_(NORM_FLOOR).reciprocal_()
    return vectors * inverse, inverse


def _unit_gradient(gradient: Tensor, unit: Tensor, inverse: Tensor) -> Tensor:
    """Return du = (dû − û (û · dû)) / |u|; where the floor stands for the norm, dû / floor."""
    along = (unit * gradient).sum(-1, keepdim=True).masked_fill_(inverse >= 1 / NORM_FLOOR, 0)
    return torch.addcmul(gradient, unit, along, value=-1).mul_(inverse)
