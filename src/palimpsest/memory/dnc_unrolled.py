"""A whole sequence through a DNC as a single node of the graph, its gradient written by hand.

What a step of a small memory costs is the number of its calls. :func:`unrolled` says what a loop over
:meth:`palimpsest.memory.dnc.DNCCell.step` says, which is the readable form and what tests hold this one to: without a
node for each of some eighty operations, without those that a general rule for gradients needs and this case does not,
and with the gradients of all weights taken once, for all steps together.

Each part of a step is a pair of functions, an equation and its gradient; the equations' sources stand beside their
readable forms. The first returns its result and what it keeps for the second. ``of_x`` is the gradient of the loss with
respect to x.

Axes: R runs, B batch, T time, G = R B, H read heads, K keys, N slots, W slot_dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.cells import lstm_gradient, lstm_step
from palimpsest.layers.product import product
from palimpsest.memory.addressing import NORM_FLOOR, USAGE_FLOOR

Kept = tuple[Any, ...]
_WHOLE = 64
"""Features to a multiple of which what goes through σ is filled up, so that no copy is needed to fill up vectors."""
_softmax_gradient = torch.ops.aten._softmax_backward_data
_sigmoid_gradient = torch.ops.aten.sigmoid_backward


class Weights(NamedTuple):
    """Parameters of the controller and of the interface."""

    of_input: Float[Tensor, "runs d_in_and_reads gates"]
    bias: Float[Tensor, "runs gates"]
    recurrent: Float[Tensor, "runs hidden gates"]
    interface: Float[Tensor, "runs hidden features"]
    interface_bias: Float[Tensor, "runs features"]


class Carried(NamedTuple):
    """What a step takes from the step before, and hands on."""

    hidden: Float[Tensor, "runs batch hidden"]
    cell: Float[Tensor, "runs batch hidden"]
    reads: Float[Tensor, "runs batch heads dim"]
    slots: Float[Tensor, "runs batch slots dim"]
    usage: Float[Tensor, "runs batch slots"]
    read_weights: Float[Tensor, "runs batch heads slots"]
    write_weights: Float[Tensor, "runs batch 1 slots"]
    precedence: Float[Tensor, "runs batch slots"]
    link: Float[Tensor, "runs batch slots slots"]


def unrolled(
    xs: Float[Tensor, "runs batch time d_in"], carried: Carried, weights: Weights
) -> tuple[Float[Tensor, "runs batch time d_out"], Carried]:
    """(h_t, r_t) after every step, side by side, and what is carried on after the last.

    Args:
        xs: the sequence, of one step or more.
        carried: from the steps before.
        weights: parameters.
    """
    said, *after = _Unrolled.apply(xs, *carried, *weights)  # pyright: ignore[reportGeneralTypeIssues]
    return said, Carried(*after)


class _Unrolled(torch.autograd.Function):
    """Forward through time, and back."""

    @staticmethod
    def forward(ctx: Any, xs: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """See :func:`unrolled`."""
        before, weights, shape = Carried(*rest[:9]), Weights(*rest[9:]), xs.shape[:2]
        of_xs = product(xs.flatten(1, 2), weights.of_input[:, : xs.shape[-1]]).add_(weights.bias[:, None])
        recurrent = torch.cat(
            [weights.recurrent, weights.of_input[:, xs.shape[-1] :]], 1
        )  # of (h, r), as a step says it
        heads, dim = before.reads.shape[2:]
        interface, offset = (F.pad(part, (0, -(dim + 2 * heads + 3) % _WHOLE)) for part in weights[3:])
        said, cell = torch.cat([before.hidden, before.reads.flatten(2)], -1), before.cell
        memory = _Memory(*(part.flatten(0, 1) for part in before[3:]))
        everything, kept = [said], []
        for of_x in of_xs.view(*xs.shape[:3], -1).unbind(2):
            hidden, cell, advanced = lstm_step(product(said, recurrent).add_(of_x), cell)
            vector = product(hidden, interface).add_(offset[:, None])
            reads, memory, accessed = _access(vector, memory)
            said = torch.cat([hidden, reads.view(*shape, -1)], -1)
            everything.append(said)
            kept.append((advanced, accessed))
        ctx.save_for_backward(xs, recurrent, weights.of_input, weights.interface)
        ctx.kept, ctx.everything = kept, torch.stack(everything, 2)
        hidden, reads = said.split_with_sizes([cell.shape[-1], heads * dim], -1)
        after = (hidden, cell, reads, *memory)
        return ctx.everything[:, :, 1:], *(part.reshape(like.shape) for part, like in zip(after, before, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_all: Tensor, *of_after: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradient of the sequence, of what was carried in and of the weights; the steps in reverse."""
        xs, recurrent, of_input, interface = ctx.saved_tensors
        of, size, shape = Carried(*of_after), of_after[0].shape[-1], xs.shape[:2]
        of_said, of_cell = torch.cat([of.hidden, of.reads.flatten(2)], -1), of.cell
        of_memory = _Memory(*(part.flatten(0, 1) for part in of[3:]))
        of_gates, of_vectors = [], []
        for (advanced, accessed), of_y in zip(reversed(ctx.kept), reversed(of_all.unbind(2)), strict=True):
            of_said = of_said + of_y
            of_reads = of_said[..., size:].reshape(-1, *of.reads.shape[2:])
            of_vector, of_memory = _access_gradient(of_reads, of_memory, accessed)
            of_vectors.append(of_vector.view(*shape, -1))
            of_hidden = product(of_vectors[-1], interface.mT).add_(of_said[..., :size])
            of_gate, of_cell = lstm_gradient(of_hidden, of_cell, advanced)
            of_gates.append(of_gate)
            of_said = product(of_gate, recurrent.mT)
        every_gate, every_vector = (torch.stack(parts[::-1], 2).flatten(1, 2) for parts in (of_gates, of_vectors))
        of_xs = product(every_gate, of_input[:, : xs.shape[-1]].mT).view(xs.shape)
        of_before = (of_said[..., :size], of_cell, of_said[..., size:], *of_memory)
        of_carried = (part.reshape(like.shape) for part, like in zip(of_before, of, strict=True))
        return of_xs, *of_carried, *_of_weights(xs, ctx.everything, every_gate, every_vector, size)


