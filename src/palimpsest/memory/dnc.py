"""The Differentiable Neural Computer: a controller whose memory is allocated, freed, and read in order of writing.

[Graves et al. 2016], "Hybrid computing using a neural network with dynamic external memory", Nature 538, Methods.
Content addressing, allocation, reading and writing are in :mod:`palimpsest.memory.addressing`. This module has usage,
temporal links, gates and read modes, and the cell that combines them.

Axes: R runs, B batch, H read heads, N slots, W slot_dim. A weighting is non-negative and sums to at most one. There is
one write head. Its weightings have a head axis of length one, so that they have the same shape as those of read heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.cells import LSTMCell, LSTMState
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product
from palimpsest.memory.addressing import allocation, content_weights, erase_and_add, read
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.memory.fast.dnc import DNCAccess, DNCMemory
from palimpsest.memory.fast.sequence import Carried, Weights, unrolled
from palimpsest.memory.sizes import at_least_one, within

Slots = Float[Tensor, "runs batch slots dim"]
PerSlot = Float[Tensor, "runs batch slots"]
Reads = Float[Tensor, "runs batch heads slots"]
Write = Float[Tensor, "runs batch 1 slots"]
Link = Float[Tensor, "runs batch slots slots"]


class SparseLink(NamedTuple):
    """The K strongest predecessors (index 0 of the third axis) and K strongest successors (index 1) of every slot."""

    neighbour: Int[Tensor, "runs batch 2 slots kept"]
    """Slot numbers; a row has no slot twice."""
    value: Float[Tensor, "runs batch 2 slots kept"]
    """Link strength, in [0, 1]."""


class DNCState(NamedTuple):
    """The state of a :class:`DNCCell` between two steps."""

    slots: Slots
    usage: PerSlot
    """u in [0, 1]: 0 if a slot is free, 1 if it must not be overwritten."""
    read_weights: Reads
    write_weights: Write
    precedence: PerSlot
    """p: degree to which a slot was the last one written; sums to at most one."""
    link: Link | None
    """L, row i, column j: degree to which i was written right after j; ``None`` if links are sparse."""
    sparse_link: SparseLink | None
    reads: Float[Tensor, "runs batch heads dim"]
    """The reads, an input of the controller in the next step."""
    controller: LSTMState


class Interface(NamedTuple):
    """The memory's inputs in one step, computed by the controller    [Graves 2016, "Interface parameters"]."""

    read_keys: Float[Tensor, "runs batch heads dim"]
    read_strengths: Float[Tensor, "runs batch heads"]
    """β ≥ 1."""
    write_key: Float[Tensor, "runs batch 1 dim"]
    write_strength: Float[Tensor, "runs batch 1"]
    """β ≥ 1."""
    erase: Float[Tensor, "runs batch 1 dim"]
    """e in [0, 1]."""
    add: Float[Tensor, "runs batch 1 dim"]
    """v, the write vector."""
    free_gates: Float[Tensor, "runs batch heads"]
    """f in [0, 1]: 1 frees the slots that the head has just read."""
    allocation_gate: Float[Tensor, "runs batch 1"]
    """g_a in [0, 1]: write to free slots (1) or to the slots that match the write key (0)."""
    write_gate: Float[Tensor, "runs batch 1"]
    """g_w in [0, 1]: 0 writes nothing."""
    read_modes: Float[Tensor, "runs batch heads 3"]
    """π: weights of the backward, content and forward modes."""


def interface_size(num_read_heads: int, slot_dim: int) -> int:
    """Number of features of an interface vector: W H + 3 W + 5 H + 3    [Graves 2016]."""
    return slot_dim * num_read_heads + 3 * slot_dim + 5 * num_read_heads + 3


def split_interface(vector: Float[Tensor, "runs batch features"], num_read_heads: int, slot_dim: int) -> Interface:
    """Split ξ into its parts and bring each into its range.

    The functions are σ for gates and e, oneplus(x) = 1 + log(1 + e^x) for β, and softmax for π. Parts with the same
    function lie side by side, so that the function is called once for all of them.

    Deviates: the order of the parts differs from the paper's, which is only a convention.
    """
    heads, dim = num_read_heads, slot_dim
    keys, add, modes, strengths, gates = vector.split(
        [(heads + 1) * dim, dim, 3 * heads, heads + 1, dim + heads + 2], -1
    )
    read_keys, write_key = keys.unflatten(-1, (heads + 1, dim)).split([heads, 1], 2)
    read_strengths, write_strength = (1 + softplus(strengths)).split([heads, 1], -1)
    erase, free_gates, allocation_gate, write_gate = sigmoid(gates).split([dim, heads, 1, 1], -1)
    return Interface(
        read_keys=read_keys,
        read_strengths=read_strengths,
        write_key=write_key,
        write_strength=write_strength,
        erase=erase[:, :, None],
        add=add[:, :, None],
        free_gates=free_gates,
        allocation_gate=allocation_gate,
        write_gate=write_gate,
        read_modes=modes.unflatten(-1, (heads, 3)).softmax(-1),
    )


