"""One step of an NTM's memory and its gradient, for :mod:`palimpsest.memory.fast.sequence`.

It computes the same as :meth:`palimpsest.memory.ntm.NTMCell.attend` and the write after it, with cosine similarity and
one write head.

Axes: R runs, B batch; G runs and batch as one; H heads, read heads first, N slots, W slot_dim, K shifts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from palimpsest.layers.activation import logarithm, sigmoid, softplus
from palimpsest.memory.addressing import WEIGHT_FLOOR, neighbours
from palimpsest.memory.fast.sequence import (
    Memory,
    SavedKeys,
    SavedMatch,
    SavedWrite,
    match,
    match_gradient,
    scale_keys,
    scale_keys_gradient,
    sigmoid_gradient,
    small_product,
    softmax_gradient,
    write,
    write_gradient,
)


class _Interface(NamedTuple):
    """The parts of the interface vector, each in its range; or their gradients."""

    keys: Tensor
    """(G, H, W): β k / |k|."""
    gate: Tensor
    kernel: Tensor
    sharpness: Tensor
    erase: Tensor
    add: Tensor


class _SavedInterface(NamedTuple):
    keys: SavedKeys
    kernel: Tensor
    slope: Tensor
    """σ of everything that goes through σ or softplus: the slope of softplus."""


class _SavedInterpolation(NamedTuple):
    difference: Tensor
    """w_c − w."""
    gate: Tensor


class _SavedShift(NamedTuple):
    around: Tensor
    """w at every slot's neighbours, (G, H, K, N)."""
    kernel: Tensor


class _SavedSharpening(NamedTuple):
    shifted: Tensor
    log: Tensor
    power: Tensor
    """γ, (G, H, 1)."""
    weights: Tensor


class _Saved(NamedTuple):
    """What the backward pass needs of one step."""

    interface: _SavedInterface
    match: SavedMatch
    interpolation: _SavedInterpolation
    shift: _SavedShift
    sharpening: _SavedSharpening
    write: SavedWrite


@dataclass(frozen=True)
class NTMAccess:
    """All heads of one step; the memory is (slots (G, N, W), weights (G, H, N)).

    Args:
        parts: sizes of the parts of the interface vector, see :class:`palimpsest.memory.ntm.NTMCell`.
    """

    parts: tuple[int, ...]

    @property
    def padding(self) -> int:
        """0: the interface vector is not padded."""
        return 0

    def step(self, interface: Tensor, memory: Memory) -> tuple[Tensor, Memory, _Saved]:
        """Return the reads, (G, read heads, W), the memory after the step, and what the gradient needs."""
        slots, weights = memory
        parts, saved_interface = _split(interface, weights.shape[1], slots.shape[-1], self.parts)
        content, saved_match = match(parts.keys, slots)
        interpolated, saved_interpolation = _interpolate(content, weights, parts.gate)
        shifted, saved_shift = _shift(interpolated, parts.kernel)
        weights, saved_sharpening = _sharpen(shifted, parts.sharpness)
        # The write head reads, too, and its read is dropped: a product of two rows or more is independent of the pack.
        reads = torch.bmm(weights, slots)[:, :-1]
        after, saved_write = write(slots, weights[:, -1], parts.erase, parts.add)
        saved = _Saved(saved_interface, saved_match, saved_interpolation, saved_shift, saved_sharpening, saved_write)
        return reads, (after, weights), saved

    def gradient(self, grad_reads: Tensor, grad_memory: Memory, saved: _Saved) -> tuple[Tensor, Memory]:
        """Return the gradients of the interface vector, and of slots and weights before the step."""
        (grad_slots, grad_weights), slots, weights = grad_memory, saved.write.slots, saved.sharpening.weights
        grad_reads = grad_reads.reshape(len(slots), weights.shape[1] - 1, -1)
        written = write_gradient(grad_slots, saved.write)
        grad_read_weights = small_product(grad_reads, slots.mT)
        grad_weights = grad_weights + torch.cat([grad_read_weights, written.weights[:, None]], 1)
        grad_shifted, grad_sharpness = _sharpen_gradient(grad_weights, saved.sharpening)
        grad_interpolated, grad_kernel = _shift_gradient(grad_shifted, saved.shift)
        grad_content, grad_weights, grad_gate = _interpolate_gradient(grad_interpolated, saved.interpolation)
        matched = match_gradient(grad_content, saved.match)
        # Slots get a gradient from keys and from reads: one product over all heads side by side, minus that of norms.
        left, right = [matched.product, weights[:, :-1]], [saved.match.keys, grad_reads]
        from_heads = torch.bmm(torch.cat(left, 1).mT, torch.cat(right, 1))
        grad_slots = written.slots.add_(from_heads).addcmul_(slots, matched.shrink[..., None], value=-1)
        grad_parts = _Interface(matched.keys, grad_gate, grad_kernel, grad_sharpness, written.erase, written.add)
        return _split_gradient(grad_parts, saved.interface), (grad_slots, grad_weights)