def _of_weights(xs: Tensor, everything: Tensor, of_gates: Tensor, of_vectors: Tensor, size: int) -> Weights:
    """Of the parameters, one product for all steps; ``everything`` is what was said from before the first step on."""
    of_recurrent = product(everything[:, :, :-1].flatten(1, 2).mT, of_gates)
    return Weights(
        of_input=torch.cat([product(xs.flatten(1, 2).mT, of_gates), of_recurrent[:, size:]], 1),
        bias=of_gates.sum(1),
        recurrent=of_recurrent[:, :size],
        interface=product(everything[:, :, 1:, :size].flatten(1, 2).mT, of_vectors),
        interface_bias=of_vectors.sum(1),
    )


class _Memory(NamedTuple):
    """The part of :class:`Carried` that is the memory's, runs and batch as one axis."""

    slots: Tensor
    usage: Tensor
    reading: Tensor
    written: Tensor
    precedence: Tensor
    link: Tensor


def _access(vector: Tensor, memory: _Memory) -> tuple[Tensor, _Memory, Kept]:
    """What is read, and the memory after a step that is told ``vector``."""
    slots, usage, reading, writing, precedence, link = memory
    one = usage.new_ones(())
    told, heard = _tell(vector, reading.shape[1], slots.shape[-1])
    usage, freed = _free(one, usage, writing.squeeze(1), reading, told.free)
    room, allocated = _allocate(one, usage)
    alike, looked = _look(told.write_pull, slots)
    written, weighed = _weigh(alike.squeeze(1), room, told.allocation_gate, told.write_gate)
    slots, rewritten = _rewrite(one, slots, written, told.erase, told.add)
    link, linked = _relink(one, link, precedence, written)
    precedence, preceded = _precede(one, precedence, written)
    content, found = _look(told.read_pull, slots)
    reading, went = _go(link, reading, content, told.modes)
    after = _Memory(slots, usage, reading, written[:, None], precedence, link)
    kept = (heard, freed, allocated, looked, weighed, rewritten, linked, preceded, found, went, slots, reading)
    return _times(reading, slots), after, kept


