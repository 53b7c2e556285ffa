"""Slots with a life: written, retained, updated, forgotten, under a hard budget of operations a step (source 001).

A step has three parts. A *proposal* holds, for every slot, how likely it is to be retained, updated or forgotten, and
how much a new write is worth; the learned one comes from :class:`Controller`, those of replacement policies from rules.
An *allocation* (:func:`allocate_ranked`, :func:`allocate_requested`) executes the B operations of highest utility and
suppresses the others. A *transition* (:func:`step_ranked`, :func:`step_requested`) carries them out.

Axes: R runs, B batch, N slots, D features.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from palimpsest.layers.activation import logarithm, sigmoid
from palimpsest.layers.linear import Linear

RETAIN, UPDATE, FORGET = range(3)
"""Actions on a slot, in the order of a proposal's last axis."""
FREE, RETAINED, UPDATED, WRITTEN, FORGOTTEN, REPLACED = range(6)
"""What has happened to a slot in a step; a replaced slot was forgotten and written, which are two operations."""
COST = (0, 0, 1, 1, 1, 2)
"""Operations that each of these takes from the budget: writes, updates and forgets count [source 001, Section 3.3]."""
ROUNDING = 1e-6
"""What a share of slots may exceed its cap by, as shares are rounded."""
USAGE_DECAY = 0.95
"""Weight of the past in a slot's usage: the authors' code."""


class LifecycleState(NamedTuple):
    """What the slots hold and have lived through."""

    slots: Float[Tensor, "runs batch slots dim"]
    alive: Float[Tensor, "runs batch slots"]
    """1 where a slot holds something, 0 where it is free; possibly with a straight-through gradient."""
    age: Float[Tensor, "runs batch slots"]
    """Steps since the slot was written; 0 for free slots."""
    usage: Float[Tensor, "runs batch slots"]
    """u ← 0.95 u + 0.05 · read weight, in [0, 1]."""
    last_used: Int[Tensor, "runs batch slots"]
    """Step at which the slot was last written, updated, or read more than any other; −1 for free slots."""
    time: Int[Tensor, "runs batch slots"]
    """Step at which the slot was last written or updated; −1 for free slots."""
    placed: Int[Tensor, "runs batch slots"]
    """Step at which a vector was last put into the slot, be it that of a write that was not executed; −1 for none."""
    actions: Float[Tensor, "runs batch slots actions"]
    """What :func:`losses` compares the next actions with: the distribution in the step before, or what was executed in
    it; zero for a slot that was free then."""
    steps: int
    """Steps so far."""


class Proposal(NamedTuple):
    """What is wanted in a step."""

    actions: Float[Tensor, "runs batch slots actions"]
    """Distribution over retain, update and forget, for every slot."""
    score: Float[Tensor, "runs batch"]
    """Write score, in [0, 1]."""


class Allocation(NamedTuple):
    """What is executed in a step; 0 or 1 each."""

    retain: Float[Tensor, "runs batch slots"]
    """Only where retaining is an operation that has to be executed."""
    update: Float[Tensor, "runs batch slots"]
    forget: Float[Tensor, "runs batch slots"]
    write: Float[Tensor, "runs batch"]


class Step(NamedTuple):
    """A step that was taken."""

    state: LifecycleState
    operations: Int[Tensor, "runs batch slots"]
    """What has happened to each slot: :data:`FREE` … :data:`REPLACED`."""
    write: Float[Tensor, "runs batch"]
    """0 or 1: whether something was written."""


def initial_state(
    runs: int, batch: int, num_slots: int, dim: int, *, device: torch.device | str = "cpu"
) -> LifecycleState:
    """Slots that are all free."""
    empty = torch.zeros(runs, batch, num_slots, device=device)
    never = torch.full((runs, batch, num_slots), -1, device=device)
    return LifecycleState(
        slots=torch.zeros(runs, batch, num_slots, dim, device=device),
        alive=empty,
        age=empty,
        usage=empty,
        last_used=never,
        time=never,
        placed=never,
        actions=torch.zeros(runs, batch, num_slots, 3, device=device),
        steps=0,
    )


