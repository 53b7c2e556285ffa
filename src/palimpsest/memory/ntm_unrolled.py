"""A whole sequence through an NTM as a single node of the graph, its gradient written by hand.

What a step of a small memory costs is the number of its calls. :func:`unrolled` says what a loop over
:meth:`palimpsest.memory.ntm.NTMCell.step` says, which is the readable form and what tests hold this one
to: without a node for each of some seventy operations, without those that a general rule for gradients needs and this
case does not, and with the gradients of all weights taken once, for all steps together.

Each part of a step is a pair of functions, an equation and its gradient; the equations' sources stand beside their
readable forms. The first returns its result and what it keeps for the second. ``of_x`` is the gradient of the loss with
respect to x.

Axes: R runs, B batch, T time; G runs and batch as one; H heads, read heads first, N slots, W slot_dim, K shifts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from palimpsest.layers.activation import logarithm, sigmoid, softplus
from palimpsest.layers.cells import lstm_gradient, lstm_step
from palimpsest.layers.product import product
from palimpsest.memory.addressing import NORM_FLOOR, WEIGHT_FLOOR, neighbours

Kept = tuple[Tensor, ...]
_softmax_gradient = torch.ops.aten._softmax_backward_data
_sigmoid_gradient = torch.ops.aten.sigmoid_backward


class Carried(NamedTuple):
    """What a step takes from the step before, and hands on."""

    hidden: Float[Tensor, "runs batch hidden"]
    memory: Float[Tensor, "runs batch hidden"]
    slots: Float[Tensor, "runs batch slots dim"]
    read_weights: Float[Tensor, "runs batch read_heads slots"]
    write_weights: Float[Tensor, "runs batch 1 slots"]
    reads: Float[Tensor, "runs batch reads"]


class Weights(NamedTuple):
    """Parameters, of the controller and of the projection to the heads."""

    of_input: Float[Tensor, "runs inputs gates"]
    bias: Float[Tensor, "runs gates"]
    recurrent: Float[Tensor, "runs hidden gates"]
    heads: Float[Tensor, "runs hidden told"]
    heads_bias: Float[Tensor, "runs told"]


def unrolled(
    xs: Float[Tensor, "runs batch time d_in"], carried: Carried, weights: Weights, parts: list[int]
) -> tuple[Float[Tensor, "runs batch time d_out"], Carried]:
    """What an NTM with an LSTM, cosine similarity and one write head says of a sequence, and what it carries on.

    Args:
        xs: the sequence, of one step or more.
        carried: from the steps before.
        weights: parameters.
        parts: how what the heads are told is laid out, see :class:`palimpsest.memory.ntm.NTMCell`.
    """
    said, *after = _Unrolled.apply(parts, xs, *carried, *weights)  # pyright: ignore[reportGeneralTypeIssues]
    return said, Carried(*after)


class _Unrolled(torch.autograd.Function):
    """Forward through time, and back."""

    @staticmethod
    def forward(ctx: Any, parts: list[int], xs: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """See :func:`unrolled`."""
        before, weights, width = Carried(*rest[:6]), Weights(*rest[6:]), xs.shape[-1]
        of_xs = product(xs.flatten(1, 2), weights.of_input[:, :width]).add_(weights.bias[:, None])
        recurrent = torch.cat([weights.recurrent, weights.of_input[:, width:]], 1)  # of [h; r], as a step says it
        said, memory, slots = torch.cat([before.hidden, before.reads], -1), before.memory, before.slots.flatten(0, 1)
        found = torch.cat([before.read_weights, before.write_weights], 2).flatten(0, 1)
        everything, kept = [said], []
        for of_x in of_xs.view(*xs.shape[:3], -1).unbind(2):
            hidden, memory, advanced = lstm_step(product(said, recurrent).add_(of_x), memory)
            told = product(hidden, weights.heads).add_(weights.heads_bias[:, None])
            reads, found, slots, attended = _attend(told, found, slots, parts)
            said = torch.cat([hidden, reads.reshape(*hidden.shape[:2], -1)], -1)
            everything.append(said)
            kept.append((advanced, attended))
        ctx.save_for_backward(xs, recurrent, weights.of_input, weights.heads)
        ctx.kept, ctx.everything = kept, torch.stack(everything, 2)
        size, shape = memory.shape[-1], xs.shape[:2]
        read_weights, write_weights = found.view(*shape, *found.shape[1:]).split([found.shape[1] - 1, 1], 2)
        after = said[..., :size], memory, slots.view(before.slots.shape), read_weights, write_weights, said[..., size:]
        return ctx.everything[:, :, 1:], *after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_all: Tensor, *of_after: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradient of the sequence, of what was carried in and of the weights; the steps in reverse."""
        xs, recurrent, of_input, heads = ctx.saved_tensors
        of, size = Carried(*of_after), of_after[0].shape[-1]
        of_said, of_memory, of_slots = torch.cat([of.hidden, of.reads], -1), of.memory, of.slots.flatten(0, 1)
        of_found = torch.cat([of.read_weights, of.write_weights], 2).flatten(0, 1)
        of_gates, of_told = [], []
        for (advanced, attended), of_y in zip(reversed(ctx.kept), reversed(of_all.unbind(2)), strict=True):
            of_said = of_said + of_y
            told, of_found, of_slots = _attend_gradient(of_said[..., size:], of_found, of_slots, attended)
            of_told.append(told.view(*xs.shape[:2], -1))
            of_hidden = product(of_told[-1], heads.transpose(1, 2)).add_(of_said[..., :size])
            gates, of_memory = lstm_gradient(of_hidden, of_memory, advanced)
            of_gates.append(gates)
            of_said = product(gates, recurrent.transpose(1, 2))
        every_gate, every_told = (torch.stack(parts[::-1], 2).flatten(1, 2) for parts in (of_gates, of_told))
        of_weights = _of_weights(xs, ctx.everything, every_gate, every_told, size)
        of_xs = product(every_gate, of_input[:, : xs.shape[-1]].transpose(1, 2)).view(xs.shape)
        of_read_weights, of_write_weights = of_found.view(*xs.shape[:2], *of_found.shape[1:]).split(
            [of_found.shape[1] - 1, 1], 2
        )
        of_before = Carried(
            of_said[..., :size],
            of_memory,
            of_slots.view(of.slots.shape),
            of_read_weights,
            of_write_weights,
            of_said[..., size:],
        )
        return None, of_xs, *of_before, *of_weights


