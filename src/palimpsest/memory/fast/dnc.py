"""One step of a DNC's memory and its gradient, for :mod:`palimpsest.memory.fast.sequence`.

It computes the same as :func:`palimpsest.memory.dnc.access` with dense links.

Axes: R runs, B batch, G = R B, H read heads, K keys, N slots, W slot_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.memory.addressing import USAGE_FLOOR
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

_WHOLE = 64
"""Elements of a whole vector; features that go through σ are padded to a multiple of it, so that σ copies nothing."""


class DNCMemory(NamedTuple):
    """The tensors that a DNC's memory carries from step to step, or their gradients."""

    slots: Tensor
    """(G, N, W)."""
    usage: Tensor
    """(G, N)."""
    read_weights: Tensor
    """(G, H, N)."""
    write_weights: Tensor
    """(G, 1, N)."""
    precedence: Tensor
    """(G, N)."""
    link: Tensor
    """(G, N, N)."""


class _Interface(NamedTuple):
    """The parts of an interface vector, each in its range."""

    read_keys: Tensor
    """(G, H, W): β k / |k|."""
    write_key: Tensor
    """(G, 1, W): β k / |k|."""
    add: Tensor
    modes: Tensor
    erase: Tensor
    free_gates: Tensor
    allocation_gate: Tensor
    write_gate: Tensor


class _SavedInterface(NamedTuple):
    keys: SavedKeys
    modes: Tensor
    slope: Tensor
    """σ of everything that goes through σ or softplus: the slope of softplus."""
    gates: Tensor


class _SavedUsage(NamedTuple):
    written: Tensor
    read_weights: Tensor
    free_gates: Tensor
    kept: Tensor
    """x_h = 1 − f_h w_h."""
    retention: Tensor
    """ψ."""
    unused: Tensor
    """1 − u."""
    grown: Tensor
    """g."""


class _SavedAllocation(NamedTuple):
    ordered: Tensor
    order: Tensor
    product: Tensor
    """c_j = Π_{i≤j} u_i."""


class _SavedWriteWeights(NamedTuple):
    difference: Tensor
    """a − c."""
    mixed: Tensor
    """c + g_a (a − c)."""
    allocation_gate: Tensor
    write_gate: Tensor


class _SavedPrecedence(NamedTuple):
    precedence: Tensor
    kept: Tensor
    """1 − Σ w."""


class _SavedLink(NamedTuple):
    link: Tensor
    row: Tensor
    """w_i, (G, N, 1)."""
    column: Tensor
    """p_j, (G, 1, N)."""
    decay: Tensor
    """d_ij."""


class _SavedReadWeights(NamedTuple):
    link: Tensor
    before: Tensor
    """w, of the step before."""
    ways: Tensor
    """b, c and f, (G, H, 3, N)."""
    modes: Tensor


class _Saved(NamedTuple):
    """What the backward pass needs of one step."""

    interface: _SavedInterface
    usage: _SavedUsage
    allocation: _SavedAllocation
    write_match: SavedMatch
    write_weights: _SavedWriteWeights
    write: SavedWrite
    link: _SavedLink
    precedence: _SavedPrecedence
    read_match: SavedMatch
    read_weights: _SavedReadWeights
    slots_after: Tensor
    read_weights_after: Tensor