class Controller(nn.Module):
    """p_i = softmax(W₃ ReLU(W₂ ReLU(W₁ [m_i; a_i; u_i; c]))), s = σ(w₂ ReLU(w₁ c)) [source 001, Section 4.3].

    Depth and the separate network of the write score are the authors' code.

    Deviates: W₁ is drawn in two parts, of the context and of the slot, since the first is known before the loop over
    steps; the write network does not see ‖c‖ beside c.

    Args:
        runs: size R of the pack.
        dim: features D of slots and context.
        hidden: units of each hidden layer.
        age_unit: steps in which ages are measured, so that old slots do not drown the rest.
        write_bias: initial bias of the write score's logit; ``None``: drawn.
        offsets: added to the logits of retain, update and forget: what a slot does until something speaks against it.
        ageing: added to the logit of forgetting for every unit of age, so that the old goes first unless something
            speaks for it.
    """

    def __init__(
        self,
        runs: int,
        dim: int,
        hidden: int,
        *,
        age_unit: float = 1.0,
        write_bias: float | None = None,
        offsets: tuple[float, float, float] = (0.0, 0.0, 0.0),
        ageing: float = 0.0,
    ) -> None:
        super().__init__()
        self.age_unit, self.offsets, self.ageing = age_unit, offsets, ageing
        self.of_context = Linear(runs, dim, hidden)
        self.of_slot = Linear(runs, dim + 2, hidden)
        self.hidden = Linear(runs, hidden, hidden)
        self.action = Linear(runs, hidden, 3)
        self.write_hidden = Linear(runs, dim, hidden)
        self.write_logit = Linear(runs, hidden, 1, bias_value=write_bias)

    def score(self, context: Float[Tensor, "runs *inner dim"]) -> Float[Tensor, "runs *inner"]:
        """Write score of a context."""
        return sigmoid(self.write_logit(self.write_hidden(context, relu=True)).squeeze(-1))

    def actions(
        self, state: LifecycleState, of_context: Float[Tensor, "runs batch hidden"]
    ) -> Float[Tensor, "runs batch slots actions"]:
        """Distribution over the actions on every slot, given ``self.of_context(context)``."""
        features = torch.stack([state.age / self.age_unit, state.usage], -1)
        of_slot = self.of_slot(torch.cat([state.slots, features], -1))
        hidden = self.hidden(torch.relu(of_slot + of_context[:, :, None]), relu=True)
        logits = self.action(hidden)
        age = state.age[..., None] / self.age_unit
        still = logits.new_tensor(self.offsets)
        with_age = logits.new_tensor((0.0, 0.0, self.ageing))
        return (logits + still + with_age * age).softmax(-1)


class UpdateGate(nn.Module):
    """g = σ(U m + V c): how far an update moves each feature of a slot towards the candidate.

    The source asks for a gated interpolation (Section 3.2) and no more; its code moves every feature by a half.
    """

    def __init__(self, runs: int, dim: int) -> None:
        super().__init__()
        self.of_slot = Linear(runs, dim, dim)
        self.of_context = Linear(runs, dim, dim)

    def forward(
        self, slots: Float[Tensor, "runs batch slots dim"], of_context: Float[Tensor, "runs batch dim"]
    ) -> Float[Tensor, "runs batch slots dim"]:
        """The gate of every slot, given ``self.of_context(context)``."""
        return sigmoid(self.of_slot(slots) + of_context[:, :, None])


def highest(
    utility: Float[Tensor, "runs batch candidates"],
    allowed: Bool[Tensor, "runs batch candidates"],
    budget: int | Int[Tensor, "runs batch 1"],
) -> Bool[Tensor, "runs batch candidates"]:
    """The ``budget`` candidates of highest utility among those allowed, if so many are; of equals the first."""
    return (_ranks(utility, allowed) < budget) & allowed


def _ranks(utility: Tensor, allowed: Tensor) -> Int[Tensor, "runs batch candidates"]:
    """Place of each candidate in the order of utility, from 0; those that are not allowed come last."""
    masked = torch.where(allowed, utility.detach(), -math.inf)
    return masked.sort(dim=-1, descending=True, stable=True).indices.argsort(-1)


def _hard(chosen: Bool[Tensor, "*shape"], soft: Float[Tensor, "*shape"], straight_through: bool) -> Tensor:
    """A decision as 0 or 1; if wanted, with the gradient of its probability [Bengio, Léonard, Courville 2013]."""
    hard = chosen.to(soft.dtype)
    return hard + (soft - soft.detach()) if straight_through else hard