def next_usage(
    usage: PerSlot, write_weights: Write, read_weights: Reads, free_gates: Float[Tensor, "runs batch heads"]
) -> PerSlot:
    """u_t = (u_{t−1} + w^w_{t−1} − u_{t−1} ∘ w^w_{t−1}) ∘ ψ_t,  ψ_t = Π_i (1 − f^i_t w^{r,i}_{t−1})    [Graves 2016].

    A write raises the usage of a slot; a free gate lowers it again after the head has read the slot.

    Args:
        usage: u_{t−1}.
        write_weights: of the step before.
        read_weights: of the step before.
        free_gates: f_t.
    """
    retention = (1 - free_gates[..., None] * read_weights).prod(2)
    return (usage + (1 - usage) * write_weights.squeeze(2)) * retention


def write_weighting(
    content: Write,
    allocated: PerSlot,
    allocation_gate: Float[Tensor, "runs batch 1"],
    write_gate: Float[Tensor, "runs batch 1"],
) -> Write:
    """w^w = g_w [g_a a + (1 − g_a) c]    [Graves 2016]."""
    mixed = content + allocation_gate[..., None] * (allocated[:, :, None] - content)
    return write_gate[..., None] * mixed


def next_precedence(precedence: PerSlot, write_weights: Write) -> PerSlot:
    """p_t = (1 − Σ_i w^w_t(i)) p_{t−1} + w^w_t    [Graves 2016]."""
    written = write_weights.squeeze(2)
    return (1 - written.sum(-1, keepdim=True)) * precedence + written


def next_link(link: Link, precedence: PerSlot, write_weights: Write) -> Link:
    """L_t[i, j] = (1 − w^w_t(i) − w^w_t(j)) L_{t−1}[i, j] + w^w_t(i) p_{t−1}(j), 0 where i = j    [Graves 2016].

    Args:
        link: L_{t−1}.
        precedence: p_{t−1}, of the step before.
        write_weights: w^w_t.
    """
    row = write_weights.transpose(-1, -2)
    linked = (1 - row - write_weights) * link + row * precedence[:, :, None]
    return linked.masked_fill(torch.eye(link.shape[-1], dtype=torch.bool, device=link.device), 0.0)


def follow(link: Link, read_weights: Reads) -> tuple[Reads, Reads]:
    """Return the forward and backward weightings f = L w^r and b = Lᵀ w^r    [Graves 2016].

    They address the slots that were written right after, and right before, the slots read in the step before.
    """
    return product(read_weights, link.transpose(-1, -2)), product(read_weights, link)


def next_sparse_link(link: SparseLink, precedence: PerSlot, write_weights: Write) -> SparseLink:
    """Update the link matrix, of which only the K largest entries of every row and every column are stored.

    Let L̃ be the stored entries. Those by rows (predecessors) and those by columns (successors) are stored separately.
    Let top_K(x) be x with all entries but the K largest set to zero. Then

        by rows     L̃_t[i, ·] = top_K((1 − w(i) − w(·)) L̃_{t−1}[i, ·] + w(i) top_K(p_{t−1})(·))
        by columns  L̃_t[·, j] = top_K((1 − w(·) − w(j)) L̃_{t−1}[·, j] + top_K(w)(·) p_{t−1}(j))

    This follows the sparse DNC of [Rae et al. 2016, supplementary material], which also stores one row-sparse matrix
    for each direction. Every entry is at most the entry of the dense matrix, and equal to it for K = N. A step takes
    time and memory O(N K).

    Deviates: from Rae et al. in two points. Both weights of a pair decay its link, as in the dense DNC, and the write
    weights stay dense.

    Args:
        link: of the step before.
        precedence: p_{t−1}, of the step before.
        write_weights: w = w^w_t.
    """
    count = link.neighbour.shape[-1]
    written = write_weights.squeeze(2)
    own = torch.stack([written, precedence], 2)
    partner = torch.stack([precedence, written], 2)
    strongest, candidate = partner.topk(count, -1)
    offered = torch.zeros_like(partner).scatter(-1, candidate, strongest)
    slot = torch.arange(partner.shape[-1], device=partner.device)

    def across(values: Tensor) -> Tensor:
        """Return the values at the stored neighbours of every slot."""
        return values[..., None, :].expand(*link.neighbour.shape[:-1], -1).gather(-1, link.neighbour)

    weights = write_weights.expand_as(partner)
    decay = 1 - weights[..., None] - across(weights)
    old = decay * link.value + own[..., None] * across(offered)
    old = old.masked_fill(link.neighbour == slot[:, None], 0.0)
    new = own[..., None] * strongest[..., None, :]
    # The position of each candidate in the list of candidates; `count` for all other slots.
    position = torch.full_like(candidate[..., :1], count).expand_as(partner)
    position = position.scatter(-1, candidate, torch.arange(count, device=slot.device).expand_as(candidate))
    known = torch.zeros(*new.shape[:-1], count + 1, dtype=torch.bool, device=new.device)
    known = known.scatter(-1, across(position), True)[..., :count]
    candidates = candidate[..., None, :].expand_as(new)
    new = new.masked_fill(known | (candidates == slot[:, None]), -1.0)  # smaller than any stored entry, so never chosen
    value, chosen = torch.cat([old, new], -1).topk(count, -1)
    return SparseLink(torch.cat([link.neighbour, candidates], -1).gather(-1, chosen), value)