@dataclass(frozen=True)
class DNCAccess:
    """One write head and all read heads; the memory is a :class:`DNCMemory`.

    Args:
        heads: H.
        dim: W.
    """

    heads: int
    dim: int

    @property
    def padding(self) -> int:
        """Number of features that pad the gates to whole vectors; gates stand last in the interface vector."""
        return -(self.dim + 2 * self.heads + 3) % _WHOLE

    def step(self, interface: Tensor, memory: Memory) -> tuple[Tensor, Memory, _Saved]:
        """Return the reads, (G, H, W), the memory after the step, and what the gradient needs."""
        before = DNCMemory(*memory)
        one = before.usage.new_ones(())
        parts, saved_interface = _split(interface, self.heads, self.dim)
        usage, saved_usage = _use(
            one, before.usage, before.write_weights.squeeze(1), before.read_weights, parts.free_gates
        )
        allocated, saved_allocation = _allocate(one, usage)
        alike, write_match = match(parts.write_key, before.slots)
        written, saved_write_weights = _mix(alike.squeeze(1), allocated, parts.allocation_gate, parts.write_gate)
        slots, saved_write = write(before.slots, written, parts.erase, parts.add)
        link, saved_link = _link(one, before.link, before.precedence, written)
        precedence, saved_precedence = _precede(one, before.precedence, written)
        content, read_match = match(parts.read_keys, slots)
        read_weights, saved_read_weights = _follow(link, before.read_weights, content, parts.modes)
        after = DNCMemory(slots, usage, read_weights, written[:, None], precedence, link)
        saved = _Saved(
            interface=saved_interface,
            usage=saved_usage,
            allocation=saved_allocation,
            write_match=write_match,
            write_weights=saved_write_weights,
            write=saved_write,
            link=saved_link,
            precedence=saved_precedence,
            read_match=read_match,
            read_weights=saved_read_weights,
            slots_after=slots,
            read_weights_after=read_weights,
        )
        # A plain tuple, like the memory that the first step receives: torch.compile compiles once for each type.
        return small_product(read_weights, slots), tuple(after), saved

    def gradient(self, grad_reads: Tensor, grad_memory: Memory, saved: _Saved) -> tuple[Tensor, Memory]:
        """Return the gradients of the interface vector and of the memory before; gradients of several paths add up."""
        after = DNCMemory(*grad_memory)
        grad_reads = grad_reads.reshape(-1, self.heads, self.dim)
        grad_read_weights = after.read_weights + small_product(grad_reads, saved.slots_after.mT)
        follow = _follow_gradient(grad_read_weights, saved.read_weights)
        grad_read_keys, grad_slots = _match_slots(follow.content, saved.read_match)
        precede = _precede_gradient(after.precedence, saved.precedence)
        link = _link_gradient(follow.link.add_(after.link), saved.link)
        grad_slots = grad_slots.add_(after.slots).add_(small_product(saved.read_weights_after.mT, grad_reads))
        written = write_gradient(grad_slots, saved.write)
        grad_written = written.weights.add_(link.written).add_(precede.written).add_(after.write_weights.squeeze(1))
        mix = _mix_gradient(grad_written, saved.write_weights)
        grad_write_key, grad_matched = _match_slots(mix.content[:, None], saved.write_match)
        grad_usage = _allocate_gradient(mix.allocated, saved.allocation).add_(after.usage)
        use = _use_gradient(grad_usage, saved.usage)
        grad_interface = _split_gradient(
            torch.cat([grad_read_keys, grad_write_key], 1),
            written.add,
            follow.modes,
            torch.cat([written.erase, use.free_gates, mix.gates], -1),
            saved.interface,
        )
        before = DNCMemory(
            slots=written.slots.add_(grad_matched),
            usage=use.usage,
            read_weights=follow.before.add_(use.read_weights),
            write_weights=use.written[:, None],
            precedence=precede.precedence.add_(link.precedence),
            link=link.link,
        )
        return grad_interface, tuple(before)


def _match_slots(grad_weights: Tensor, saved: SavedMatch) -> tuple[Tensor, Tensor]:
    """Return the gradients of the scaled keys and of the slots."""
    gradient = match_gradient(grad_weights, saved)
    grad_slots = small_product(gradient.product.mT, saved.keys).sub_(gradient.shrink[..., None] * saved.slots)
    return gradient.keys, grad_slots


def _split(vector: Tensor, heads: int, dim: int) -> tuple[_Interface, _SavedInterface]:
    """Split ξ into its parts.

    The slope of softplus is σ. So both functions are computed for all features that go through either of them.
    """
    plain = vector.view(-1, vector.shape[-1])
    sizes = [(heads + 1) * dim, dim, 3 * heads]
    keys, add, modes, _ = plain.split_with_sizes([*sizes, plain.shape[-1] - sum(sizes)], -1)
    gated = vector[..., sum(sizes) :].contiguous()
    strength = softplus(gated).view(len(plain), -1)[:, : heads + 1] + 1
    slope = sigmoid(gated).view(len(plain), -1)
    gates = slope[:, heads + 1 : dim + 2 * heads + 3]
    keys = keys.view(-1, heads + 1, dim)
    scaled, saved_keys = scale_keys(keys, strength)
    modes = modes.view(-1, heads, 3).softmax(-1)
    read_keys, write_key = scaled.split_with_sizes([heads, 1], 1)
    erase, free_gates, allocation_gate, write_gate = gates.split_with_sizes([dim, heads, 1, 1], -1)
    parts = _Interface(read_keys, write_key, add, modes, erase, free_gates, allocation_gate, write_gate)
    return parts, _SavedInterface(saved_keys, modes, slope, gates)