def _access_gradient(of_reads: Tensor, of_after: _Memory, kept: Kept) -> tuple[Tensor, _Memory]:
    """Of what was told and of the memory before; sums where paths meet."""
    heard, freed, allocated, looked, weighed, rewritten, linked, preceded, found, went, slots, reading = kept
    of_reading = of_after.reading + _times(of_reads, slots.mT)
    of_went, of_reading, of_content, of_modes = _go_gradient(of_reading, went)
    of_read_pull, of_found = _look_gradient(of_content, found)
    of_precedence, of_preceded = _precede_gradient(of_after.precedence, preceded)
    of_link, of_linked, of_linked_precedence = _relink_gradient(of_went.add_(of_after.link), linked)
    of_slots = of_found.add_(of_after.slots).add_(_times(reading.mT, of_reads))
    of_slots, of_written, of_erase, of_add = _rewrite_gradient(of_slots, rewritten)
    of_written = of_written.add_(of_linked).add_(of_preceded).add_(of_after.written.squeeze(1))
    of_alike, of_room, of_gates = _weigh_gradient(of_written, weighed)
    of_write_pull, of_looked = _look_gradient(of_alike[:, None], looked)
    of_usage = _allocate_gradient(of_room, allocated).add_(of_after.usage)
    of_usage, of_writing, of_freed, of_free = _free_gradient(of_usage, freed)
    of_vector = _tell_gradient([of_read_pull, of_write_pull], of_add, of_modes, [of_erase, of_free, of_gates], heard)
    of_precedence = of_precedence.add_(of_linked_precedence)
    of_reading = of_reading.add_(of_freed)
    return of_vector, _Memory(
        of_slots.add_(of_looked), of_usage, of_reading, of_writing[:, None], of_precedence, of_link
    )


class _Told(NamedTuple):
    """The parts of an interface vector, each in its range."""

    read_pull: Tensor
    """(G, H, W): β k / |k|."""
    write_pull: Tensor
    """(G, 1, W), the same."""
    add: Tensor
    modes: Tensor
    erase: Tensor
    free: Tensor
    allocation_gate: Tensor
    write_gate: Tensor


def _tell(vector: Tensor, heads: int, dim: int) -> tuple[_Told, Kept]:
    """The parts of ξ; the slope of softplus is σ, and so both are taken of all that goes through either."""
    plain = vector.view(-1, vector.shape[-1])
    sizes = [(heads + 1) * dim, dim, 3 * heads]
    keys, add, modes, _ = plain.split_with_sizes([*sizes, plain.shape[-1] - sum(sizes)], -1)
    gated = vector[..., sum(sizes) :].contiguous()
    strength = softplus(gated).view(len(plain), -1)[:, : heads + 1] + 1
    slope = sigmoid(gated).view(len(plain), -1)
    gates = slope[:, heads + 1 : dim + 2 * heads + 3]
    keys = keys.view(-1, heads + 1, dim)
    inverse, still = _inverse_norms(keys)
    scale = strength * inverse
    modes = modes.view(-1, heads, 3).softmax(-1)
    read_pull, write_pull = (keys * scale[..., None]).split_with_sizes([heads, 1], 1)
    erase, free, allocation_gate, write_gate = gates.split_with_sizes([dim, heads, 1, 1], -1)
    told = _Told(read_pull, write_pull, add, modes, erase, free, allocation_gate, write_gate)
    return told, (keys, inverse, still, scale, modes, slope, gates)


def _tell_gradient(
    of_pull: list[Tensor], of_add: Tensor, of_modes: Tensor, of_gates: list[Tensor], kept: Kept
) -> Tensor:
    """Of ξ. With s = β/|k| and p = s k: dk = s (dp − (dp · k)/|k|² k), dβ = (dp · k)/|k|."""
    keys, inverse, still, scale, modes, slope, gates = kept
    of_pulls = torch.cat(of_pull, 1)
    of_strength = (of_pulls * keys).sum(-1) * inverse
    of_keys = (of_pulls - keys * (of_strength * still)[..., None]) * scale[..., None]
    of_modes = _softmax_gradient(of_modes, modes, -1, modes.dtype)
    of_strength = of_strength * slope[:, : modes.shape[1] + 1]
    of_gated = _sigmoid_gradient(torch.cat(of_gates, -1), gates)
    return torch.cat([of_keys.flatten(1), of_add, of_modes.flatten(1), of_strength, of_gated], -1)


