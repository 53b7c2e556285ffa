"""Sparse memory: every step reads and writes a few slots, and its cost hardly depends on the number of slots.

[Rae et al. 2016], "Scaling Memory-Augmented Neural Networks with Sparse Reads and Writes" (SAM).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.linear import Linear
from palimpsest.memory import neighbours, recency, versioned
from palimpsest.memory.addressing import cosine_similarity, read
from palimpsest.memory.control import Control, silence_reads
from palimpsest.memory.neighbours import Hashing
from palimpsest.memory.sizes import at_least_one, within
from palimpsest.memory.versioned import Version

Search = Literal["exact", "hashed"]
ACCESS_THRESHOLD = 0.005
"""δ: a slot counts as accessed if the sum of its read and write weight is larger [Rae 2016, Section 3.2]."""

Keys = Float[Tensor, "runs batch heads dim"]
PerHead = Float[Tensor, "runs batch heads"]
Touched = Int[Tensor, "runs batch touched"]


class SparseState(NamedTuple):
    """The state of a :class:`SparseMemory` between two steps.

    Any state can be continued, and more than once. The cost of continuing an old state grows with the number of rows
    written since (see :mod:`palimpsest.memory.versioned`). So an initial state can be kept and used for every sequence.
    """

    memory: Version
    """Slots, and the index that finds them."""
    log: versioned.Log
    """Carries the gradient of written rows; it has no entries if the state has no gradients."""
    steps: int
    """Number of steps so far."""
    read_index: Int[Tensor, "runs batch heads kept"]
    """Slots that were read; if fewer than K were found, the rest are slot 0 with weight 0."""
    read_values: Float[Tensor, "runs batch heads kept"]
    """w^R at those slots; sums to one, or to zero if no slot was found."""
    write_index: Touched
    """Slots that were written; a slot may appear more than once."""
    write_values: Float[Tensor, "runs batch touched"]
    """w^W at those slots, without gradient; sums to at most one."""

    @property
    def read_weights(self) -> Float[Tensor, "runs batch heads slots"]:
        """w^R over all N slots; needs memory for all of them."""
        return self._over_all(self.read_index, self.read_values)

    @property
    def write_weights(self) -> Float[Tensor, "runs batch heads slots"]:
        """w^W over all N slots, for the one write head; needs memory for all of them."""
        return self._over_all(self.write_index[:, :, None], self.write_values[:, :, None])

    def _over_all(self, index: Tensor, values: Tensor) -> Tensor:
        zeros = values.new_zeros(*values.shape[:3], self.memory.whole("event").shape[2])
        return zeros.scatter_add(-1, index, values)


class _Read(NamedTuple):
    """Result of a read."""

    reads: Keys
    chosen: Int[Tensor, "runs batch heads kept"]
    """The K slots of each head."""
    weights: Float[Tensor, "runs batch heads kept"]
    log: Tensor
    """Log for the next operation."""


class SparseMemory(nn.Module):
    """Reads the K slots most similar to a key; writes to the slots of the last read and to the least recently used one.

        u = the slot accessed least recently; accessed means w^R + w^W > δ                 [Rae 2016, eq. 6, U^(2)]
        w^W_t = α_t (γ_t w^R_{t−1} + (1 − γ_t) 1_u)                                         [Rae 2016, eq. 5]
        M_t = (1 − R_t) ∘ M_{t−1} + w^W_t a_tᵀ, where R_t is 1 at slot u and 0 elsewhere    [Rae 2016, eq. 3]
        w^R_t = softmax over the K slots of largest cos(q_t, M_t(i)), of β_t cos(q_t, M_t(i))
        r_t = Σ_K w^R_t(i) M_t(i)                                                           [Rae 2016, eq. 4]

    With H heads, w^R_{t−1} in the write is the mean over heads, so a write touches H K + 1 slots. The rest of the
    memory is not read, written or copied, in the forward and in the backward pass. A step costs O(H K + log N) rows and
    numbers; only :meth:`initial_state` creates N of them.

    The K slots' weights, all equations above, gradients, and the choice of the slot accessed least recently are exact.
    With ``search="exact"``, which compares all N slots and is meant for small memories, the choice of the K slots is
    exact, too. With ``search="hashed"`` this choice is approximate: the K most similar slots are chosen among those in
    L (1 + probes) buckets of C slots each, those of the last read and the one just written
    (:mod:`palimpsest.memory.neighbours`). For N ≤ C / 2 every bucket holds all slots, and both searches give the same
    result. Only slots that were written before are read.

    Deviates: the paper's index is a set of random k-d trees, or hashing, rebuilt every N steps; here every write
    updates the index. The paper undoes writes to go back in time; here each written row keeps its gradient
    (:data:`palimpsest.memory.versioned.Log`), and versions make undoing unnecessary. The first memory is zero and gets
    no gradient.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; features out are H W.
        top_k: K, at most N.
        search: ``exact`` or ``hashed``.
        num_tables: L.
        bucket_size: C.
        num_probes: number of signs that are flipped in each table, at least 0.

    Raises:
        ParameterError: a size is below one, K exceeds N, or the search is unknown.
    """

    directions: Float[Tensor, "dim signs"]

    def __init__(
        self,
        runs: int,
        d_in: int,
        num_slots: int,
        slot_dim: int,
        num_read_heads: int = 1,
        *,
        top_k: int = 4,
        search: Search = "hashed",
        num_tables: int = 4,
        bucket_size: int = 16,
        num_probes: int = 1,
    ) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, num_slots=num_slots, slot_dim=slot_dim, num_read_heads=num_read_heads)
        at_least_one(num_tables=num_tables, bucket_size=bucket_size)
        within("top_k", top_k, 1, num_slots)
        within("num_probes", num_probes, 0, 64)
        if search not in ("exact", "hashed"):
            raise ParameterError(f"search: {search!r} is unknown; allowed: exact, hashed")
        self.num_slots, self.slot_dim, self.num_read_heads = num_slots, slot_dim, num_read_heads
        self.top_k = top_k
        self.hashing = Hashing(num_slots, num_tables, bucket_size, num_probes) if search == "hashed" else None
        self.touched = num_read_heads * top_k + 1
        self.d_out = num_read_heads * slot_dim
        self.project = Linear(runs, d_in, (num_read_heads + 1) * slot_dim + num_read_heads + 2)
        signs = torch.empty(0, 0) if self.hashing is None else neighbours.directions(slot_dim, self.hashing)
        self.register_buffer("directions", signs, persistent=False)

    def initial_state(self, batch: int) -> SparseState:
        """Return an empty memory; this takes time and memory for N slots, so reuse the state for many sequences."""
        weight = self.project.weight
        runs, num_slots, device = len(weight), self.num_slots, weight.device
        columns = {
            "rows": weight.new_zeros(runs, batch, num_slots, self.slot_dim),
            "event": torch.full((runs, batch, num_slots), -1, device=device),
            recency.COLUMN: recency.never_used(runs, batch, num_slots, device),
        }
        if self.hashing is not None:
            columns |= neighbours.empty_columns(runs, batch, self.hashing, device)
        read, written = (runs, batch, self.num_read_heads, self.top_k), (runs, batch, self.touched)
        return SparseState(
            memory=Version(columns),
            log=versioned.empty_log(weight, runs, batch, self.slot_dim),
            steps=0,
            read_index=torch.zeros(read, dtype=torch.int64, device=device),
            read_values=weight.new_zeros(read),
            write_index=torch.zeros(written, dtype=torch.int64, device=device),
            write_values=weight.new_zeros(written),
        )

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: SparseState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], SparseState]:
        """Write, read, and record which slots were accessed."""
        heads, dim = self.num_read_heads, self.slot_dim
        keys, add, strengths, gates = self.project(x).split([heads * dim, dim, heads, 2], -1)
        keys, strength, gates = keys.unflatten(-1, (heads, dim)), 1 + softplus(strengths), sigmoid(gates)
        written, values = self._write_weights(state, gates)
        memory, log = self._write(state, written, values, add)
        if control == "shuffled":  # keys move to the neighbour's memory, and reads move back
            moved = self._read(memory, log, keys.roll(-1, 1), strength.roll(-1, 1), written, state.steps + 1)
            found = _Read(*(part.roll(1, 1) for part in moved[:3]), log=moved.log)
        else:
            found = self._read(memory, log, keys, strength, written, state.steps + 1)
        touched = torch.cat([written, found.chosen.flatten(2)], -1)
        weights = torch.cat([values, found.weights.flatten(2)], -1).detach()
        accessed = _total(touched, weights) > ACCESS_THRESHOLD
        memory = recency.use(memory, touched, accessed, state.steps + 1, self.num_slots)
        after = SparseState(memory, found.log, state.steps + 1, found.chosen, found.weights, written, values.detach())
        return silence_reads(found.reads, control).flatten(2), after

    def _write_weights(
        self, state: SparseState, gates: Float[Tensor, "runs batch 2"]
    ) -> tuple[Touched, Float[Tensor, "runs batch touched"]]:
        """Return slots and w^W; the weight of a slot that appears more than once is the sum. The last slot is u."""
        write, rewrite = gates.split(1, -1)
        unused = recency.least_recent(state.memory, self.num_slots)
        index = torch.cat([state.read_index.flatten(2), unused[..., None]], -1)
        shares = rewrite * state.read_values.flatten(2) / self.num_read_heads
        return index, write * torch.cat([shares, 1 - rewrite], -1)

    def _write(
        self,
        state: SparseState,
        index: Touched,
        values: Float[Tensor, "runs batch touched"],
        add: Float[Tensor, "runs batch dim"],
    ) -> tuple[Version, Tensor]:
        """Return memory and log after the write; rows of the same slot are equal, and only the first is logged."""
        log = state.log if state.log.requires_grad else state.log[:, :, :0]
        old, log = self._rows(state.memory, log, index, state.steps)
        keep = (index != index[..., -1:]).to(old.dtype)
        new = keep[..., None] * old + _total(index, values)[..., None] * add[:, :, None]
        first = _first(index)
        memory = state.memory.replace("rows", index, new)
        memory = memory.replace("event", index, state.steps * self.touched + first)
        if self.hashing is not None:
            code = neighbours.hash_of(new, self.directions, self.hashing).code
            distinct = first == torch.arange(self.touched, device=index.device)
            memory = neighbours.insert(memory, index, distinct, code, self.hashing)
        return memory, versioned.write_rows(log, new)

    def _rows(self, memory: Version, log: Tensor, index: Touched, steps: int) -> tuple[Tensor, Tensor]:
        """Return slots with their gradient, and the log; ``steps`` is the number of writes so far."""
        unlogged = steps * self.touched - log.shape[2]  # events before the beginning of the log
        return versioned.read_rows(memory, log, index, memory.gather("event", index) - unlogged)

    def _read(
        self, memory: Version, log: Tensor, keys: Keys, strength: PerHead, written: Touched, writes: int
    ) -> _Read:
        """Search K slots for each head and read them."""
        index, found = self._search(memory, keys, written)
        rows, log = self._rows(memory, log, index.flatten(2), writes)
        scores = strength[..., None] * _per_head(keys, rows.unflatten(2, index.shape[2:]))
        weights = scores.masked_fill(~found, torch.finfo(scores.dtype).min).softmax(-1) * found
        reads = read(rows.view(len(rows), -1, self.top_k, self.slot_dim), weights.view(len(rows), -1, 1, self.top_k))
        return _Read(reads.view(keys.shape), index, weights, log)

    @torch.no_grad()
    def _search(
        self, memory: Version, keys: Keys, written: Touched
    ) -> tuple[Int[Tensor, "runs batch heads kept"], Bool[Tensor, "runs batch heads kept"]]:
        """Return the K slots most similar to each key (of equal ones the first), and False for missing ones."""
        if self.hashing is None:
            similarity = cosine_similarity(keys, memory.whole("rows"))
            slots = torch.arange(self.num_slots, device=keys.device).expand(similarity.shape)
            valid = (memory.whole("event") >= 0)[:, :, None].expand(similarity.shape)
        else:
            hashed = neighbours.hash_of(keys, self.directions, self.hashing)
            near = neighbours.candidates(memory, hashed, self.hashing)
            recent = written[:, :, None].expand(-1, -1, keys.shape[2], -1)
            slots = torch.cat([near, recent], -1).sort(-1).values
            valid = torch.cat([slots[..., :1] >= 0, (slots[..., 1:] != slots[..., :-1]) & (slots[..., 1:] >= 0)], -1)
            slots = slots.clamp_min(0)
            similarity = _per_head(keys, memory.gather("rows", slots.flatten(2)).unflatten(2, slots.shape[2:]))
        ordered = similarity.masked_fill(~valid, -2.0).sort(dim=-1, descending=True, stable=True).indices
        chosen = ordered[..., : self.top_k]
        found = valid.gather(-1, chosen)
        return slots.gather(-1, chosen) * found, found

    def slots(self, state: SparseState) -> Float[Tensor, "runs batch slots dim"]:
        """Return a copy of all N slots, without gradient; takes time and memory for all of them."""
        return state.memory.whole("rows").clone()


def _per_head(keys: Keys, rows: Float[Tensor, "runs batch heads found dim"]) -> Float[Tensor, "runs batch heads found"]:
    """Return the cosine of every head's key with that head's own rows."""
    runs, batch, heads, found, dim = rows.shape
    rows = rows.reshape(runs, batch * heads, found, dim)
    return cosine_similarity(keys.reshape(runs, batch * heads, 1, dim), rows).view(runs, batch, heads, found)


def _total(index: Touched, values: Float[Tensor, "runs batch touched"]) -> Float[Tensor, "runs batch touched"]:
    """Return, for every entry, the sum over all entries of the same slot."""
    same = index[..., :, None] == index[..., None, :]
    return (same * values[..., None, :]).sum(-1)


def _first(index: Touched) -> Touched:
    """Return, for every entry, the number of the first entry of the same slot."""
    count = index.shape[-1]
    number = torch.arange(count, device=index.device)
    same = index[..., :, None] == index[..., None, :]
    return torch.where(same, number, count).amin(-1)


TOP_K = 4
"""Slots that each head of a memory from :func:`build` reads, if there are as many."""


def build(runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1) -> SparseMemory:
    """The memory in given sizes, all else by default: see :mod:`palimpsest.memory.named`."""
    return SparseMemory(runs, d_in, num_slots, slot_dim, num_read_heads, top_k=max(1, min(TOP_K, num_slots)))
