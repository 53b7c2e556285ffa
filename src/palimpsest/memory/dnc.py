"""The Differentiable Neural Computer: a controller with an external memory that it allocates, frees and goes along.

[Graves et al. 2016], "Hybrid computing using a neural network with dynamic external memory", Nature 538, Methods.
Content addressing, allocation, and what reading and writing come to stand in :mod:`palimpsest.memory.addressing`; here
are usage, temporal links, gates and modes, and the cell that puts them together.

Axes: R runs, B batch, H read heads, N slots, W slot_dim. A weighting is non-negative and sums to at most one. There is
one write head; its weightings have an axis of their own of length one, so that they look like those of read heads.
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
from palimpsest.memory.control import Control, heard, seen
from palimpsest.memory.fast.dnc import DNCAccess
from palimpsest.memory.fast.sequence import Carried, Weights, unrolled
from palimpsest.memory.sizes import at_least_one, within

Slots = Float[Tensor, "runs batch slots dim"]
PerSlot = Float[Tensor, "runs batch slots"]
Reads = Float[Tensor, "runs batch heads slots"]
Write = Float[Tensor, "runs batch 1 slots"]
Link = Float[Tensor, "runs batch slots slots"]


MEMORY = ("slots", "usage", "read_weights", "write_weights", "precedence", "link")
"""What :class:`palimpsest.memory.fast.dnc.DNCAccess` takes of a state, in its order."""


class SparseLink(NamedTuple):
    """The K most likely predecessors of every slot, at 0 of the third axis, and its K most likely successors, at 1."""

    neighbour: Int[Tensor, "runs batch 2 slots kept"]
    """Which slots; no slot stands twice in a row."""
    value: Float[Tensor, "runs batch 2 slots kept"]
    """How likely, in [0, 1]."""


class DNCState(NamedTuple):
    """All that one step of a :class:`DNCCell` hands to the next."""

    slots: Slots
    usage: PerSlot
    """u in [0, 1]: how little a slot may be written anew."""
    read_weights: Reads
    write_weights: Write
    precedence: PerSlot
    """p: how surely a slot is the one that was written last; sums to at most one."""
    link: Link | None
    """L, row i, column j: how surely i was written right after j; ``None`` where links are sparse."""
    sparse_link: SparseLink | None
    reads: Float[Tensor, "runs batch heads dim"]
    """What was read, which the controller hears in the next step."""
    controller: LSTMState


class Interface(NamedTuple):
    """What the controller tells the memory in a step    [Graves 2016, "Interface parameters"]."""

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
    """f in [0, 1]: whether what was just read may be given up."""
    allocation_gate: Float[Tensor, "runs batch 1"]
    """g_a in [0, 1]: write where there is room (1) or where the write key points (0)."""
    write_gate: Float[Tensor, "runs batch 1"]
    """g_w in [0, 1]: whether to write at all."""
    read_modes: Float[Tensor, "runs batch heads 3"]
    """π: shares of backward, content and forward."""


def interface_size(num_read_heads: int, slot_dim: int) -> int:
    """Features of an interface vector: W H + 3 W + 5 H + 3    [Graves 2016]."""
    return slot_dim * num_read_heads + 3 * slot_dim + 5 * num_read_heads + 3


def split_interface(vector: Float[Tensor, "runs batch features"], num_read_heads: int, slot_dim: int) -> Interface:
    """Parts of ξ, each brought into its range: σ for gates and e, oneplus(x) = 1 + log(1 + e^x) for β, softmax for π.

    The parts that go through one function lie side by side, so that it is called once for all of them.

    Deviates: in the order of the parts, which is the paper's own only by convention.
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

    A slot is used once it is written, and free again once a head that has read it frees it.

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
        precedence: p_{t−1}, that of the step before.
        write_weights: w^w_t.
    """
    row = write_weights.transpose(-1, -2)
    linked = (1 - row - write_weights) * link + row * precedence[:, :, None]
    return linked.masked_fill(torch.eye(link.shape[-1], dtype=torch.bool, device=link.device), 0.0)


def follow(link: Link, read_weights: Reads) -> tuple[Reads, Reads]:
    """Forward and backward weightings f = L w^r and b = Lᵀ w^r    [Graves 2016].

    What was written right after, and right before, that which was read in the step before.
    """
    return product(read_weights, link.transpose(-1, -2)), product(read_weights, link)


def next_sparse_link(link: SparseLink, precedence: PerSlot, write_weights: Write) -> SparseLink:
    """The link matrix, of every row and of every column its K largest entries alone.

    With L̃ the kept entries, by rows (predecessors) and, apart from them, by columns (successors), and top_K(x) being x
    with all but its K largest entries zeroed:

        by rows     L̃_t[i, ·] = top_K((1 − w(i) − w(·)) L̃_{t−1}[i, ·] + w(i) top_K(p_{t−1})(·))
        by columns  L̃_t[·, j] = top_K((1 − w(·) − w(j)) L̃_{t−1}[·, j] + top_K(w)(·) p_{t−1}(j))

    after the sparse DNC of [Rae et al. 2016, supplementary material], which keeps a row-sparse matrix for each of the
    two directions as well. Every entry is at most that of the dense matrix, and equal to it for K = N. Time and memory
    O(N K) a step.

    Deviates: from Rae et al. in that both weights of a pair decay it, as in the dense DNC, and in that write weights
    themselves stay dense.

    Args:
        link: of the step before.
        precedence: p_{t−1}, that of the step before.
        write_weights: w = w^w_t.
    """
    kept = link.neighbour.shape[-1]
    written = write_weights.squeeze(2)
    own = torch.stack([written, precedence], 2)
    partner = torch.stack([precedence, written], 2)
    strongest, candidate = partner.topk(kept, -1)
    offered = torch.zeros_like(partner).scatter(-1, candidate, strongest)
    slot = torch.arange(partner.shape[-1], device=partner.device)

    def across(values: Tensor) -> Tensor:
        """What the kept neighbours of every slot have."""
        return values[..., None, :].expand(*link.neighbour.shape[:-1], -1).gather(-1, link.neighbour)

    weights = write_weights.expand_as(partner)
    decay = 1 - weights[..., None] - across(weights)
    old = decay * link.value + own[..., None] * across(offered)
    old = old.masked_fill(link.neighbour == slot[:, None], 0.0)
    new = own[..., None] * strongest[..., None, :]
    # Where each candidate stands in the list of candidates; `kept` for all other slots.
    position = torch.full_like(candidate[..., :1], kept).expand_as(partner)
    position = position.scatter(-1, candidate, torch.arange(kept, device=slot.device).expand_as(candidate))
    known = torch.zeros(*new.shape[:-1], kept + 1, dtype=torch.bool, device=new.device)
    known = known.scatter(-1, across(position), True)[..., :kept]
    candidates = candidate[..., None, :].expand_as(new)
    new = new.masked_fill(known | (candidates == slot[:, None]), -1.0)  # not to be kept, whatever else there is
    value, chosen = torch.cat([old, new], -1).topk(kept, -1)
    return SparseLink(torch.cat([link.neighbour, candidates], -1).gather(-1, chosen), value)


def follow_sparse(link: SparseLink, read_weights: Reads) -> tuple[Reads, Reads]:
    """Forward and backward weightings, as :func:`follow` has them, over the links that were kept."""
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
    """Controller and memory; a step hears (x_t, r_{t−1}) and says y_t = W_y h_t + W_r r_t    [Graves 2016].

    One map of the controller's output has the parameters of all heads. What was read goes to the output in the same
    step and to the controller in the next one.

    Deviates: the controller is an LSTM of one layer, of which the paper stacks several. Norms and usages have a floor,
    as :mod:`palimpsest.memory.addressing` says.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        d_hidden: hidden units of the controller.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H.
        d_out: features of y; ``None``: a step says (h_t, r_t) themselves, of which a linear map behind the cell then
            makes y for all steps at once.
        sparse_links: K, how many predecessors and successors of a slot are remembered; ``None``: all, which takes
            O(N²) a step.

    Raises:
        ParameterError: a size is below one, or ``sparse_links`` is none of 1 to ``num_slots``.
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
        said = d_hidden + num_read_heads * slot_dim
        self.d_out = said if d_out is None else d_out
        self.controller = LSTMCell(runs, d_in + num_read_heads * slot_dim, d_hidden)
        self.interface = Linear(runs, d_hidden, interface_size(num_read_heads, slot_dim))
        self.output = None if d_out is None else Linear(runs, said, d_out)

    def initial_state(self, batch: int) -> DNCState:
        """An empty memory, nothing of which is used, written or read."""
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

    def _no_links(self, batch: int, kept: int) -> SparseLink:
        weight = self.interface.weight
        shape = (weight.shape[0], batch, 2, self.num_slots, kept)
        return SparseLink(torch.arange(kept, device=weight.device).expand(shape), weight.new_zeros(shape))

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: DNCState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], DNCState]:
        """Free, write, read.

        Args:
            x: what is heard.
            state: after the step before.
            control: under ``shuffled`` a read goes along the neighbour's contents and links; under ``off`` neither the
                output nor the controller hears of it.
        """
        h, controller = self.controller.step(torch.cat([x, state.reads.flatten(2)], -1), state.controller)
        told = split_interface(self.interface(h), self.num_read_heads, self.slot_dim)
        accessed = access(told, state, control)
        said = torch.cat([h, accessed.reads.flatten(2)], -1)
        return said if self.output is None else self.output(said), accessed._replace(controller=controller)

    def unroll(
        self, xs: Float[Tensor, "runs batch time d_in"], state: DNCState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch time d_out"], DNCState]:
        """What :meth:`step` says after each step of a sequence, (R, B, T, d_out), and the last state.

        Where links are dense and the control leaves the memory alone it takes a fraction of the time, and rounds
        otherwise.

        Args:
            xs: what is heard, of one step or more.
            state: after the step before the first.
            control: as in :meth:`step`.
        """
        if state.link is not None and control in ("on", "random_writes"):
            memory = tuple(getattr(state, name) for name in MEMORY)
            carried = Carried(*state.controller, state.reads.flatten(2), memory)
            access = DNCAccess(self.num_read_heads, self.slot_dim)
            said, after = unrolled(access, xs, carried, self._weights(), compiled=self.compiled)
            state = state._replace(
                **dict(zip(MEMORY, after.memory, strict=True)), reads=after.reads.view_as(state.reads)
            )
            state = state._replace(controller=LSTMState(after.hidden, after.cell))
            return said if self.output is None else self.output(said), state
        everything = []
        for x in xs.unbind(2):
            said, state = self.step(x, state, control)
            everything.append(said)
        return torch.stack(everything, 2), state

    def _weights(self) -> Weights:
        of_input, interface = self.controller.of_input, self.interface
        return Weights(of_input.weight, of_input.bias, self.controller.recurrent, interface.weight, interface.bias)


def access(told: Interface, state: DNCState, control: Control = "on") -> DNCState:
    """One step of the memory, the controller aside."""
    usage = next_usage(state.usage, state.write_weights, state.read_weights, told.free_gates)
    alike = content_weights(told.write_key, state.slots, told.write_strength)
    write_weights = write_weighting(alike, allocation(usage), told.allocation_gate, told.write_gate)
    slots = erase_and_add(state.slots, write_weights, told.erase, told.add)
    state = _linked(state, write_weights)._replace(slots=slots, usage=usage, write_weights=write_weights)
    seen_slots = seen(slots, control)
    content = content_weights(told.read_keys, seen_slots, told.read_strengths)
    forward, backward = _followed(state, control)
    read_weights = read_weighting(forward, backward, content, told.read_modes)
    return state._replace(read_weights=read_weights, reads=heard(read(seen_slots, read_weights), control))


def _linked(state: DNCState, write_weights: Write) -> DNCState:
    precedence = next_precedence(state.precedence, write_weights)
    if state.link is not None:
        return state._replace(precedence=precedence, link=next_link(state.link, state.precedence, write_weights))
    assert state.sparse_link is not None
    sparse_link = next_sparse_link(state.sparse_link, state.precedence, write_weights)
    return state._replace(precedence=precedence, sparse_link=sparse_link)


def _followed(state: DNCState, control: Control) -> tuple[Reads, Reads]:
    if state.link is not None:
        return follow(seen(state.link, control), state.read_weights)
    assert state.sparse_link is not None
    return follow_sparse(SparseLink(*(seen(part, control) for part in state.sparse_link)), state.read_weights)
