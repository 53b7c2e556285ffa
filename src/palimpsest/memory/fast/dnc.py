"""A step of a DNC's memory, and its gradient, for :mod:`palimpsest.memory.fast.sequence`.

It says what :func:`palimpsest.memory.dnc.access` says, with dense links.

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

_WHOLE = 64
"""Features to a multiple of which what goes through σ is filled up, so that no copy is needed to fill up vectors."""


@dataclass(frozen=True)
class DNCAccess:
    """One write head and all read heads.

    The memory is (slots (G, N, W), usage (G, N), read weights (G, H, N), write weights (G, 1, N), precedence (G, N),
    link (G, N, N)).

    Args:
        heads: H.
        dim: W.
    """

    heads: int
    dim: int

    @property
    def padding(self) -> int:
        """Gates are told last; they are filled up to whole vectors."""
        return -(self.dim + 2 * self.heads + 3) % _WHOLE

    def step(self, told: Tensor, memory: Memory) -> tuple[Tensor, Memory, Kept]:
        """What is read, (G, H, W), the memory after a step, and what is kept."""
        slots, usage, reading, writing, precedence, link = memory
        one = usage.new_ones(())
        tell, heard = _tell(told, self.heads, self.dim)
        usage, freed = _free(one, usage, writing.squeeze(1), reading, tell.free)
        room, allocated = _allocate(one, usage)
        alike, looked = look(tell.write_pull, slots)
        written, weighed = _weigh(alike.squeeze(1), room, tell.allocation_gate, tell.write_gate)
        slots, rewritten = rewrite(slots, written, tell.erase, tell.add)
        link, linked = _relink(one, link, precedence, written)
        precedence, preceded = _precede(one, precedence, written)
        content, found = look(tell.read_pull, slots)
        reading, went = _go(link, reading, content, tell.modes)
        after = (slots, usage, reading, written[:, None], precedence, link)
        kept = (heard, freed, allocated, looked, weighed, rewritten, linked, preceded, found, went, slots, reading)
        return times(reading, slots), after, kept

    def gradient(self, of_reads: Tensor, of_memory: Memory, kept: Kept) -> tuple[Tensor, Memory]:
        """Of what was told and of the memory before; sums where paths meet."""
        heard, freed, allocated, looked, weighed, rewritten, linked, preceded, found, went, slots, reading = kept
        of_slots, of_usage, of_reading, of_writing, of_precedence, of_link = of_memory
        of_reads = of_reads.reshape(-1, self.heads, self.dim)
        of_went, of_reading, of_content, of_modes = _go_gradient(of_reading + times(of_reads, slots.mT), went)
        of_read_pull, of_found = _of_slots(of_content, found)
        of_precedence, of_preceded = _precede_gradient(of_precedence, preceded)
        of_link, of_linked, of_linked_precedence = _relink_gradient(of_went.add_(of_link), linked)
        of_slots = of_found.add_(of_slots).add_(times(reading.mT, of_reads))
        of_slots, of_written, of_erase, of_add = rewrite_gradient(of_slots, rewritten)
        of_written = of_written.add_(of_linked).add_(of_preceded).add_(of_writing.squeeze(1))
        of_alike, of_room, of_gates = _weigh_gradient(of_written, weighed)
        of_write_pull, of_looked = _of_slots(of_alike[:, None], looked)
        of_usage = _allocate_gradient(of_room, allocated).add_(of_usage)
        of_usage, of_writing, of_freed, of_free = _free_gradient(of_usage, freed)
        of_told = _tell_gradient([of_read_pull, of_write_pull], of_add, of_modes, [of_erase, of_free, of_gates], heard)
        of_precedence = of_precedence.add_(of_linked_precedence)
        before = (of_slots.add_(of_looked), of_usage, of_reading.add_(of_freed), of_writing[:, None], of_precedence)
        return of_told, (*before, of_link)


def _of_slots(of_weights: Tensor, kept: Kept) -> tuple[Tensor, Tensor]:
    """Of what was looked for and of the slots that it was looked for in."""
    of_product, of_pull, shrink = look_gradient(of_weights, kept)
    return of_pull, times(of_product.mT, kept[1]).sub_(shrink[..., None] * kept[0])


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
    pulls, pulled = pull(keys, strength)
    modes = modes.view(-1, heads, 3).softmax(-1)
    read_pull, write_pull = pulls.split_with_sizes([heads, 1], 1)
    erase, free, allocation_gate, write_gate = gates.split_with_sizes([dim, heads, 1, 1], -1)
    told = _Told(read_pull, write_pull, add, modes, erase, free, allocation_gate, write_gate)
    return told, (pulled, modes, slope, gates)


def _tell_gradient(
    of_pull: list[Tensor], of_add: Tensor, of_modes: Tensor, of_gates: list[Tensor], kept: Kept
) -> Tensor:
    """Of ξ, its parts side by side."""
    pulled, modes, slope, gates = kept
    of_keys, of_strength = pull_gradient(torch.cat(of_pull, 1), pulled)
    of_modes = softmax_gradient(of_modes, modes, -1, modes.dtype)
    of_strength = of_strength * slope[:, : modes.shape[1] + 1]
    of_gated = sigmoid_gradient(torch.cat(of_gates, -1), gates)
    return torch.cat([of_keys.flatten(1), of_add, of_modes.flatten(1), of_strength, of_gated], -1)


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
    ways = torch.stack([times(reading, link), content, times(reading, link.mT)], 2)
    after = (modes[..., None] * ways).sum(2)
    return after, (link, reading, ways, modes)


def _go_gradient(of_after: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of L, w, c and π."""
    link, reading, ways, modes = kept
    of_after = of_after[:, :, None]
    of_backward, of_content, of_forward = (modes[..., None] * of_after).unbind(2)
    of_link = times(reading.mT, of_backward) + times(of_forward.mT, reading)
    of_reading = times(of_backward, link.mT) + times(of_forward, link)
    return of_link, of_reading, of_content, (of_after * ways).sum(-1)
