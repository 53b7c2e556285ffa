"""A whole sequence through an LSTM and its memory as one autograd node, with the gradient written by hand.

Small memories are bound by call overhead. :func:`unrolled` computes the same as a loop over a cell's ``step``. That
loop is the readable form, and tests compare the two. The single node is faster for three reasons: autograd makes no
node for each of the eighty or so operations of a step; operations that a general gradient rule needs and these cells
do not need are left out; and the gradients of all weights are computed once, for all steps together. If the step is
compiled, its calls are also fused into a few loops.

This module holds the pass over time and the operations that several memories share.
:mod:`palimpsest.memory.fast.ntm` and :mod:`palimpsest.memory.fast.dnc` hold the operations of one memory. Each part of
a step is a pair of functions: an equation and its gradient. The equations' sources stand beside their readable forms.
The first function returns its result and the tensors that it saves for the second. ``grad_x`` is the gradient of the
loss with respect to x.

Axes: R runs, B batch, T time, G = R B, K keys, N slots, W slot_dim.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from palimpsest.layers.cells import SavedLSTMStep, lstm_gradient, lstm_step
from palimpsest.layers.product import product
from palimpsest.memory.addressing import NORM_FLOOR

Memory = tuple[Tensor, ...]
"""The tensors that a memory carries from step to step, each (G, …)."""
softmax_gradient = torch.ops.aten._softmax_backward_data
sigmoid_gradient = torch.ops.aten.sigmoid_backward
SHAPES = 64
"""Number of shapes for which a step is compiled. By default PyTorch silently returns to slow steps after eight."""


@runtime_checkable
class Access(Protocol):
    """One step of a memory and its gradient. Instances are hashable; equal instances compute the same."""

    @property
    def padding(self) -> int:
        """Number of unused features that are appended to the interface vector."""
        ...

    def step(self, interface: Float[Tensor, "runs batch interface"], memory: Memory) -> tuple[Tensor, Memory, Any]:
        """Return the reads, (G, …), the memory after the step, and what :meth:`gradient` needs of the step."""
        ...

    def gradient(
        self, grad_reads: Float[Tensor, "runs batch reads"], grad_memory: Memory, saved: Any
    ) -> tuple[Tensor, Memory]:
        """Return the gradients of the interface vector without padding, (G, interface), and of the memory before."""
        ...


class Weights(NamedTuple):
    """Parameters of the controller, and of the map from its output to the memory's interface vector."""

    input_weight: Float[Tensor, "runs inputs_and_reads gates"]
    gate_bias: Float[Tensor, "runs gates"]
    recurrent_weight: Float[Tensor, "runs hidden gates"]
    interface_weight: Float[Tensor, "runs hidden interface"]
    interface_bias: Float[Tensor, "runs interface"]


class Carried(NamedTuple):
    """State between two steps."""

    hidden: Float[Tensor, "runs batch hidden"]
    cell: Float[Tensor, "runs batch hidden"]
    reads: Float[Tensor, "runs batch reads"]
    memory: Memory
    """Each tensor is (R, B, …) here."""


class _SavedStep(NamedTuple):
    """What the backward pass needs of one step."""

    controller: SavedLSTMStep
    access: Any


class _Step(NamedTuple):
    """Result of one step."""

    outputs: Tensor
    """[h_t; r_t], (R, B, hidden + reads)."""
    cell: Tensor
    memory: Memory
    saved: _SavedStep


class _StepGradient(NamedTuple):
    """Gradients that one step of the backward pass computes."""

    outputs: Tensor
    """Of [h; r] before the step."""
    cell: Tensor
    """Of the LSTM's cell before the step."""
    memory: Memory
    """Of the memory before the step."""
    interface: Tensor
    """Of the interface vector in the step."""
    gates: Tensor
    """Of all gates in the step, before their nonlinearity."""


def unrolled(
    access: Access,
    xs: Float[Tensor, "runs batch time d_in"],
    carried: Carried,
    weights: Weights,
    *,
    reading: bool = True,
    compiled: bool = False,
) -> tuple[Float[Tensor, "runs batch time d_out"], Carried]:
    """Return [h_t; r_t] after every step, and the state after the last step.

    Args:
        access: the memory.
        xs: the sequence, one step or more.
        carried: the state before the first step.
        weights: parameters.
        reading: whether the memory is read; otherwise all reads are zeros, as under the control ``off``.
        compiled: whether torch.compile fuses a step and its gradient. It takes half a minute for each shape.
    """
    *lstm, memory = carried
    outputs, hidden, cell, reads, *after = _Unrolled.apply(access, reading, compiled, xs, *weights, *lstm, *memory)  # pyright: ignore[reportGeneralTypeIssues]
    return outputs, Carried(hidden, cell, reads, tuple(after))