def allocate_ranked(proposal: Proposal, threshold: Float[Tensor, " runs"], budget: int) -> Allocation:
    """Rank one action for every slot, and the write; execute the B highest [source 001, Section 4.4].

    The utility of a slot is its largest action probability, be it that of retaining it, and whether it is free or not;
    the write's is its score, and it is executed if that exceeds τ besides.

    Deviates: in the authors' code the utility of a slot has a network of its own, and the write score is a logit; the
    text has it as here.
    """
    choice = proposal.actions.argmax(-1)
    utility = torch.cat([proposal.actions.amax(-1), proposal.score[..., None]], -1)
    chosen = highest(utility, torch.ones_like(utility, dtype=torch.bool), budget)
    slot, write = chosen[..., :-1], chosen[..., -1] & (proposal.score > threshold[:, None])
    kinds = [(slot & (choice == action)).to(utility.dtype) for action in (RETAIN, UPDATE, FORGET)]
    return Allocation(*kinds, write=write.to(utility.dtype))


def is_full(state: LifecycleState, utilisation_cap: float) -> Bool[Tensor, "runs batch"]:
    """Whether one slot more would take the share of living slots beyond its cap."""
    return (state.alive.detach() > 0.5).sum(-1) > _room(state, utilisation_cap)


def _room(state: LifecycleState, utilisation_cap: float) -> float:
    """How many slots may live where one more is to be written."""
    return utilisation_cap * state.alive.shape[-1] + ROUNDING - 1


def allocate_requested(
    state: LifecycleState,
    proposal: Proposal,
    threshold: Float[Tensor, " runs"],
    budget: int,
    utilisation_cap: float,
    *,
    straight_through: bool,
) -> Allocation:
    """Execute the B highest among what is asked for: an update or forget of a slot that holds something, or a write.

    A slot asks for its most probable action, and retention is nothing to be executed; a write is asked for if its score
    exceeds τ. Free slots ask for nothing. A write into a full memory has to give up a slot, and so takes two
    operations.
    """
    choice = proposal.actions.argmax(-1)
    asks = (choice != RETAIN) & (state.alive.detach() > 0.5)
    largest = proposal.actions.amax(-1)
    utility = torch.cat([largest, proposal.score[..., None]], -1)
    allowed = torch.cat([asks, (proposal.score > threshold[:, None])[..., None]], -1)
    cost = 1 + is_full(state, utilisation_cap).long()
    ranks = _ranks(utility, allowed)
    of_slots, of_write = ranks[..., :-1], ranks[..., -1:]
    writes = (ranks[..., -1] < budget) & allowed[..., -1] & (cost <= budget)
    left = budget - torch.where(writes, cost, 0)  # for slots, whose order is theirs without the write
    slot = (of_slots - (of_slots > of_write).long() < left[..., None]) & asks
    updates, forgets = slot & (choice == UPDATE), slot & (choice == FORGET)
    # An update that was not executed carries no information: every slot would gain from what only one has to take in.
    of_updates = proposal.actions[..., UPDATE] * updates
    return Allocation(
        retain=torch.zeros_like(largest),
        update=_hard(updates, of_updates, straight_through),
        forget=_hard(forgets, proposal.actions[..., FORGET], straight_through),
        write=_hard(writes, proposal.score, straight_through),
    )


def _first(mask: Bool[Tensor, "runs batch slots"]) -> Bool[Tensor, "runs batch slots"]:
    """The first slot of every row at which ``mask`` is true, none where it is nowhere so."""
    return mask & (mask.int().cumsum(-1) == 1)


def step_ranked(
    state: LifecycleState,
    proposal: Proposal,
    allocation: Allocation,
    candidate: Float[Tensor, "runs batch dim"],
    utilisation_cap: float,
) -> Step:
    """The transition of the authors' code: forget, update, retain, write; nothing that is stored carries a gradient.

    Nothing is written while the share of living slots, taken before the step, is at the cap or above. A write goes to
    the first slot that is forgotten in the step, else to the slot of lowest utility, whatever that holds. An update
    moves a slot halfway to the candidate. A free slot that is retained or updated lives from then on, though it was
    never written.

    Deviates: what a forgotten slot is set to is zero, not a learned vector; no read sees it, and no gradient reaches
    it.
    """
    utility, alive = proposal.actions.amax(-1), state.alive > 0.5
    may_write = state.alive.mean(-1) < utilisation_cap
    forget, update, retain = (part > 0.5 for part in (allocation.forget, allocation.update, allocation.retain))
    lowest = _only(utility.argmin(-1), utility)
    target = torch.where(forget.any(-1, keepdim=True), _first(forget), lowest)
    written = target & (allocation.write > 0.5)[..., None] & may_write[..., None]
    slots = state.slots.masked_fill(forget[..., None], 0.0)
    slots = torch.where(update[..., None], 0.5 * slots + 0.5 * candidate[:, :, None], slots)
    slots = torch.where(written[..., None], candidate[:, :, None], slots).detach()
    lives = (alive & ~forget) | update | retain | written
    operations = torch.where(lives, RETAINED, FREE)
    for happened, code in ((update, UPDATED), (forget, FORGOTTEN), (written, WRITTEN), (written & forget, REPLACED)):
        operations = operations.masked_fill(happened, code)
    living = lives.to(state.alive.dtype)
    settled = _settle(
        state, slots, living, written, update & lives & ~written, _executed(operations, state.alive), written
    )
    return Step(settled, operations, written.any(-1).to(state.alive.dtype))