def _of_weights(xs: Tensor, everything: Tensor, of_gates: Tensor, of_told: Tensor, size: int) -> Weights:
    """Of the parameters, one product for all steps; ``everything`` is what was said from before the first step on."""
    of_recurrent = product(everything[:, :, :-1].flatten(1, 2).mT, of_gates)
    return Weights(
        of_input=torch.cat([product(xs.flatten(1, 2).mT, of_gates), of_recurrent[:, size:]], 1),
        bias=of_gates.sum(1),
        recurrent=of_recurrent[:, :size],
        heads=product(everything[:, :, 1:, :size].flatten(1, 2).mT, of_told),
        heads_bias=of_told.sum(1),
    )


def _attend(told: Tensor, found: Tensor, slots: Tensor, parts: list[int]) -> tuple[Tensor, Tensor, Tensor, Any]:
    """What is read, all weightings and the slots after a step."""
    tell, heard = _tell(told, found.shape[1], slots.shape[-1], parts)
    content, looked = _look(tell.pull, slots)
    place, interpolated = _interpolate(content, found, tell.gate)
    shifted, moved = _shift(place, tell.kernel)
    found, sharpened = _sharpen(shifted, tell.sharpness)
    reads = torch.bmm(found, slots)[:, :-1]  # the write head reads too: of two rows or more a product is safe
    after, rewritten = _rewrite(slots, found, tell.erase, tell.add)
    return reads, found, after, (heard, looked, interpolated, moved, sharpened, rewritten)


