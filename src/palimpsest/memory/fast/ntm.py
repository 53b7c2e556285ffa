"""A step of an NTM's memory, and its gradient, for :mod:`palimpsest.memory.fast.sequence`.

It says what :meth:`palimpsest.memory.ntm.NTMCell.attend` and the writing after it say, with cosine similarity and one
write head.

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
    Kept,
    Memory,
    look,
    look_gradient,
    pull,
    pull_gradient,
    rewrite,
    rewrite_gradient,
    sigmoid_gradient,
    softmax_gradient,
    times,
)


@dataclass(frozen=True)
class NTMAccess:
    """All heads on the slots; the memory is (slots (G, N, W), weightings (G, H, N)).

    Args:
        parts: how what the heads are told is laid out, see :class:`palimpsest.memory.ntm.NTMCell`.
    """

    parts: tuple[int, ...]

    @property
    def padding(self) -> int:
        """None."""
        return 0

    def step(self, told: Tensor, memory: Memory) -> tuple[Tensor, Memory, Kept]:
        """What is read, (G, read heads, W), the memory after a step, and what is kept."""
        slots, found = memory
        tell, heard = _tell(told, found.shape[1], slots.shape[-1], self.parts)
        content, looked = look(tell.pull, slots)
        place, interpolated = _interpolate(content, found, tell.gate)
        shifted, moved = _shift(place, tell.kernel)
        found, sharpened = _sharpen(shifted, tell.sharpness)
        reads = torch.bmm(found, slots)[:, :-1]  # the write head reads too: of two rows or more a product is safe
        after, rewritten = rewrite(slots, found[:, -1], tell.erase, tell.add)
        return reads, (after, found), (heard, looked, interpolated, moved, sharpened, rewritten)

    def gradient(self, of_reads: Tensor, of_memory: Memory, kept: Kept) -> tuple[Tensor, Memory]:
        """Of what the heads are told, and of slots and weightings before."""
        heard, looked, interpolated, moved, sharpened, rewritten = kept
        (of_slots, of_found), slots, found = of_memory, rewritten[0], sharpened[-1]
        of_reads = of_reads.reshape(len(slots), found.shape[1] - 1, -1)
        of_slots, of_written, of_erase, of_add = rewrite_gradient(of_slots, rewritten)
        of_found = of_found + torch.cat([times(of_reads, slots.mT), of_written[:, None]], 1)
        of_shifted, of_sharpness = _sharpen_gradient(of_found, sharpened)
        of_place, of_kernel = _shift_gradient(of_shifted, moved)
        of_content, of_found, of_gate = _interpolate_gradient(of_place, interpolated)
        of_product, of_pull, shrink = look_gradient(of_content, looked)
        # What was looked for and what was read is owed by the slots: one product of all heads side by side, and norms.
        owed = torch.bmm(torch.cat([of_product, found[:, :-1]], 1).mT, torch.cat([looked[1], of_reads], 1))
        of_slots = of_slots.add_(owed).addcmul_(slots, shrink[..., None], value=-1)
        of_told = _tell_gradient(of_pull, of_add, of_kernel, of_sharpness, of_gate, of_erase, heard)
        return of_told, (of_slots, of_found)


class _Told(NamedTuple):
    """What the heads are told, each part in its range."""

    pull: Tensor
    """(G, H, W): β k / |k|."""
    gate: Tensor
    kernel: Tensor
    sharpness: Tensor
    erase: Tensor
    add: Tensor


def _tell(told: Tensor, count: int, dim: int, parts: tuple[int, ...]) -> tuple[_Told, Kept]:
    """The parts; the slope of softplus is σ, and so σ is taken of all that goes through either."""
    plain = told.flatten(0, 1)
    key, add, kernel, _ = plain.split([*parts[:3], parts[3] + parts[4]], -1)
    key, kernel = key.unflatten(-1, (count, dim)), kernel.unflatten(-1, (count, -1)).softmax(-1)
    bent = told[..., sum(parts[:3]) :]
    positive = softplus(bent[..., : parts[3]]).reshape(len(plain), -1)
    slope = sigmoid(bent).reshape(len(plain), -1)
    towards, pulled = pull(key, positive[:, :count])
    gate, erase = slope[:, parts[3] :].split([count, dim], -1)
    tell = _Told(towards, gate, kernel, positive[:, count:] + 1, erase, add)
    return tell, (pulled, kernel, slope)


def _tell_gradient(
    of_pull: Tensor,
    of_add: Tensor,
    of_kernel: Tensor,
    of_sharpness: Tensor,
    of_gate: Tensor,
    of_erase: Tensor,
    kept: Kept,
) -> Tensor:
    """Of all parts, side by side."""
    pulled, kernel, slope = kept
    of_key, of_strength = pull_gradient(of_pull, pulled)
    of_kernel = softmax_gradient(of_kernel, kernel, -1, kernel.dtype)
    of_positive = torch.cat([of_strength, of_sharpness], -1)
    positive = of_positive.shape[-1]
    of_positive = of_positive * slope[:, :positive]
    of_gated = sigmoid_gradient(torch.cat([of_gate, of_erase], -1), slope[:, positive:])
    return torch.cat([of_key.flatten(1), of_add, of_kernel.flatten(1), of_positive, of_gated], -1)


def _interpolate(content: Tensor, previous: Tensor, gate: Tensor) -> tuple[Tensor, Kept]:
    """w_g = w + g (w_c − w)."""
    change = content - previous
    return previous + gate[..., None] * change, (change, gate)


def _interpolate_gradient(of_place: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
    """Of w_c, w and g."""
    change, gate = kept
    of_content = of_place * gate[..., None]
    return of_content, of_place - of_content, (of_place * change).sum(-1)


def _shift(place: Tensor, kernel: Tensor) -> tuple[Tensor, Kept]:
    """w̃_i = Σ_s k_s w_{i−s}."""
    around = neighbours(place, kernel.shape[-1])
    return _weighed(kernel.flip(-1), around), (around, kernel)


def _shift_gradient(of_shifted: Tensor, kept: Kept) -> tuple[Tensor, Tensor]:
    """Of w and k: dw_i = Σ_s k_s dw̃_{i+s}, dk_s = Σ_i dw̃_i w_{i−s}."""
    around, kernel = kept
    of_place = _weighed(kernel, neighbours(of_shifted, kernel.shape[-1]))
    return of_place, (of_shifted[..., None, :] * around).sum(-1).flip(-1)


def _weighed(kernel: Tensor, around: Tensor) -> Tensor:
    """Σ_s k_s w_{i+s}, one shift after the other: there are few, and in a sum over them all would lie strided."""
    first, *others = zip(kernel.unsqueeze(-1).unbind(-2), around.unbind(-2), strict=True)
    total = first[0] * first[1]
    for weight, shifted in others:
        total.add_(weight * shifted)
    return total


def _sharpen(shifted: Tensor, sharpness: Tensor) -> tuple[Tensor, Kept]:
    """Weights are softmax(γ log w̃)."""
    shifted = shifted.add_(WEIGHT_FLOOR)
    log, power = logarithm(shifted), sharpness[..., None]
    weights = (power * log).softmax(-1)
    return weights, (shifted, log, power, weights)


def _sharpen_gradient(of_weights: Tensor, kept: Kept) -> tuple[Tensor, Tensor]:
    """Of w̃ and γ."""
    shifted, log, power, weights = kept
    of_power = softmax_gradient(of_weights, weights, -1, weights.dtype)
    return (of_power * power).div_(shifted), (of_power * log).sum(-1)
