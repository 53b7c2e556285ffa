"""A sequence through an LSTM and the memory that it drives, as a single node of the graph, its gradient by hand.

What a step of a small memory costs is the number of its calls. :func:`unrolled` says what a loop over a cell's ``step``
says, which is the readable form and what tests hold this one to: without a node for each of some eighty operations,
without those that a general rule for gradients needs and these cells do not, and with the gradients of all weights
taken once, for all steps together. Compiled, the calls of a step become a few loops besides.

Here are the pass over time and what memories have in common; :mod:`palimpsest.memory.fast.ntm` and
:mod:`palimpsest.memory.fast.dnc` have their own. Each part of a step is a pair of functions, an equation and its
gradient; the equations' sources stand beside their readable forms. The first returns its result and what it keeps for
the second. ``of_x`` is the gradient of the loss with respect to x.

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

from palimpsest.layers.cells import lstm_gradient, lstm_step
from palimpsest.layers.product import product
from palimpsest.memory.addressing import NORM_FLOOR

Kept = tuple[Any, ...]
Memory = tuple[Tensor, ...]
"""Whatever a memory hands from step to step, each (G, …)."""
softmax_gradient = torch.ops.aten._softmax_backward_data
sigmoid_gradient = torch.ops.aten.sigmoid_backward
SHAPES = 64
"""Shapes for which a step is compiled; PyTorch would go back to slow steps without a word after eight."""


@runtime_checkable
class Access(Protocol):
    """What a memory does in a step, and the gradient; hashable, and what is equal does the same."""

    @property
    def padding(self) -> int:
        """Features, of which none takes notice, by which what the memory is told is to be longer."""
        ...

    def step(self, told: Float[Tensor, "runs batch told"], memory: Memory) -> tuple[Tensor, Memory, Kept]:
        """What is read, (G, …), the memory after the step, and what is kept."""
        ...

    def gradient(
        self, of_reads: Float[Tensor, "runs batch reads"], of_memory: Memory, kept: Kept
    ) -> tuple[Tensor, Memory]:
        """Of what was told without its padding, (G, told), and of the memory before the step."""
        ...


class Weights(NamedTuple):
    """Parameters, of the controller and of the map from its output to what the memory is told."""

    of_input: Float[Tensor, "runs inputs_and_reads gates"]
    bias: Float[Tensor, "runs gates"]
    recurrent: Float[Tensor, "runs hidden gates"]
    told: Float[Tensor, "runs hidden told"]
    told_bias: Float[Tensor, "runs told"]


class Carried(NamedTuple):
    """What a step takes from the step before, and hands on."""

    hidden: Float[Tensor, "runs batch hidden"]
    cell: Float[Tensor, "runs batch hidden"]
    reads: Float[Tensor, "runs batch reads"]
    memory: Memory
    """Here each (R, B, …)."""


def unrolled(
    access: Access,
    xs: Float[Tensor, "runs batch time d_in"],
    carried: Carried,
    weights: Weights,
    *,
    compiled: bool = False,
) -> tuple[Float[Tensor, "runs batch time d_out"], Carried]:
    """[h_t; r_t] after every step, and what is carried on after the last.

    Args:
        access: the memory.
        xs: the sequence, of one step or more.
        carried: from the steps before.
        weights: parameters.
        compiled: whether torch.compile fuses a step, and the way back. It costs half a minute for every shape.
    """
    *lstm, memory = carried
    said, hidden, cell, reads, *after = _Unrolled.apply(access, compiled, xs, *weights, *lstm, *memory)  # pyright: ignore[reportGeneralTypeIssues]
    return said, Carried(hidden, cell, reads, tuple(after))


class _Unrolled(torch.autograd.Function):
    """Forward through time, and back."""

    @staticmethod
    def forward(ctx: Any, access: Access, compiled: bool, xs: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """See :func:`unrolled`."""
        weights, (hidden, cell, reads, *before), width = Weights(*rest[:5]), rest[5:], xs.shape[-1]
        step, _ = _passes(access, compiled, xs.device.type)
        of_xs = product(xs.flatten(1, 2), weights.of_input[:, :width]).add_(weights.bias[:, None])
        recurrent = torch.cat([weights.recurrent, weights.of_input[:, width:]], 1)  # of [h; r], as a step says it
        to_told, bias = (F.pad(part, (0, access.padding)) for part in weights[3:])
        said, memory = torch.cat([hidden, reads], -1), tuple(part.flatten(0, 1).contiguous() for part in before)
        everything, kept = [said], []
        for of_x in of_xs.view(*xs.shape[:3], -1).transpose(1, 2).contiguous().unbind(1):
            said, cell, memory, of_step = step(said, cell, memory, of_x, recurrent, to_told, bias[:, None])
            everything.append(said)
            kept.append(of_step)
        ctx.save_for_backward(xs, recurrent, weights.of_input, weights.told)
        ctx.kept, ctx.everything = kept, torch.stack(everything, 2)
        ctx.access, ctx.compiled = access, compiled
        hidden, reads = said.split_with_sizes([hidden.shape[-1], reads.shape[-1]], -1)
        after = (part.view(like.shape) for part, like in zip(memory, before, strict=True))
        return ctx.everything[:, :, 1:], hidden, cell, reads, *after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_all: Tensor, *of_after: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradient of the sequence, of the weights and of what was carried in; the steps in reverse."""
        xs, recurrent, of_input, to_told = ctx.saved_tensors
        of_hidden, of_cell, of_reads, *of_last = of_after
        _, gradient = _passes(ctx.access, ctx.compiled, xs.device.type)
        of_said, of_memory = (
            torch.cat([of_hidden, of_reads], -1),
            tuple(part.flatten(0, 1).contiguous() for part in of_last),
        )
        of_gates, of_told, heads, back = [], [], to_told.mT, recurrent.mT
        of_ys = of_all.transpose(1, 2).contiguous().unbind(1)
        for kept, of_y in zip(reversed(ctx.kept), reversed(of_ys), strict=True):
            of_said, of_cell, of_memory, of_tell, of_gate = gradient(
                of_said, of_y, of_cell, of_memory, kept, heads, back
            )
            of_told.append(of_tell)
            of_gates.append(of_gate)
        every_gate, every_told = (torch.stack(parts[::-1], 2).flatten(1, 2) for parts in (of_gates, of_told))
        size = of_hidden.shape[-1]
        of_xs = product(every_gate, of_input[:, : xs.shape[-1]].mT).view(xs.shape)
        of_weights = _of_weights(xs, ctx.everything, every_gate, every_told, size)
        of_before = (part.view(like.shape) for part, like in zip(of_memory, of_last, strict=True))
        return None, None, of_xs, *of_weights, of_said[..., :size], of_cell, of_said[..., size:], *of_before