def _attend_gradient(of_reads: Tensor, of_found: Tensor, of_slots: Tensor, kept: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Of what the heads are told, and of weightings and slots before."""
    heard, looked, interpolated, moved, sharpened, rewritten = kept
    slots, found = rewritten[0], sharpened[-1]
    of_reads = of_reads.reshape(len(slots), found.shape[1] - 1, -1)
    of_slots, of_written, of_erase, of_add = _rewrite_gradient(of_slots, rewritten)
    of_found = of_found + torch.cat([_times(of_reads, slots.mT), of_written], 1)
    of_shifted, of_sharpness = _sharpen_gradient(of_found, sharpened)
    of_place, of_kernel = _shift_gradient(of_shifted, moved)
    of_content, of_found, of_gate = _interpolate_gradient(of_place, interpolated)
    of_product, of_pull, shrink = _look_gradient(of_content, looked)
    # What was looked for and what was read is owed by the slots: one product of all heads side by side, and the norms.
    owed = torch.bmm(torch.cat([of_product, found[:, :-1]], 1).mT, torch.cat([looked[1], of_reads], 1))
    of_slots = of_slots.add_(owed).addcmul_(slots, shrink[..., None], value=-1)
    return _tell_gradient(of_pull, of_add, of_kernel, of_sharpness, of_gate, of_erase, heard), of_found, of_slots


class _Told(NamedTuple):
    """What the heads are told, each part in its range."""

    pull: Tensor
    """(G, H, W): β k / |k|."""
    gate: Tensor
    kernel: Tensor
    sharpness: Tensor
    erase: Tensor
    add: Tensor


def _tell(told: Tensor, count: int, dim: int, parts: list[int]) -> tuple[_Told, Kept]:
    """The parts; the slope of softplus is σ, and so σ is taken of all that goes through either."""
    plain = told.flatten(0, 1)
    key, add, kernel, _ = plain.split([*parts[:3], parts[3] + parts[4]], -1)
    key, kernel = key.unflatten(-1, (count, dim)), kernel.unflatten(-1, (count, -1)).softmax(-1)
    bent = told[..., sum(parts[:3]) :]
    positive = softplus(bent[..., : parts[3]]).reshape(len(plain), -1)
    slope = sigmoid(bent).reshape(len(plain), -1)
    norms, inverse = _norms(key)
    scale = positive[:, :count] * inverse
    gate, erase = slope[:, parts[3] :].split([count, dim], -1)
    tell = _Told(key * scale[..., None], gate, kernel, positive[:, count:] + 1, erase, add)
    return tell, (key, norms, inverse, scale, kernel, slope)


def _tell_gradient(
    of_pull: Tensor,
    of_add: Tensor,
    of_kernel: Tensor,
    of_sharpness: Tensor,
    of_gate: Tensor,
    of_erase: Tensor,
    kept: Kept,
) -> Tensor:
    """Of all parts. With s = β/|k| and p = s k: dk = s dp − s (dp · k)/|k|² k, dβ = (dp · k)/|k|."""
    key, norms, inverse, scale, kernel, slope = kept
    of_strength = (of_pull * key).sum(-1) * inverse
    of_key = of_pull * scale[..., None] - key * _through_norm(of_strength * scale, norms, inverse)[..., None]
    of_kernel = _softmax_gradient(of_kernel, kernel, -1, kernel.dtype)
    of_positive = torch.cat([of_strength, of_sharpness], -1)
    positive = of_positive.shape[-1]
    of_positive = of_positive * slope[:, :positive]
    of_gated = _sigmoid_gradient(torch.cat([of_gate, of_erase], -1), slope[:, positive:])
    return torch.cat([of_key.flatten(1), of_add, of_kernel.flatten(1), of_positive, of_gated], -1)


def _norms(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Norms, and one over them with the floor that :mod:`palimpsest.memory.addressing` puts under them."""
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    return norms, norms.clamp_min(NORM_FLOOR).reciprocal_()


def _through_norm(of_inverse: Tensor, norms: Tensor, inverse: Tensor) -> Tensor:
    """What is to be multiplied with a vector, for x/|x|: a norm at its floor does not change with the vector."""
    return of_inverse * inverse * (norms > NORM_FLOOR)


def _look(pull: Tensor, slots: Tensor) -> tuple[Tensor, Kept]:
    """Weights are softmax(s) with s_i = p · m_i / |m_i|."""
    norms, inverse = _norms(slots)
    score = torch.bmm(pull, slots.mT).mul_(inverse[:, None])
    weights = score.softmax(-1)
    return weights, (slots, pull, norms, inverse, score, weights)


def _look_gradient(of_weights: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
    """Q = ds / |m|, dp = Σ_i q_i m_i, and u_i = Σ q_i s_i / |m_i| with dm_i = Σ q_i p − u_i m_i; sums over heads."""
    slots, _, norms, inverse, score, weights = kept
    of_product = _softmax_gradient(of_weights, weights, -1, weights.dtype).mul_(inverse[:, None])
    shrink = _through_norm((of_product * score).sum(1), norms, inverse)
    return of_product, torch.bmm(of_product, slots), shrink


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
    of_power = _softmax_gradient(of_weights, weights, -1, weights.dtype)
    return (of_power * power).div_(shifted), (of_power * log).sum(-1)


def _rewrite(slots: Tensor, found: Tensor, erase: Tensor, add: Tensor) -> tuple[Tensor, Kept]:
    """m′_i = m_i r_i + w_i v with r_i = 1 − w_i e and w the last of all weightings."""
    weight = found[:, -1:].mT
    left = (weight * -erase[:, None]).add_(1)
    return (weight * add[:, None]).add_(slots * left), (slots, found, erase, add, left)


def _rewrite_gradient(of_slots: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of m, w, e and v: dm_i = dm′_i r_i, dw_i = dm′_i · (v − m_i e), de = −Σ w_i dm′_i m_i, dv = Σ w_i dm′_i."""
    slots, found, erase, add, left = kept
    turned = of_slots * slots
    rows = torch.stack([add, erase], 1)  # side by side, as BLAS goes another way for a single row of a single matrix
    of_written = torch.bmm(rows, of_slots.mT)[:, :1] - torch.bmm(rows, turned.mT)[:, 1:]
    of_add, of_erase = torch.bmm(found, of_slots)[:, -1], torch.bmm(found, turned)[:, -1]
    return of_slots * left, of_written, -of_erase, of_add


def _times(a: Tensor, b: Tensor) -> Tensor:
    """A b; a single row comes twice, as BLAS then goes another way for one matrix than for many."""
    return torch.bmm(a, b) if a.shape[1] > 1 else torch.bmm(torch.cat([a, a], 1), b)[:, :1]