def step_requested(
    state: LifecycleState,
    proposal: Proposal,
    allocation: Allocation,
    candidate: Float[Tensor, "runs batch dim"],
    gate: Float[Tensor, "runs batch slots dim"] | None,
    utilisation_cap: float,
    noise: Float[Tensor, "runs batch slots"] | None = None,
) -> Step:
    """The repaired transition, through which the task loss reaches every decision.

    With a = alive, f = forget, w = write, u = update, g = gate (½ without one), v = candidate and e the slot that a
    write goes to:

        m′ = m + u g ⊙ (v − m)      m ← m′ + e w (v − m′)      a ← max(a (1 − f), e w)

    A write goes to a slot that is free once the step's forgets are done, the one that has been so for longest. Where
    one living slot more would exceed the cap it replaces the slot that is most likely to be forgotten; with ``noise``,
    uniform in [0, 1), one that is drawn in proportion to p(forget), as training does. For the gradient's sake, and
    without changing a value, a candidate that is not written still lies in the free slot, with a = 0: no read sees it,
    but the write score learns what writing it would have been worth. What a slot is worth, p(forget) learns through a.
    """
    alive = state.alive.detach() > 0.5
    forgets, writes = allocation.forget.detach() > 0.5, allocation.write.detach() > 0.5
    kept = alive & ~forgets
    has_room = kept.sum(-1, keepdim=True) <= _room(state, utilisation_cap)
    longest_free = state.placed.masked_fill(kept, state.steps + 1).argmin(-1)
    empty = _only(longest_free, alive) & ~kept & has_room
    # Not 0 where there is nothing to forget: a slot that lives goes first, be it sure to be retained.
    forgettable = torch.where(kept, proposal.actions.detach()[..., FORGET], -1.0)
    victim = _only(_preferred(forgettable, noise).argmax(-1), alive) & kept & ~has_room
    w, e = allocation.write[..., None], victim.to(candidate.dtype)
    gate = torch.full_like(state.slots, 0.5) if gate is None else gate
    slots = state.slots + (allocation.update[..., None] * gate) * (candidate[:, :, None] - state.slots)
    slots = slots + (empty + e * w)[..., None] * (candidate[:, :, None] - slots)
    lives = torch.where(empty, w, state.alive * (1 - allocation.forget))
    placed = empty | victim
    written = placed & writes[..., None]
    updated = kept & (allocation.update.detach() > 0.5)
    of_kept = torch.where(updated, UPDATED, kept.long() * RETAINED)
    of_written = alive.long() * (REPLACED - WRITTEN) + WRITTEN
    operations = torch.where(written, of_written, torch.where(forgets, FORGOTTEN, of_kept))
    actions = proposal.actions * alive[..., None]
    settled = _settle(state, slots, lives, written, updated & ~written, actions, placed)
    return Step(settled, operations, written.any(-1).to(slots.dtype))


def _only(index: Int[Tensor, "runs batch"], like: Tensor) -> Bool[Tensor, "runs batch slots"]:
    """True at one slot of every row."""
    return torch.arange(like.shape[-1], device=like.device) == index[..., None]


def _preferred(weight: Tensor, noise: Tensor | None) -> Tensor:
    """What is largest at the slot to take: its weight, or a draw in proportion to the weights.

    argmax(w / −log u) is such a draw, since −log u is exponential: of exponential clocks with rates w, the first to
    ring.
    """
    return weight if noise is None else weight / -logarithm(noise.clamp(ROUNDING, 1 - ROUNDING))


