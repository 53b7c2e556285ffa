"""Addressing of a memory by content, location, both, or free space, and the read and write operations themselves.

[Graves, Wayne, Danihelka 2014], "Neural Turing Machines", eqs. 2 to 9; [Graves et al. 2016], "Hybrid computing using a
neural network with dynamic external memory", Methods. All memories of this package with soft addresses use these
equations.

Axes: R runs, B batch, H heads, N slots, W slot_dim, K shifts. A weighting is non-negative and sums to at most one.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.activation import logarithm
from palimpsest.layers.product import product

SIMILARITIES = ("cosine", "dot")
Keys = Float[Tensor, "runs batch heads dim"]
Slots = Float[Tensor, "runs batch slots dim"]
PerHead = Float[Tensor, "runs batch heads"]
Weighting = Float[Tensor, "runs batch heads slots"]

NORM_FLOOR = 1e-3
"""Smaller norms are replaced by this value. So an almost empty slot is similar to nothing, and no gradient exceeds the
inverse of this value. Half precision can represent it."""
WEIGHT_FLOOR = 1e-30
"""Added to a weight before its logarithm; types without numbers this small add their smallest normal number."""
USAGE_FLOOR = 1e-6
"""Smallest usage of a slot: the gradient of a product of usages divides by each of them."""


def cosine_similarity(key: Keys, slots: Slots) -> Weighting:
    """K[k, M(i)] = k · M(i) / (|k| |M(i)|)    [Graves 2014, eq. 6].

    The similarity is zero for a zero key or slot. The key is divided by its norm first. The product is then at most a
    slot's norm, which half precision can represent.

    Deviates: norms below ``NORM_FLOOR`` are replaced by it.
    """
    unit = key / _norm(key)[..., None]
    return product(unit, slots.transpose(-1, -2)) / _norm(slots)[:, :, None]


def _norm(vectors: Float[Tensor, "*inner dim"]) -> Float[Tensor, "*inner"]:
    return torch.linalg.vector_norm(vectors, dim=-1).clamp_min(NORM_FLOOR)


def dot_similarity(key: Keys, slots: Slots) -> Weighting:
    """K[k, M(i)] = k · M(i); it grows with the norm of a slot."""
    return product(key, slots.transpose(-1, -2))


def content_weights(key: Keys, slots: Slots, strength: PerHead, similarity: str = "cosine") -> Weighting:
    """w(i) = e^(β K[k, M(i)]) / Σ_j e^(β K[k, M(j)])    [Graves 2014, eq. 5; Graves 2016, C(M, k, β)].

    Args:
        key: k, compared with every slot.
        slots: M.
        strength: β ≥ 0. A larger β puts more weight on the most similar slots; 0 gives all slots the same weight.
        similarity: K, ``cosine`` or ``dot``.

    Raises:
        ParameterError: ``similarity`` is neither ``cosine`` nor ``dot``.
    """
    if similarity not in SIMILARITIES:
        raise ParameterError(f"similarity: {similarity!r} is unknown; allowed: {', '.join(SIMILARITIES)}")
    alike = cosine_similarity(key, slots) if similarity == "cosine" else dot_similarity(key, slots)
    return (strength[..., None] * alike).softmax(-1)


def interpolate(content: Weighting, previous: Weighting, gate: PerHead) -> Weighting:
    """w_g = g w_c + (1 − g) w_{t−1}    [Graves 2014, eq. 7].

    Args:
        content: w_c, the weighting by content.
        previous: w_{t−1}, the weighting of the step before.
        gate: g in [0, 1]; 0 stays at the previous place, 1 moves to the content.
    """
    return previous + gate[..., None] * (content - previous)


def shift(weights: Weighting, kernel: Float[Tensor, "runs batch heads shifts"]) -> Weighting:
    """w̃(i) = Σ_j w(j) s(i − j), indices modulo N    [Graves 2014, eq. 8].

    Args:
        weights: w.
        kernel: s over shifts −S, …, S in this order, non-negative, sums to one; a shift of 1 moves weight from slot i
            to slot i + 1.

    Raises:
        ParameterError: ``kernel`` has more shifts than N, or an even number, which has no middle one.
    """
    shifts, num_slots = kernel.shape[-1], weights.shape[-1]
    if shifts % 2 == 0 or shifts > num_slots:
        raise ParameterError(
            f"kernel: {shifts} shifts of {num_slots} slots; allowed: an odd number, no more than slots"
        )
    return product(kernel.flip(-1)[..., None, :], neighbours(weights, shifts)).squeeze(-2)


def neighbours(weights: Float[Tensor, "*inner slots"], shifts: int) -> Float[Tensor, "*inner shifts slots"]:
    """Return the weight of slot i + s modulo N for every shift s from −S to S and every slot i."""
    largest = shifts // 2
    wrapped = torch.cat([weights[..., weights.shape[-1] - largest :], weights, weights[..., :largest]], -1)
    return wrapped.unfold(-1, weights.shape[-1], 1)


def sharpen(weights: Weighting, sharpness: PerHead) -> Weighting:
    """w(i) = w̃(i)^γ / Σ_j w̃(j)^γ    [Graves 2014, eq. 9], computed as softmax(γ log w̃).

    In this form no power underflows before the division, for any γ.

    Deviates: ``WEIGHT_FLOOR`` is added to every w̃. So zero has a logarithm, and the gradient that it has in the
    equation. If all weights are zero, the results are all equal.

    Args:
        weights: w̃.
        sharpness: γ ≥ 1.
    """
    log = logarithm(weights + max(WEIGHT_FLOOR, torch.finfo(weights.dtype).tiny))
    # Subtracting the largest logarithm changes no quotient, and keeps γ log w̃ in the range of half precision.
    return (sharpness[..., None] * (log - log.detach().amax(-1, keepdim=True))).softmax(-1)


def location_weights(
    content: Weighting,
    previous: Weighting,
    gate: PerHead,
    kernel: Float[Tensor, "runs batch heads shifts"],
    sharpness: PerHead,
) -> Weighting:
    """Interpolate, shift and sharpen    [Graves 2014, eqs. 7 to 9]; with a gate of 0 only location counts."""
    return sharpen(shift(interpolate(content, previous, gate), kernel), sharpness)


def hybrid(
    key: Keys,
    slots: Slots,
    strength: PerHead,
    previous: Weighting,
    gate: PerHead,
    kernel: Float[Tensor, "runs batch heads shifts"],
    sharpness: PerHead,
    similarity: str = "cosine",
) -> Weighting:
    """Address by content, then by location: the complete addressing of an NTM    [Graves 2014, Figure 2].

    Raises:
        ParameterError: in the cases of :func:`content_weights` and :func:`shift`.
    """
    return location_weights(content_weights(key, slots, strength, similarity), previous, gate, kernel, sharpness)


def allocation(usage: Float[Tensor, "runs batch slots"]) -> Float[Tensor, "runs batch slots"]:
    """a[φ_j] = (1 − u[φ_j]) Π_{i<j} u[φ_i], φ the slots from the least used to the most used    [Graves 2016, eq. 1].

    The least used slot gets as much weight as it has free space, the next slot gets a part of the rest, and so on. If
    usages are equal, the lower slot number comes first. The order itself has no gradient.

    Deviates: u is replaced by ε + (1 − ε) u with ε = ``USAGE_FLOOR``.

    Args:
        usage: u in [0, 1].
    """
    ordered, order = usage.sort(dim=-1, stable=True)
    floor = max(USAGE_FLOOR, torch.finfo(usage.dtype).tiny)
    taken = (floor + (1 - floor) * ordered).cumprod(-1)
    before = torch.cat([torch.ones_like(taken[..., :1]), taken[..., :-1]], -1)
    return torch.zeros_like(usage).scatter(-1, order, (1 - floor) * (1 - ordered) * before)


def read(slots: Slots, read_weights: Weighting) -> Float[Tensor, "runs batch heads dim"]:
    """Read with every head: r = Σ_i w(i) M(i)    [Graves 2014, eq. 2]."""
    return product(read_weights, slots)


def erase_and_add(slots: Slots, write_weights: Weighting, erase: Keys, add: Keys) -> Slots:
    """M_t(i) = M_{t−1}(i) ⊙ Π_h (1 − w_h(i) e_h) + Σ_h w_h(i) a_h    [Graves 2014, eqs. 3 and 4].

    All heads erase before any head adds, so the order of heads does not matter.

    Args:
        slots: M_{t−1}.
        write_weights: w.
        erase: e in [0, 1].
        add: a.
    """
    if write_weights.shape[2] == 1:
        return _EraseAndAdd.apply(slots, write_weights, erase, add)  # pyright: ignore[reportReturnType]
    erased = write_weights.transpose(-1, -2)[..., None, :] * erase.transpose(-1, -2)[:, :, None]
    return slots * (1 - erased).prod(-1) + product(write_weights.transpose(-1, -2), add)


class _EraseAndAdd(torch.autograd.Function):
    """One head's write and its gradient as one autograd node, whose sums over slots and features are products."""

    @staticmethod
    def forward(ctx: Any, slots: Tensor, write_weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
        """See :func:`erase_and_add`."""
        weights = write_weights.transpose(-1, -2)
        keep = (weights * erase).neg_().add_(1)
        ctx.save_for_backward(slots, write_weights, erase, add, keep)
        return (weights * add).add_(slots * keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """With G = dM_t: dM = G ⊙ (1 − w eᵀ), dw = G a − (G ⊙ M) e, de = −(G ⊙ M)ᵀ w, da = Gᵀ w."""
        slots, write_weights, erase, add, keep = ctx.saved_tensors
        both = torch.cat([gradient, gradient * slots], -1)
        grad_add, grad_erase = product(write_weights, both).split(slots.shape[-1], -1)
        grad_weights = product(torch.cat([add, -erase], -1), both.transpose(-1, -2))
        return gradient * keep, grad_weights, -grad_erase, grad_add