def _split(vector: Tensor, heads: int, dim: int, parts: tuple[int, ...]) -> tuple[_Interface, _SavedInterface]:
    """Split the interface vector into its parts.

    The slope of softplus is σ. So σ is computed for all features that go through either function.
    """
    plain = vector.flatten(0, 1)
    keys, add, kernel, _ = plain.split([*parts[:3], parts[3] + parts[4]], -1)
    keys, kernel = keys.unflatten(-1, (heads, dim)), kernel.unflatten(-1, (heads, -1)).softmax(-1)
    nonlinear = vector[..., sum(parts[:3]) :]
    positive = softplus(nonlinear[..., : parts[3]]).reshape(len(plain), -1)
    slope = sigmoid(nonlinear).reshape(len(plain), -1)
    scaled, saved_keys = scale_keys(keys, positive[:, :heads])
    gate, erase = slope[:, parts[3] :].split([heads, dim], -1)
    interface = _Interface(scaled, gate, kernel, positive[:, heads:] + 1, erase, add)
    return interface, _SavedInterface(saved_keys, kernel, slope)


def _split_gradient(grad_parts: _Interface, saved: _SavedInterface) -> Tensor:
    """Return the gradient of the interface vector from the gradients of its parts."""
    grad_keys, grad_strength = scale_keys_gradient(grad_parts.keys, saved.keys)
    grad_kernel = softmax_gradient(grad_parts.kernel, saved.kernel, -1, saved.kernel.dtype)
    grad_positive = torch.cat([grad_strength, grad_parts.sharpness], -1)
    positive = grad_positive.shape[-1]
    grad_positive = grad_positive * saved.slope[:, :positive]
    grad_gated = torch.cat([grad_parts.gate, grad_parts.erase], -1)
    grad_gated = sigmoid_gradient(grad_gated, saved.slope[:, positive:])
    return torch.cat([grad_keys.flatten(1), grad_parts.add, grad_kernel.flatten(1), grad_positive, grad_gated], -1)


def _interpolate(content: Tensor, previous: Tensor, gate: Tensor) -> tuple[Tensor, _SavedInterpolation]:
    """w_g = w + g (w_c − w)."""
    difference = content - previous
    return previous + gate[..., None] * difference, _SavedInterpolation(difference, gate)


def _interpolate_gradient(grad_interpolated: Tensor, saved: _SavedInterpolation) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of w_c, w and g."""
    grad_content = grad_interpolated * saved.gate[..., None]
    grad_gate = (grad_interpolated * saved.difference).sum(-1)
    return grad_content, grad_interpolated - grad_content, grad_gate


def _shift(weights: Tensor, kernel: Tensor) -> tuple[Tensor, _SavedShift]:
    """w̃_i = Σ_s k_s w_{i−s}."""
    around = neighbours(weights, kernel.shape[-1])
    return _sum_shifts(kernel.flip(-1), around), _SavedShift(around, kernel)


def _shift_gradient(grad_shifted: Tensor, saved: _SavedShift) -> tuple[Tensor, Tensor]:
    """Return the gradients of w and k: dw_i = Σ_s k_s dw̃_{i+s}, dk_s = Σ_i dw̃_i w_{i−s}."""
    grad_weights = _sum_shifts(saved.kernel, neighbours(grad_shifted, saved.kernel.shape[-1]))
    return grad_weights, (grad_shifted[..., None, :] * saved.around).sum(-1).flip(-1)


def _sum_shifts(kernel: Tensor, around: Tensor) -> Tensor:
    """Compute Σ_s k_s w_{i+s} with one addition a shift: there are few, and one sum would read strided memory."""
    first, *others = zip(kernel.unsqueeze(-1).unbind(-2), around.unbind(-2), strict=True)
    total = first[0] * first[1]
    for weight, shifted in others:
        total.add_(weight * shifted)
    return total


def _sharpen(shifted: Tensor, sharpness: Tensor) -> tuple[Tensor, _SavedSharpening]:
    """Compute softmax(γ log w̃)."""
    shifted = shifted.add_(WEIGHT_FLOOR)
    log, power = logarithm(shifted), sharpness[..., None]
    weights = (power * log).softmax(-1)
    return weights, _SavedSharpening(shifted, log, power, weights)


def _sharpen_gradient(grad_weights: Tensor, saved: _SavedSharpening) -> tuple[Tensor, Tensor]:
    """Return the gradients of w̃ and γ."""
    grad_power = softmax_gradient(grad_weights, saved.weights, -1, saved.weights.dtype)
    return (grad_power * saved.power).div_(saved.shifted), (grad_power * saved.log).sum(-1)