def _split_gradient(
    grad_scaled: Tensor, grad_add: Tensor, grad_modes: Tensor, grad_gates: Tensor, saved: _SavedInterface
) -> Tensor:
    """Return the gradient of ξ from those of its parts: scaled keys, add, modes, and all gates side by side."""
    grad_keys, grad_strength = scale_keys_gradient(grad_scaled, saved.keys)
    grad_modes = softmax_gradient(grad_modes, saved.modes, -1, saved.modes.dtype)
    grad_strength = grad_strength * saved.slope[:, : saved.modes.shape[1] + 1]
    grad_gates = sigmoid_gradient(grad_gates, saved.gates)
    return torch.cat([grad_keys.flatten(1), grad_add, grad_modes.flatten(1), grad_strength, grad_gates], -1)


def _use(
    one: Tensor, usage: Tensor, written: Tensor, read_weights: Tensor, free_gates: Tensor
) -> tuple[Tensor, _SavedUsage]:
    """u′ = g ψ with g = u + (1 − u) w, ψ = Π_h x_h and x_h = 1 − f_h w_h."""
    kept = one - free_gates[..., None] * read_weights
    retention, unused = kept.prod(1), one - usage
    grown = usage + unused * written
    return grown * retention, _SavedUsage(written, read_weights, free_gates, kept, retention, unused, grown)


class _UseGradient(NamedTuple):
    usage: Tensor
    written: Tensor
    read_weights: Tensor
    free_gates: Tensor


def _use_gradient(grad_usage: Tensor, saved: _SavedUsage) -> _UseGradient:
    """Return the gradients of :func:`_use`; dψ/dx_h is the product of all other x."""
    grad_grown = grad_usage * saved.retention
    others = saved.kept[:, None].repeat(1, saved.kept.shape[1], 1, 1)
    others.diagonal(dim1=1, dim2=2).fill_(-1)  # the sign of dx_h = −d(f_h w_h)
    grad_freed = others.prod(2).mul_((grad_usage * saved.grown)[:, None])
    return _UseGradient(
        usage=grad_grown - grad_grown * saved.written,
        written=grad_grown * saved.unused,
        read_weights=grad_freed * saved.free_gates[..., None],
        free_gates=(grad_freed * saved.read_weights).sum(-1),
    )


def _allocate(one: Tensor, usage: Tensor) -> tuple[Tensor, _SavedAllocation]:
    """a_j = (1 − u_j) c_{j−1} = c_{j−1} − c_j along the free list, with c_j = Π_{i≤j} u_i."""
    ordered, order = usage.sort(dim=-1, stable=True)
    floor = max(USAGE_FLOOR, torch.finfo(usage.dtype).tiny)
    ordered = ordered.mul_(1 - floor).add_(floor)
    product = ordered.cumprod(-1)
    share = torch.cat([one.expand(len(product), 1), product[:, :-1]], -1) - product
    return torch.empty_like(usage).scatter_(-1, order, share), _SavedAllocation(ordered, order, product)


def _allocate_gradient(grad_allocated: Tensor, saved: _SavedAllocation) -> Tensor:
    """Return the gradient of the usage: dc_j = da_{j+1} − da_j and du_j = Σ_{i≥j} dc_i c_i / u_j."""
    ordered, order, product = saved
    grad_share = grad_allocated.gather(-1, order)
    grad_product = torch.cat([grad_share[:, 1:], grad_share.new_zeros(len(grad_share), 1)], -1).sub_(grad_share)
    grad_ordered = grad_product.mul_(product).flip(-1).cumsum(-1).flip(-1).div_(ordered)
    floor = max(USAGE_FLOOR, torch.finfo(product.dtype).tiny)
    return torch.empty_like(grad_allocated).scatter_(-1, order, grad_ordered.mul_(1 - floor))