def follow_sparse(link: SparseLink, read_weights: Reads) -> tuple[Reads, Reads]:
    """Return the forward and backward weightings of :func:`follow`, from the stored links only."""
    heads, num_slots = read_weights.shape[-2:]
    neighbour = link.neighbour[:, :, :, None].expand(-1, -1, -1, heads, -1, -1)
    weights = read_weights[:, :, None, :, None].expand(-1, -1, 2, -1, num_slots, -1)
    forward, backward = (link.value[:, :, :, None] * weights.gather(-1, neighbour)).sum(-1).unbind(2)
    return forward, backward


def read_weighting(
    forward: Reads, backward: Reads, content: Reads, read_modes: Float[Tensor, "runs batch heads 3"]
) -> Reads:
    """w^r = π[1] b + π[2] c + π[3] f    [Graves 2016]."""
    along_backward, along_content, along_forward = read_modes[..., None].unbind(3)
    return along_backward * backward + along_content * content + along_forward * forward


class DNCCell(nn.Module):
    """A controller and its memory. The input of a step is (x_t, r_{t−1}); the output is y_t = W_y h_t + W_r r_t.

    [Graves 2016]. One linear map of the controller's output computes the parameters of all heads. The reads go to the
    output in the same step, and to the controller in the next step.

    Deviates: the controller is an LSTM with one layer; the paper stacks several. Norms and usages have a floor, see
    :mod:`palimpsest.memory.addressing`.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        d_hidden: hidden units of the controller.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H.
        d_out: features of y; ``None``: the output is (h_t, r_t), and a linear map behind the cell can then compute y
            for all steps at once.
        sparse_links: K, number of stored predecessors and successors of a slot; ``None``: all, which takes O(N²) a
            step.

    Raises:
        ParameterError: a size is below one, or ``sparse_links`` is not in 1 … ``num_slots``.
    """

    def __init__(
        self,
        runs: int,
        d_in: int,
        d_hidden: int,
        num_slots: int,
        slot_dim: int,
        num_read_heads: int = 1,
        *,
        d_out: int | None = None,
        sparse_links: int | None = None,
    ) -> None:
        super().__init__()
        at_least_one(
            d_in=d_in, d_hidden=d_hidden, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads
        )
        if d_out is not None:
            at_least_one(d_out=d_out)
        if sparse_links is not None:
            within("sparse_links", sparse_links, 1, num_slots)
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.sparse_links, self.compiled = sparse_links, False
        features = d_hidden + num_read_heads * slot_dim
        self.d_out = features if d_out is None else d_out
        self.controller = LSTMCell(runs, d_in + num_read_heads * slot_dim, d_hidden)
        self.interface = Linear(runs, d_hidden, interface_size(num_read_heads, slot_dim))
        self.output = None if d_out is None else Linear(runs, features, d_out)

    def initial_state(self, batch: int) -> DNCState:
        """Return an empty memory: zeros, and no slot used, written or read."""
        weight = self.interface.weight
        shape = (weight.shape[0], batch)
        num_slots, heads = self.num_slots, self.num_read_heads
        return DNCState(
            slots=weight.new_zeros(*shape, num_slots, self.slot_dim),
            usage=weight.new_zeros(*shape, num_slots),
            read_weights=weight.new_zeros(*shape, heads, num_slots),
            write_weights=weight.new_zeros(*shape, 1, num_slots),
            precedence=weight.new_zeros(*shape, num_slots),
            link=weight.new_zeros(*shape, num_slots, num_slots) if self.sparse_links is None else None,
            sparse_link=None if self.sparse_links is None else self._no_links(batch, self.sparse_links),
            reads=weight.new_zeros(*shape, heads, self.slot_dim),
            controller=self.controller.initial_state(batch),
        )

    def _no_links(self, batch: int, count: int) -> SparseLink:
        weight = self.interface.weight
        shape = (weight.shape[0], batch, 2, self.num_slots, count)
        return SparseLink(torch.arange(count, device=weight.device).expand(shape), weight.new_zeros(shape))

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: DNCState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], DNCState]:
        """Free, write, then read.

        Args:
            x: input.
            state: after the step before.
            control: under ``shuffled`` a read uses the neighbour's contents and links; under ``off`` both the output
                and the controller receive zeros in place of the reads.
        """
        h, controller = self.controller.step(torch.cat([x, state.reads.flatten(2)], -1), state.controller)
        interface = split_interface(self.interface(h), self.num_read_heads, self.slot_dim)
        accessed = access(interface, state, control)
        outputs = torch.cat([h, accessed.reads.flatten(2)], -1)
        return outputs if self.output is None else self.output(outputs), accessed._replace(controller=controller)

    def unroll(
        self, xs: Float[Tensor, "runs batch time d_in"], state: DNCState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch time d_out"], DNCState]:
        """Return the outputs of all steps of a sequence, (R, B, T, d_out), and the last state.

        With dense links, and except under ``shuffled``, it takes a fraction of the time of calls of
        :meth:`step`, and rounds differently.

        Args:
            xs: inputs of one step or more.
            state: before the first step.
            control: as in :meth:`step`.
        """
        if state.link is not None and control != "shuffled":
            return self._unroll_fast(xs, state, reading=control != "off")
        outputs = []
        for x in xs.unbind(2):
            y, state = self.step(x, state, control)
            outputs.append(y)
        return torch.stack(outputs, 2), state

    def _unroll_fast(
        self, xs: Float[Tensor, "runs batch time d_in"], state: DNCState, *, reading: bool
    ) -> tuple[Float[Tensor, "runs batch time d_out"], DNCState]:
        """Compute all steps as one autograd node, see :mod:`palimpsest.memory.fast.sequence`."""
        assert state.link is not None
        memory = DNCMemory(
            slots=state.slots,
            usage=state.usage,
            read_weights=state.read_weights,
            write_weights=state.write_weights,
            precedence=state.precedence,
            link=state.link,
        )
        carried = Carried(*state.controller, state.reads.flatten(2), memory)
        access = DNCAccess(self.num_read_heads, self.slot_dim)
        outputs, after = unrolled(access, xs, carried, self._weights(), reading=reading, compiled=self.compiled)
        state = state._replace(
            **DNCMemory(*after.memory)._asdict(),
            reads=after.reads.view_as(state.reads),
            controller=LSTMState(after.hidden, after.cell),
        )
        return outputs if self.output is None else self.output(outputs), state

    def _weights(self) -> Weights:
        of_input, interface = self.controller.of_input, self.interface
        return Weights(of_input.weight, of_input.bias, self.controller.recurrent, interface.weight, interface.bias)


def access(interface: Interface, state: DNCState, control: Control = "on") -> DNCState:
    """Take one step of the memory, without the controller."""
    usage = next_usage(state.usage, state.write_weights, state.read_weights, interface.free_gates)
    content = content_weights(interface.write_key, state.slots, interface.write_strength)
    write_weights = write_weighting(content, allocation(usage), interface.allocation_gate, interface.write_gate)
    slots = erase_and_add(state.slots, write_weights, interface.erase, interface.add)
    state = _link(state, write_weights)._replace(slots=slots, usage=usage, write_weights=write_weights)
    visible = shuffle_memory(slots, control)
    content = content_weights(interface.read_keys, visible, interface.read_strengths)
    forward, backward = _follow(state, control)
    read_weights = read_weighting(forward, backward, content, interface.read_modes)
    return state._replace(read_weights=read_weights, reads=silence_reads(read(visible, read_weights), control))


def _link(state: DNCState, write_weights: Write) -> DNCState:
    precedence = next_precedence(state.precedence, write_weights)
    if state.link is not None:
        return state._replace(precedence=precedence, link=next_link(state.link, state.precedence, write_weights))
    assert state.sparse_link is not None
    sparse_link = next_sparse_link(state.sparse_link, state.precedence, write_weights)
    return state._replace(precedence=precedence, sparse_link=sparse_link)


def _follow(state: DNCState, control: Control) -> tuple[Reads, Reads]:
    if state.link is not None:
        return follow(shuffle_memory(state.link, control), state.read_weights)
    assert state.sparse_link is not None
    return follow_sparse(SparseLink(*(shuffle_memory(part, control) for part in state.sparse_link)), state.read_weights)