def _inverse_norms(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """1/|x| with the floor that :mod:`palimpsest.memory.addressing` puts under norms, and 0 in its place at the floor.

    The latter stands where 1/|x| is a factor of its own derivative.
    """
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    return norms.clamp_min(NORM_FLOOR).reciprocal_(), F.threshold(norms, NORM_FLOOR, torch.inf).reciprocal_()


def _free(one: Tensor, usage: Tensor, written: Tensor, reading: Tensor, gates: Tensor) -> tuple[Tensor, Kept]:
    """u′ = g ψ with g = u + (1 − u) w, ψ = Π_h x_h and x_h = 1 − f_h w_h."""
    left = one - gates[..., None] * reading
    retention, unused = left.prod(1), one - usage
    grown = usage + unused * written
    return grown * retention, (written, reading, gates, left, retention, unused, grown)


def _free_gradient(of_usage: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the usage, write weights, read weights and free gates before; −dψ/dx_h: the product of all other x."""
    written, reading, gates, left, retention, unused, grown = kept
    of_grown = of_usage * retention
    others = left[:, None].repeat(1, left.shape[1], 1, 1)
    others.diagonal(dim1=1, dim2=2).fill_(-1)
    of_freed = others.prod(2).mul_((of_usage * grown)[:, None])
    of_usage = of_grown - of_grown * written
    return of_usage, of_grown * unused, of_freed * gates[..., None], (of_freed * reading).sum(-1)


def _allocate(one: Tensor, usage: Tensor) -> tuple[Tensor, Kept]:
    """a_j = (1 − u_j) c_{j−1} = c_{j−1} − c_j along the free list, with c_j = Π_{i≤j} u_i."""
    ordered, order = usage.sort(dim=-1, stable=True)
    floor = max(USAGE_FLOOR, torch.finfo(usage.dtype).tiny)
    ordered = ordered.mul_(1 - floor).add_(floor)
    taken = ordered.cumprod(-1)
    share = torch.cat([one.expand(len(taken), 1), taken[:, :-1]], -1) - taken
    return torch.empty_like(usage).scatter_(-1, order, share), (ordered, order, taken)


def _allocate_gradient(of_room: Tensor, kept: Kept) -> Tensor:
    """Of the usage: dc_j = da_{j+1} − da_j and du_j = Σ_{i≥j} dc_i c_i / u_j."""
    ordered, order, taken = kept
    of_share = of_room.gather(-1, order)
    of_taken = torch.cat([of_share[:, 1:], of_share.new_zeros(len(of_share), 1)], -1).sub_(of_share)
    of_ordered = of_taken.mul_(taken).flip(-1).cumsum(-1).flip(-1).div_(ordered)
    floor = max(USAGE_FLOOR, torch.finfo(taken.dtype).tiny)
    return torch.empty_like(of_room).scatter_(-1, order, of_ordered.mul_(1 - floor))


def _look(pull: Tensor, slots: Tensor) -> tuple[Tensor, Kept]:
    """W = softmax(s) with s_i = p · m_i / |m_i|."""
    inverse, still = _inverse_norms(slots)
    score = _times(pull, slots.mT).mul_(inverse[:, None])
    weights = score.softmax(-1)
    return weights, (slots, pull, inverse, still, score, weights)


def _look_gradient(of_weights: Tensor, kept: Kept) -> tuple[Tensor, Tensor]:
    """Of p and m: dp = Σ_i q_i m_i and dm_i = Σ q_i p − (Σ q_i s_i / |m_i|) m_i with q = ds / |m|, sums over keys."""
    slots, pull, inverse, still, score, weights = kept
    of_product = _softmax_gradient(of_weights, weights, -1, weights.dtype).mul_(inverse[:, None])
    shrink = (of_product * score).sum(1).mul_(still)
    return _times(of_product, slots), _times(of_product.mT, pull).sub_(shrink[..., None] * slots)


def _weigh(alike: Tensor, room: Tensor, allocation_gate: Tensor, write_gate: Tensor) -> tuple[Tensor, Kept]:
    """W = g_w (c + g_a (a − c))."""
    further = room - alike
    mixed = alike + allocation_gate * further
    return write_gate * mixed, (further, mixed, allocation_gate, write_gate)


def _weigh_gradient(of_written: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
    """Of c, a and both gates side by side."""
    further, mixed, allocation_gate, write_gate = kept
    of_mixed = of_written * write_gate
    of_room = of_mixed * allocation_gate
    of_gates = torch.stack([of_mixed * further, of_written * mixed], 1).sum(-1)
    return of_mixed - of_room, of_room, of_gates


def _rewrite(one: Tensor, slots: Tensor, written: Tensor, erase: Tensor, add: Tensor) -> tuple[Tensor, Kept]:
    """m′_i = m_i r_i + w_i v with r_i = 1 − w_i e."""
    weight, new = written[..., None], add[:, None]
    left = one - weight * erase[:, None]
    return (slots * left).add_(weight * new), (slots, weight, erase, new, left)


def _rewrite_gradient(of_slots: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of m, w, e and v: dm_i = dm′_i r_i, dw_i = dm′_i · (v − m_i e), de = −Σ w_i dm′_i m_i, dv = Σ w_i dm′_i."""
    slots, weight, erase, new, left = kept
    of_written = (of_slots * (new - slots * erase[:, None])).sum(-1)
    weighted = of_slots * weight
    return of_slots * left, of_written, -(weighted * slots).sum(1), weighted.sum(1)


def _precede(one: Tensor, precedence: Tensor, written: Tensor) -> tuple[Tensor, Kept]:
    """p′ = (1 − Σ w) p + w."""
    still = one - written.sum(-1, keepdim=True)
    return still * precedence + written, (precedence, still)


def _precede_gradient(of_precedence: Tensor, kept: Kept) -> tuple[Tensor, Tensor]:
    """Of p and w."""
    precedence, still = kept
    return of_precedence * still, of_precedence - (of_precedence * precedence).sum(-1, keepdim=True)


def _relink(one: Tensor, link: Tensor, precedence: Tensor, written: Tensor) -> tuple[Tensor, Kept]:
    """L′_ij = d_ij L_ij + w_i p_j with d_ij = 1 − w_i − w_j, and zeros on the diagonal."""
    row, before = written[..., None], precedence[:, None]
    decay = (one - row) - written[:, None]
    linked = (decay * link).add_(row * before)
    linked.diagonal(dim1=-2, dim2=-1).zero_()
    return linked, (link, row, before, decay)


def _relink_gradient(of_link: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
    """Of L, w and p: dw_i = Σ_j dL′_ij (p_j − L_ij) − Σ_j dL′_ji L_ji."""
    link, row, before, decay = kept
    of_link.diagonal(dim1=-2, dim2=-1).zero_()
    of_written = (of_link * (before - link)).sum(-1).sub_((of_link * link).sum(1))
    return of_link * decay, of_written, (of_link * row).sum(1)


def _go(link: Tensor, reading: Tensor, content: Tensor, modes: Tensor) -> tuple[Tensor, Kept]:
    """w′ = π₁ b + π₂ c + π₃ f with b = Lᵀ w and f = L w."""
    ways = torch.stack([_times(reading, link), content, _times(reading, link.mT)], 2)
    after = (modes[..., None] * ways).sum(2)
    return after, (link, reading, ways, modes)


def _go_gradient(of_after: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of L, w, c and π."""
    link, reading, ways, modes = kept
    of_after = of_after[:, :, None]
    of_backward, of_content, of_forward = (modes[..., None] * of_after).unbind(2)
    of_link = _times(reading.mT, of_backward) + _times(of_forward.mT, reading)
    of_reading = _times(of_backward, link.mT) + _times(of_forward, link)
    return of_link, of_reading, of_content, (of_after * ways).sum(-1)


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Products a b; where a side has length one they are sums, as BLAS then goes other ways for one than for many.

    They are exact under mixed precision, too: a memory's products are too small to be worth rounding.
    """
    if a.shape[-1] == 1:
        return a * b
    if a.shape[-2] == 1:
        return (a.mT * b).sum(-2, keepdim=True)
    return (a * b.mT).sum(-1, keepdim=True) if b.shape[-1] == 1 else torch.bmm(a, b)