def _of_weights(xs: Tensor, everything: Tensor, of_gates: Tensor, of_told: Tensor, size: int) -> Weights:
    """Of the parameters, one product for all steps; ``everything`` is what was said from before the first step on."""
    of_recurrent = product(everything[:, :, :-1].flatten(1, 2).mT, of_gates)
    return Weights(
        of_input=torch.cat([product(xs.flatten(1, 2).mT, of_gates), of_recurrent[:, size:]], 1),
        bias=of_gates.sum(1),
        recurrent=of_recurrent[:, :size],
        told=product(everything[:, :, 1:, :size].flatten(1, 2).mT, of_told),
        told_bias=of_told.sum(1),
    )


def _step(
    access: Access,
    said: Tensor,
    cell: Tensor,
    memory: Memory,
    of_x: Tensor,
    recurrent: Tensor,
    told: Tensor,
    bias: Tensor,
) -> tuple[Tensor, Tensor, Memory, Kept]:
    """One step: what is said, the LSTM's cell and the memory after it, and what is kept."""
    hidden, cell, advanced = lstm_step(product(said, recurrent).add_(of_x), cell)
    reads, memory, accessed = access.step(product(hidden, told).add_(bias), memory)
    return torch.cat([hidden, reads.reshape(*hidden.shape[:2], -1)], -1), cell, memory, (advanced, accessed)


def _step_gradient(
    access: Access,
    of_said: Tensor,
    of_y: Tensor,
    of_cell: Tensor,
    of_memory: Memory,
    kept: Kept,
    told: Tensor,
    recurrent: Tensor,
) -> tuple[Tensor, Tensor, Memory, Tensor, Tensor]:
    """Of what was said, the LSTM's cell and the memory before a step; of what was told and of all gates in it."""
    advanced, accessed = kept
    of_said, size = of_said + of_y, of_cell.shape[-1]
    of_told, of_memory = access.gradient(of_said[..., size:], of_memory, accessed)
    of_told = of_told.view(*of_said.shape[:2], -1)
    of_hidden = product(of_told, told).add_(of_said[..., :size])
    of_gates, of_cell = lstm_gradient(of_hidden, of_cell, advanced)
    return product(of_gates, recurrent), of_cell, of_memory, of_told, of_gates