class _Unrolled(torch.autograd.Function):
    """The pass forward through time and the pass back."""

    @staticmethod
    def forward(
        ctx: Any, access: Access, reading: bool, compiled: bool, xs: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """See :func:`unrolled`."""
        weights, (hidden, cell, reads, *before), width = Weights(*rest[:5]), rest[5:], xs.shape[-1]
        step, _ = _passes(access, reading, compiled, xs.device.type)
        xs_gates = product(xs.flatten(1, 2), weights.input_weight[:, :width]).add_(weights.gate_bias[:, None])
        recurrent = torch.cat([weights.recurrent_weight, weights.input_weight[:, width:]], 1)  # for [h; r]
        interface_weight, interface_bias = (F.pad(part, (0, access.padding)) for part in weights[3:])
        outputs, memory = torch.cat([hidden, reads], -1), tuple(part.flatten(0, 1).contiguous() for part in before)
        all_outputs, saved = [outputs], []
        for x_gates in xs_gates.view(*xs.shape[:3], -1).transpose(1, 2).contiguous().unbind(1):
            outputs, cell, memory, saved_step = step(
                outputs, cell, memory, x_gates, recurrent, interface_weight, interface_bias[:, None]
            )
            all_outputs.append(outputs)
            saved.append(saved_step)
        ctx.save_for_backward(xs, recurrent, weights.input_weight, weights.interface_weight)
        ctx.saved, ctx.all_outputs = saved, torch.stack(all_outputs, 2)
        ctx.passes = access, reading, compiled
        hidden, reads = outputs.split_with_sizes([hidden.shape[-1], reads.shape[-1]], -1)
        after = (part.view(like.shape) for part, like in zip(memory, before, strict=True))
        return ctx.all_outputs[:, :, 1:], hidden, cell, reads, *after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_all: Tensor, *grad_after: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of the sequence, the weights and the first state; steps run in reverse order."""
        xs, recurrent, input_weight, interface_weight = ctx.saved_tensors
        grad_hidden, grad_cell, grad_reads, *grad_last = grad_after
        _, gradient = _passes(*ctx.passes, xs.device.type)
        grad_outputs = torch.cat([grad_hidden, grad_reads], -1)
        grad_memory = tuple(part.flatten(0, 1).contiguous() for part in grad_last)
        all_gates, all_interfaces, to_hidden, to_before = [], [], interface_weight.mT, recurrent.mT
        grad_ys = grad_all.transpose(1, 2).contiguous().unbind(1)
        for saved, grad_y in zip(reversed(ctx.saved), reversed(grad_ys), strict=True):
            grad_outputs, grad_cell, grad_memory, grad_interface, grad_gates = gradient(
                grad_outputs, grad_y, grad_cell, grad_memory, saved, to_hidden, to_before
            )
            all_interfaces.append(grad_interface)
            all_gates.append(grad_gates)
        gates, interfaces = (torch.stack(parts[::-1], 2).flatten(1, 2) for parts in (all_gates, all_interfaces))
        size = grad_hidden.shape[-1]
        grad_xs = product(gates, input_weight[:, : xs.shape[-1]].mT).view(xs.shape)
        grad_weights = _weight_gradients(xs, ctx.all_outputs, gates, interfaces, size)
        grad_before = (part.view(like.shape) for part, like in zip(grad_memory, grad_last, strict=True))
        grad_hidden, grad_reads = grad_outputs[..., :size], grad_outputs[..., size:]
        return None, None, None, grad_xs, *grad_weights, grad_hidden, grad_cell, grad_reads, *grad_before


def _weight_gradients(
    xs: Tensor, all_outputs: Tensor, grad_gates: Tensor, grad_interfaces: Tensor, size: int
) -> Weights:
    """Return the gradients of the parameters, each by one product over all steps.

    Args:
        xs: the sequence.
        all_outputs: [h; r] before the first step and after every step.
        grad_gates: gradients of the gates of all steps.
        grad_interfaces: gradients of the interface vectors of all steps.
        size: hidden units of the controller.
    """
    grad_recurrent = product(all_outputs[:, :, :-1].flatten(1, 2).mT, grad_gates)
    return Weights(
        input_weight=torch.cat([product(xs.flatten(1, 2).mT, grad_gates), grad_recurrent[:, size:]], 1),
        gate_bias=grad_gates.sum(1),
        recurrent_weight=grad_recurrent[:, :size],
        interface_weight=product(all_outputs[:, :, 1:, :size].flatten(1, 2).mT, grad_interfaces),
        interface_bias=grad_interfaces.sum(1),
    )


def _step(
    access: Access,
    reading: bool,
    outputs: Tensor,
    cell: Tensor,
    memory: Memory,
    x_gates: Tensor,
    recurrent: Tensor,
    interface_weight: Tensor,
    interface_bias: Tensor,
) -> _Step:
    """Take one step; ``x_gates`` is the part of the gates that the input contributes."""
    hidden, cell, saved_controller = lstm_step(product(outputs, recurrent).add_(x_gates), cell)
    reads, memory, saved_access = access.step(product(hidden, interface_weight).add_(interface_bias), memory)
    reads = reads.reshape(*hidden.shape[:2], -1)
    outputs = torch.cat([hidden, reads if reading else torch.zeros_like(reads)], -1)
    return _Step(outputs, cell, memory, _SavedStep(saved_controller, saved_access))


def _step_gradient(
    access: Access,
    reading: bool,
    grad_outputs: Tensor,
    grad_y: Tensor,
    grad_cell: Tensor,
    grad_memory: Memory,
    saved: _SavedStep,
    to_hidden: Tensor,
    to_before: Tensor,
) -> _StepGradient:
    """Go back one step; ``to_hidden`` and ``to_before`` are the transposed interface and recurrent weights."""
    grad_outputs, size = grad_outputs + grad_y, grad_cell.shape[-1]
    grad_reads = grad_outputs[..., size:] if reading else torch.zeros_like(grad_outputs[..., size:])
    grad_interface, grad_memory = access.gradient(grad_reads, grad_memory, saved.access)
    grad_interface = grad_interface.view(*grad_outputs.shape[:2], -1)
    grad_hidden = product(grad_interface, to_hidden).add_(grad_outputs[..., :size])
    grad_gates, grad_cell = lstm_gradient(grad_hidden, grad_cell, saved.controller)
    return _StepGradient(product(grad_gates, to_before), grad_cell, grad_memory, grad_interface, grad_gates)


@functools.cache
def _passes(
    access: Access, reading: bool, compiled: bool, device: str
) -> tuple[Callable[..., _Step], Callable[..., _StepGradient]]:
    """Return a step and its gradient, compiled if asked for."""

    def step(*given: Any) -> _Step:
        return _step(access, reading, *given)

    def gradient(*given: Any) -> _StepGradient:
        return _step_gradient(access, reading, *given)

    if not compiled:
        return step, gradient
    torch._dynamo.config.recompile_limit = SHAPES
    # C++ calls the loops of a compiled step with less overhead than Python.
    options: dict[str, Any] | None = {"cpp_wrapper": True} if device == "cpu" else None
    return (
        torch.compile(step, dynamic=False, options=options),
        torch.compile(gradient, dynamic=False, options=options),
    )


# --- operations that several memories share ---------------------------------------------------------------------------


class SavedKeys(NamedTuple):
    """What :func:`scale_keys_gradient` needs."""

    keys: Tensor
    inverse: Tensor
    """1/|k|, with the floor under |k|."""
    inverse_above_floor: Tensor
    """1/|k|, or 0 where |k| is at the floor."""
    scale: Tensor
    """β/|k|."""


class SavedMatch(NamedTuple):
    """What :func:`match_gradient` needs."""

    slots: Tensor
    keys: Tensor
    """p, scaled keys."""
    inverse: Tensor
    """1/|m|, with the floor under |m|."""
    inverse_above_floor: Tensor
    """1/|m|, or 0 where |m| is at the floor."""
    score: Tensor
    weights: Tensor


class SavedWrite(NamedTuple):
    """What :func:`write_gradient` needs."""

    slots: Tensor
    weight: Tensor
    """(G, N, 1)."""
    erase: Tensor
    add: Tensor
    """(G, 1, W)."""
    keep: Tensor
    """r = 1 − w e, (G, N, W)."""


def inverse_norms(vectors: Float[Tensor, "*axes dim"]) -> tuple[Tensor, Tensor]:
    """Return 1/|x|, with the norm floor of :mod:`palimpsest.memory.addressing`, and the same with 0 at the floor.

    The second stands where 1/|x| is a factor of its own derivative.
    """
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    return norms.clamp_min(NORM_FLOOR).reciprocal_(), F.threshold(norms, NORM_FLOOR, torch.inf).reciprocal_()


def scale_keys(keys: Float[Tensor, "g keys dim"], strength: Float[Tensor, "g keys"]) -> tuple[Tensor, SavedKeys]:
    """Compute p = β k / |k|, which is compared with the directions of slots."""
    inverse, inverse_above_floor = inverse_norms(keys)
    scale = strength * inverse
    return keys * scale[..., None], SavedKeys(keys, inverse, inverse_above_floor, scale)


def scale_keys_gradient(grad_scaled: Tensor, saved: SavedKeys) -> tuple[Tensor, Tensor]:
    """Return the gradients of k and β. With s = β/|k|: dβ = (dp · k)/|k| and dk = s (dp − dβ/|k| k)."""
    grad_strength = (grad_scaled * saved.keys).sum(-1) * saved.inverse
    along = saved.keys * (grad_strength * saved.inverse_above_floor)[..., None]
    return (grad_scaled - along) * saved.scale[..., None], grad_strength


def match(keys: Float[Tensor, "g keys dim"], slots: Float[Tensor, "g slots dim"]) -> tuple[Tensor, SavedMatch]:
    """Compute W = softmax(s) with s_i = p · m_i / |m_i|, for scaled keys p."""
    inverse, inverse_above_floor = inverse_norms(slots)
    score = small_product(keys, slots.mT).mul_(inverse[:, None])
    weights = score.softmax(-1)
    return weights, SavedMatch(slots, keys, inverse, inverse_above_floor, score, weights)


class MatchGradient(NamedTuple):
    """Gradients of :func:`match`; that of the slots is dm_i = Σ q_i p − u_i m_i, summed over keys."""

    product: Tensor
    """q = ds / |m|, (G, K, N)."""
    keys: Tensor
    """dp = Σ_i q_i m_i, (G, K, W)."""
    shrink: Tensor
    """u_i = Σ q_i s_i / |m_i|, summed over keys, (G, N)."""


def match_gradient(grad_weights: Tensor, saved: SavedMatch) -> MatchGradient:
    """Return the gradient of the scaled keys, and the factors of the gradient of the slots."""
    grad_score = softmax_gradient(grad_weights, saved.weights, -1, saved.weights.dtype)
    grad_product = grad_score.mul_(saved.inverse[:, None])
    shrink = (grad_product * saved.score).sum(1).mul_(saved.inverse_above_floor)
    return MatchGradient(grad_product, small_product(grad_product, saved.slots), shrink)


def write(
    slots: Float[Tensor, "g slots dim"],
    weights: Float[Tensor, "g slots"],
    erase: Float[Tensor, "g dim"],
    add: Float[Tensor, "g dim"],
) -> tuple[Tensor, SavedWrite]:
    """Compute m′_i = m_i r_i + w_i v with r_i = 1 − w_i e."""
    weight, add = weights[..., None], add[:, None]
    keep = (weight * -erase[:, None]).add_(1)
    return (slots * keep).add_(weight * add), SavedWrite(slots, weight, erase, add, keep)


class WriteGradient(NamedTuple):
    """Gradients of :func:`write`."""

    slots: Tensor
    weights: Tensor
    erase: Tensor
    add: Tensor


def write_gradient(grad_slots: Tensor, saved: SavedWrite) -> WriteGradient:
    """dm_i = dm′_i r_i, dw_i = dm′_i · (v − m_i e), de = −Σ w_i dm′_i m_i, dv = Σ w_i dm′_i."""
    slots, weight, erase, add, keep = saved
    grad_weights = (grad_slots * (add - slots * erase[:, None])).sum(-1)
    weighted = grad_slots * weight
    return WriteGradient(grad_slots * keep, grad_weights, -(weighted * slots).sum(1), weighted.sum(1))


def small_product(a: Float[Tensor, "g m k"], b: Float[Tensor, "g k n"]) -> Float[Tensor, "g m n"]:
    """Compute a b. Where a side has length one it is a sum, because BLAS then computes one and many differently.

    These products are exact under mixed precision, too: a memory's products are too small to be worth rounding.
    """
    if a.shape[-1] == 1:
        return a * b
    if a.shape[-2] == 1:
        return (a.mT * b).sum(-2, keepdim=True)
    return (a * b.mT).sum(-1, keepdim=True) if b.shape[-1] == 1 else torch.bmm(a, b)