def _settle(
    state: LifecycleState,
    slots: Tensor,
    alive: Tensor,
    written: Tensor,
    updated: Tensor,
    actions: Tensor,
    placed: Tensor,
) -> LifecycleState:
    """Count ages and times after a step: a written slot is 0 steps old, a free one has neither age nor usage."""
    lives = alive.detach() > 0.5
    kept = (lives & ~written).to(state.age.dtype)
    touched = written | updated
    now = state.steps
    return LifecycleState(
        slots=slots,
        alive=alive,
        age=(state.age + 1) * kept,
        usage=state.usage * kept,
        last_used=torch.where(lives, state.last_used.masked_fill(touched, now), -1),
        time=torch.where(lives, state.time.masked_fill(touched, now), -1),
        placed=state.placed.masked_fill(placed, now),
        actions=actions,
        steps=now + 1,
    )


@torch.no_grad()
def used(state: LifecycleState, weights: Float[Tensor, "runs batch slots"], step: int) -> LifecycleState:
    """The state after a read: usage is an exponential mean of read weights, and the slot that was read most is used.

    Args:
        state: before the read.
        weights: how much of each slot was read, non-negative.
        step: of which memory step the read is a part.
    """
    usage = USAGE_DECAY * state.usage + (1 - USAGE_DECAY) * weights
    most = (weights > 0) & (weights == weights.amax(-1, keepdim=True))
    return state._replace(usage=usage, last_used=state.last_used.masked_fill(most, step))


def counted(operations: Int[Tensor, "*shape slots"]) -> Int[Tensor, "*shape"]:
    """How many operations a step has executed."""
    return torch.tensor(COST, device=operations.device)[operations].sum(-1)


def forget_price(age: Float[Tensor, "*shape"], usage: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """φ(a, u) = 1 / (1 + a) + u: forgetting costs more, the younger a slot is and the more it is used.

    The source (Section 5.3) asks for a function that does so and does not specify it.
    """
    return 1 / (1 + age) + usage


class StepLog(NamedTuple):
    """S steps, stacked: what the losses and the trace are taken from. ``before`` holds the state before each step."""

    score: Float[Tensor, "runs batch steps"]
    write: Float[Tensor, "runs batch steps"]
    actions: Float[Tensor, "runs batch steps slots actions"]
    actions_before: Float[Tensor, "runs batch steps slots actions"]
    operations: Int[Tensor, "runs batch steps slots"]
    alive_before: Float[Tensor, "runs batch steps slots"]
    age_before: Float[Tensor, "runs batch steps slots"]
    usage_before: Float[Tensor, "runs batch steps slots"]
    alive: Float[Tensor, "runs batch steps slots"]
    age: Float[Tensor, "runs batch steps slots"]


def losses(log: StepLog, *, of_masks: bool) -> dict[str, Float[Tensor, " runs"]]:
    """The lifecycle losses, unweighted [source 001, Sections 5.2 to 5.4].

        L_write = E_t[s_t]    L_forget = E_{t,i}[p_{t,i}(forget) φ(a_i, u_i)]    L_stab = E_{t,i}‖p_{t,i} − p_{t−1,i}‖²

    Expectations over slots go over those that hold something; for L_stab over those that did so in the step before,
    too.

    Args:
        log: what was proposed and done.
        of_masks: take what was executed, which has no gradient, in place of the probabilities. So does the authors'
            code, in other forms: mean writes, mean forgets times mean read weight, mean squared change of contents.
    """
    alive, before = log.alive_before, log.actions_before
    score, actions = log.score, log.actions
    if of_masks:
        score, actions = log.write, _executed(log.operations, alive)
    forgotten = actions[..., FORGET] * forget_price(log.age_before, log.usage_before)
    both = alive * (before.sum(-1) > 0.5)
    churn = (actions - before).square().sum(-1)
    return {
        "write": score.mean((1, 2)),
        "forget": (forgotten * alive).sum((1, 2, 3)) / alive.sum((1, 2, 3)).clamp_min(1),
        "stability": (churn * both).sum((1, 2, 3)) / both.sum((1, 2, 3)).clamp_min(1),
    }


def _executed(operations: Tensor, alive: Tensor) -> Tensor:
    """Executed actions, one-hot; zero for free slots: a slot is retained unless something else happened to it."""
    forgets = (operations == FORGOTTEN) | (operations == REPLACED)
    updates = operations == UPDATED
    return torch.stack([~(forgets | updates), updates, forgets], -1).to(alive.dtype) * alive[..., None]