@functools.cache
def _passes(access: Access, compiled: bool, device: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A step and its gradient, as they are or compiled."""

    def step(*given: Any) -> Any:
        return _step(access, *given)

    def gradient(*given: Any) -> Any:
        return _step_gradient(access, *given)

    if not compiled:
        return step, gradient
    torch._dynamo.config.recompile_limit = SHAPES
    # Called from C++, a compiled step spares what Python would need to call its loops one by one.
    options: dict[str, Any] | None = {"cpp_wrapper": True} if device == "cpu" else None
    step, gradient = (torch.compile(part, dynamic=False, options=options) for part in (step, gradient))
    return step, gradient


# --- what memories have in common -------------------------------------------------------------------------------------


def inverse_norms(vectors: Float[Tensor, "*axes dim"]) -> tuple[Tensor, Tensor]:
    """1/|x| with the floor that :mod:`palimpsest.memory.addressing` puts under norms, and 0 in its place at the floor.

    The latter stands where 1/|x| is a factor of its own derivative.
    """
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    return norms.clamp_min(NORM_FLOOR).reciprocal_(), F.threshold(norms, NORM_FLOOR, torch.inf).reciprocal_()


def pull(keys: Float[Tensor, "g keys dim"], strength: Float[Tensor, "g keys"]) -> tuple[Tensor, Kept]:
    """What the slots' directions are compared with: p = β k / |k|."""
    inverse, still = inverse_norms(keys)
    scale = strength * inverse
    return keys * scale[..., None], (keys, inverse, still, scale)


def pull_gradient(of_pull: Tensor, kept: Kept) -> tuple[Tensor, Tensor]:
    """Of k and β. With s = β/|k|: dβ = (dp · k)/|k| and dk = s (dp − dβ/|k| k)."""
    keys, inverse, still, scale = kept
    of_strength = (of_pull * keys).sum(-1) * inverse
    return (of_pull - keys * (of_strength * still)[..., None]) * scale[..., None], of_strength


def look(pulls: Float[Tensor, "g keys dim"], slots: Float[Tensor, "g slots dim"]) -> tuple[Tensor, Kept]:
    """W = softmax(s) with s_i = p · m_i / |m_i|."""
    inverse, still = inverse_norms(slots)
    score = times(pulls, slots.mT).mul_(inverse[:, None])
    weights = score.softmax(-1)
    return weights, (slots, pulls, inverse, still, score, weights)


def look_gradient(of_weights: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
    """Q = ds / |m|, dp = Σ_i q_i m_i, and u_i = Σ q_i s_i / |m_i| with dm_i = Σ q_i p − u_i m_i; sums over keys."""
    slots, _, inverse, still, score, weights = kept
    of_product = softmax_gradient(of_weights, weights, -1, weights.dtype).mul_(inverse[:, None])
    return of_product, times(of_product, slots), (of_product * score).sum(1).mul_(still)


def rewrite(
    slots: Float[Tensor, "g slots dim"],
    written: Float[Tensor, "g slots"],
    erase: Float[Tensor, "g dim"],
    add: Float[Tensor, "g dim"],
) -> tuple[Tensor, Kept]:
    """m′_i = m_i r_i + w_i v with r_i = 1 − w_i e."""
    weight, new = written[..., None], add[:, None]
    left = (weight * -erase[:, None]).add_(1)
    return (slots * left).add_(weight * new), (slots, weight, erase, new, left)


def rewrite_gradient(of_slots: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of m, w, e and v: dm_i = dm′_i r_i, dw_i = dm′_i · (v − m_i e), de = −Σ w_i dm′_i m_i, dv = Σ w_i dm′_i."""
    slots, weight, erase, new, left = kept
    of_written = (of_slots * (new - slots * erase[:, None])).sum(-1)
    weighted = of_slots * weight
    return of_slots * left, of_written, -(weighted * slots).sum(1), weighted.sum(1)


def times(a: Float[Tensor, "g m k"], b: Float[Tensor, "g k n"]) -> Float[Tensor, "g m n"]:
    """Products a b; where a side has length one they are sums, as BLAS then goes other ways for one than for many.

    They are exact under mixed precision, too: a memory's products are too small to be worth rounding.
    """
    if a.shape[-1] == 1:
        return a * b
    if a.shape[-2] == 1:
        return (a.mT * b).sum(-2, keepdim=True)
    return (a * b.mT).sum(-1, keepdim=True) if b.shape[-1] == 1 else torch.bmm(a, b)