def _mix(
    content: Tensor, allocated: Tensor, allocation_gate: Tensor, write_gate: Tensor
) -> tuple[Tensor, _SavedWriteWeights]:
    """W = g_w (c + g_a (a − c))."""
    difference = allocated - content
    mixed = content + allocation_gate * difference
    return write_gate * mixed, _SavedWriteWeights(difference, mixed, allocation_gate, write_gate)


class _MixGradient(NamedTuple):
    content: Tensor
    allocated: Tensor
    gates: Tensor
    """Of both gates, side by side."""


def _mix_gradient(grad_written: Tensor, saved: _SavedWriteWeights) -> _MixGradient:
    """Return the gradients of c, a and both gates."""
    grad_mixed = grad_written * saved.write_gate
    grad_allocated = grad_mixed * saved.allocation_gate
    grad_gates = torch.stack([grad_mixed * saved.difference, grad_written * saved.mixed], 1).sum(-1)
    return _MixGradient(grad_mixed - grad_allocated, grad_allocated, grad_gates)


def _precede(one: Tensor, precedence: Tensor, written: Tensor) -> tuple[Tensor, _SavedPrecedence]:
    """p′ = (1 − Σ w) p + w."""
    kept = one - written.sum(-1, keepdim=True)
    return kept * precedence + written, _SavedPrecedence(precedence, kept)


class _PrecedeGradient(NamedTuple):
    precedence: Tensor
    written: Tensor


def _precede_gradient(grad_precedence: Tensor, saved: _SavedPrecedence) -> _PrecedeGradient:
    """Return the gradients of p and w."""
    grad_written = grad_precedence - (grad_precedence * saved.precedence).sum(-1, keepdim=True)
    return _PrecedeGradient(grad_precedence * saved.kept, grad_written)


def _link(one: Tensor, link: Tensor, precedence: Tensor, written: Tensor) -> tuple[Tensor, _SavedLink]:
    """L′_ij = d_ij L_ij + w_i p_j with d_ij = 1 − w_i − w_j, and zeros on the diagonal."""
    row, column = written[..., None], precedence[:, None]
    decay = (one - row) - written[:, None]
    linked = (decay * link).add_(row * column)
    linked.diagonal(dim1=-2, dim2=-1).zero_()
    return linked, _SavedLink(link, row, column, decay)


class _LinkGradient(NamedTuple):
    link: Tensor
    written: Tensor
    precedence: Tensor


def _link_gradient(grad_link: Tensor, saved: _SavedLink) -> _LinkGradient:
    """Return the gradients of L, w and p: dw_i = Σ_j dL′_ij (p_j − L_ij) − Σ_j dL′_ji L_ji."""
    link, row, column, decay = saved
    grad_link.diagonal(dim1=-2, dim2=-1).zero_()
    grad_written = (grad_link * (column - link)).sum(-1).sub_((grad_link * link).sum(1))
    return _LinkGradient(grad_link * decay, grad_written, (grad_link * row).sum(1))


def _follow(link: Tensor, before: Tensor, content: Tensor, modes: Tensor) -> tuple[Tensor, _SavedReadWeights]:
    """w′ = π₁ b + π₂ c + π₃ f with b = Lᵀ w and f = L w."""
    ways = torch.stack([small_product(before, link), content, small_product(before, link.mT)], 2)
    after = (modes[..., None] * ways).sum(2)
    return after, _SavedReadWeights(link, before, ways, modes)


class _FollowGradient(NamedTuple):
    link: Tensor
    before: Tensor
    content: Tensor
    modes: Tensor


def _follow_gradient(grad_after: Tensor, saved: _SavedReadWeights) -> _FollowGradient:
    """Return the gradients of L, w, c and π."""
    link, before, ways, modes = saved
    grad_after = grad_after[:, :, None]
    grad_backward, grad_content, grad_forward = (modes[..., None] * grad_after).unbind(2)
    return _FollowGradient(
        link=small_product(before.mT, grad_backward) + small_product(grad_forward.mT, before),
        before=small_product(grad_backward, link.mT) + small_product(grad_forward, link),
        content=grad_content,
        modes=(grad_after * ways).sum(-1),
    )
