"""NeMA-LC: a Transformer encoder and a memory whose slots are written, retained, updated and forgotten (source 001).

The published reading and the repaired one are two settings of the same parts:

====================  ========================================  ==========================================
                      published                                 repaired
====================  ========================================  ==========================================
``chunk``             null: one step for the whole sequence     tokens of a memory step; 16 steps or more
``order``             read, then write                          write, then read; the last chunk only asks
``memory``            persistent: kept from batch to batch      episodic: empty when a sequence begins
``allocator``         ranked: whatever a slot does competes     requested: what is not retained competes
``straight_through``  false: decisions carry no gradient        true
``losses``            of what was executed, no gradient         of the probabilities
``read``              softmax over dot products                 attention that sees ages, and may read none
====================  ========================================  ==========================================

The model chooses its parts by these settings and asks no further which reading it is: ``chunk`` and ``order`` choose
one of :mod:`palimpsest.models.shared.lifecycle_order`, ``allocator`` and ``straight_through`` one of
:mod:`palimpsest.memory.lifecycle_rules`, ``losses`` what these are taken of, and ``read`` one of
:mod:`palimpsest.memory.reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.foundation.numbers import as_number
from palimpsest.foundation.sections import PerRun
from palimpsest.layers.linear import Linear
from palimpsest.layers.noise import uniform
from palimpsest.layers.transformer import EncoderConfig, TokenEncoder
from palimpsest.memory import lifecycle, lifecycle_log, replacement
from palimpsest.memory.lifecycle import Controller, LifecycleState, Proposal, UpdateGate
from palimpsest.memory.lifecycle_log import LifecycleRecord
from palimpsest.memory.lifecycle_rules import Ranked, Requested, Rules, Wanted
from palimpsest.memory.reading import AttentionRead, DotProductRead, Read, SigmoidRead
from palimpsest.models import Batch, Control, ModelOutput
from palimpsest.models.shared.lifecycle_order import (
    Asking,
    Chance,
    Chunk,
    Contexts,
    Life,
    Order,
    ReadThenWrite,
    Taken,
    WholeSequence,
    WriteThenRead,
)

PERMUTATION_STREAM = 1 << 20
"""Controls and policies that draw, draw from this stream on; the streams of the encoder's dropout lie below it."""
SAME_MEMORY: tuple[Control, ...] = ("on", "off", "shuffled")
"""Controls under which a memory lives the same life, as long as what is read does not decide about it."""


class Config(EncoderConfig):
    """Parameters of NeMA-LC."""

    use_memory: bool = Field(False, description="whether there is a memory; without one, CLS answers by itself")
    ablation: Annotated[Literal["none", "write", "forget", "stability"], PerRun()] = Field(
        "none", description="lifecycle loss left out"
    )
    lambda_write: Annotated[float, PerRun()] = Field(1e-2, ge=0, description="weight of the write score")
    lambda_forget: Annotated[float, PerRun()] = Field(1e-2, ge=0, description="weight of the price of forgetting")
    lambda_stability: Annotated[float, PerRun()] = Field(1e-3, ge=0, description="weight of the churn")
    write_threshold: Annotated[float, PerRun()] = Field(
        0.4, gt=0, lt=1, description="τ: a write needs a score above it"
    )
    utilisation_cap: float = Field(
        0.7, gt=0, le=1, description="share of living slots from which on nothing is written"
    )
    num_slots: int = Field(64, ge=1, description="slots N of the memory")
    budget: int = Field(4, ge=1, description="operations B that a memory step executes at most")
    controller_hidden: int = Field(256, ge=1, description="hidden units of the controller")
    age_unit: float = Field(1.0, gt=0, description="steps in which the controller measures ages")
    write_bias: float | None = Field(None, description="initial bias of the write score's logit; null: drawn")
    retain_offset: float = Field(0.0, description="added to the logit of retaining a slot")
    update_offset: float = Field(0.0, description="added to the logit of updating a slot")
    ageing: float = Field(0.0, ge=0, description="added to the logit of forgetting a slot, per unit of its age")
    chunk: int | None = Field(None, ge=1, description="tokens of a memory step; null: the whole sequence is one")
    order: Literal["read_write", "write_read"] = Field("read_write", description="what a memory step does first")
    memory: Literal["persistent", "episodic"] = Field("persistent", description="kept over batches, or for a sequence")
    allocator: Literal["ranked", "requested"] = Field("ranked", description="what competes for the budget")
    straight_through: bool = Field(False, description="whether the task loss reaches the controller")
    losses: Literal["masks", "probabilities"] = Field("masks", description="what the lifecycle losses are taken of")
    exploration_steps: int = Field(
        0, ge=0, description="training steps in which random replacements give way to its own"
    )
    head_hidden: int | None = Field(None, ge=1, description="hidden units between read and logits; null: a linear map")
    read: Literal["dot_product", "sigmoid", "attention"] = Field("dot_product", description="how the memory is read")

    @model_validator(mode="after")
    def _chunks_fit(self) -> Config:
        if self.chunk is not None and self.sequence_length % self.chunk:
            raise ValueError(
                f"chunk {self.chunk} does not cut a sequence of {self.sequence_length}; allowed: a divisor of it"
            )
        if self.order == "write_read" and (self.chunk is None or self.chunk == self.sequence_length):
            raise ValueError(f"order 'write_read' with chunk {self.chunk}; allowed there: shorter than the sequence")
        if self.straight_through and self.allocator == "ranked":
            raise ValueError("straight_through with allocator 'ranked'; allowed there: false")
        return self


def order_of(config: Config) -> Order:
    """In which order the memory is read and written."""
    if config.chunk is None:
        return WholeSequence(config, config.sequence_length)
    return {"read_write": ReadThenWrite, "write_read": WriteThenRead}[config.order](config, config.chunk)


def rules_of(config: Config) -> Rules:
    """What becomes of the controller's proposals."""
    if config.allocator == "ranked":
        return Ranked(config.budget, config.utilisation_cap)
    return requested(config)


def requested(config: Config) -> Requested:
    """What becomes of the proposals of a policy, and of the repaired controller's."""
    return Requested(config.budget, config.utilisation_cap, config.straight_through)


def reader_of(config: Config, runs: int) -> DotProductRead | SigmoidRead | AttentionRead:
    """How the memory is read."""
    if config.read == "dot_product":
        return DotProductRead()
    return {"sigmoid": SigmoidRead, "attention": AttentionRead}[config.read](runs, config.width)


class Model(nn.Module):
    """The network; subclasses are replacement policies, which differ in who proposes what is done to the slots.

    Args:
        config: sizes and switches.
        runs: size R of the pack.
    """

    charges: ClassVar[dict[str, str]] = {
        "write": "lambda_write",
        "forget": "lambda_forget",
        "stability": "lambda_stability",
    }

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.order, self.rules = order_of(config), rules_of(config)
        self.losses = partial(lifecycle.losses, of_masks=config.losses == "masks")
        self.encoder = TokenEncoder(runs, config.model_copy(update={"sequence_length": self.order.length}))
        self.loss_weights = self.charges if config.use_memory else {}
        self.carries_state = config.use_memory and config.memory == "persistent"
        self.drifts = lifecycle_log.DRIFTS if self.carries_state else {}
        if config.use_memory:
            hidden = config.controller_hidden
            self.controller = Controller(
                runs,
                config.width,
                hidden,
                age_unit=config.age_unit,
                write_bias=config.write_bias,
                offsets=(config.retain_offset, config.update_offset, 0.0),
                ageing=config.ageing,
            )
            self.update_gate = UpdateGate(runs, config.width) if self.rules.gated else None
            self.reader = reader_of(config, runs)
        self.head = None if config.head_hidden is None else Linear(runs, config.width, config.head_hidden)
        self.classifier = Linear(runs, config.head_hidden or config.width, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: LifecycleState | None = None) -> ModelOutput:
        """Encode, let the memory live through the chunks, and answer.

        L = L_task + λ_write L_write + λ_forget L_forget + λ_stab L_stab [source 001, Section 5.5]; the task loss is the
        caller's.

        Args:
            batch: tokens of R × B sequences, or of whole chunks at their end.
            hyper: ``lambda_write``, ``write_threshold``, …, each (R,).
            state: memory after the chunks before, or after the batch before; ``None``: empty.
        """
        contexts, asking = self.encode(batch)
        if not self.config.use_memory:
            return ModelOutput(self.classify(asking), {}, None, state)
        return self._answer(batch, asking, self._live(batch, self.order.remembered(contexts), hyper, state))

    def weighed(self, hyper: dict[str, Tensor]) -> dict[str, Tensor]:
        """λ of every term, but 0 of the one that a run leaves out."""
        return {
            term: hyper[name] * (hyper["ablation"] != as_number(Config, "ablation", term))
            for term, name in self.loss_weights.items()
        }

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, LifecycleState | None]
    ) -> list[ModelOutput]:
        """Output under each control; where the memory is read only to answer, it lives the same life under most."""
        if not self.config.use_memory:
            return [self(batch, hyper)] * len(states)
        contexts, asking = self.encode(batch)
        lives: dict[Control, Life] = {}
        outputs = []
        for control, state in states.items():
            given = batch._replace(control=control)
            same = control in SAME_MEMORY and state is None and self.order.same_life
            alike: Control = "on" if same else control
            if alike not in lives:
                lives[alike] = self._live(given, self.order.remembered(contexts), hyper, state)
            outputs.append(self._answer(given, asking, lives[alike]))
        return outputs

    def observe(self, batch: Batch, hyper: dict[str, Tensor], state: LifecycleState | None = None) -> LifecycleState:
        """Memory after chunks that are not the last: whole ones, beginning at position ``batch.start``."""
        return self._live(batch, self.encode(batch)[0], hyper, state).state

    def encode(self, batch: Batch) -> tuple[Contexts, Asking]:
        """A context for every chunk, and the states that ask."""
        return self.order.encode(self.encoder, batch, batch.noise_key if self.training else None)

    def prepare(self, batch: Batch, contexts: Contexts, first: int) -> list[Chunk]:
        """All that can be computed for all chunks at once, chunk by chunk; the first is number ``first``."""
        with torch.no_grad():  # of what a chunk would read, usage alone is taken
            queries = self.reader.query(contexts)
        parts = [contexts, queries, *self.judge(batch, contexts)]
        return [Chunk(*chunk) for chunk in zip(count(first), *(part.unbind(2) for part in parts))]

    def judge(self, batch: Batch, contexts: Contexts) -> list[Tensor]:
        """The parts of chunks that the controller takes; a policy needs none."""
        scores = self.controller.score(contexts)
        if batch.control == "random_writes":  # the same scores, at other steps
            order = uniform(batch.noise_key, PERMUTATION_STREAM, tuple(scores.shape[1:])).argsort(-1)
            scores = scores.gather(-1, order)
        gates = [] if self.update_gate is None else [self.update_gate.of_context(contexts)]
        return [scores, self.controller.of_context(contexts), *gates]

    def propose(self, batch: Batch, state: LifecycleState, chunk: Chunk) -> Proposal:
        """What the controller wants done in a step; policies ask their rule instead.

        Args:
            batch: what is worked on, for policies that draw or know.
            state: the memory before the step.
            chunk: what the step is about.
        """
        del batch
        assert chunk.score is not None and chunk.for_controller is not None  # noqa: PT018
        return Proposal(self.controller.actions(state, chunk.for_controller), chunk.score)

    def explored(self, batch: Batch, state: LifecycleState, proposal: Proposal, chance: Chance) -> Proposal:
        """What the first training steps try in place of a proposal: to write, into a drawn slot if there is no room.

        The share of memory steps that try falls from 1 to 0. A decision that is tried has the gradient of the
        proposal's own. Without trials, the controller learns from a reader that cannot read yet, and then the reader
        from a memory that holds nothing worth reading.
        """
        if not self.config.exploration_steps:
            return proposal
        step = (batch.noise_key & 0xFFFFFFFF).to(proposal.score.dtype)
        tries = chance.tries < (1 - step / self.config.exploration_steps)[:, None]
        always = torch.ones_like(proposal.score)
        other = replacement.displace(state, chance.priority, always, self.config.utilisation_cap)

        def mixed(own: Tensor, tried: Tensor, chosen: Tensor) -> Tensor:
            return torch.where(chosen, tried + (own - own.detach()), own)

        return Proposal(
            mixed(proposal.actions, other.actions, tries[..., None, None]), mixed(proposal.score, other.score, tries)
        )

    def chances(self, batch: Batch, steps: int) -> list[Chance] | list[None]:
        """For every memory step, in training, if decisions have a gradient; elsewhere nothing is left to chance."""
        if not self.training or not self.rules.straight_through:
            return [None] * steps
        size, num_slots = batch.inputs.shape[1], self.config.num_slots
        shapes = [(steps, size, num_slots), (steps, size), (steps, size, num_slots)]
        drawn = [uniform(batch.noise_key, PERMUTATION_STREAM + 1 + i, shape) for i, shape in enumerate(shapes)]
        return [Chance(*of_step) for of_step in zip(*(part.unbind(1) for part in drawn), strict=True)]

    def _live(self, batch: Batch, contexts: Tensor, hyper: dict[str, Tensor], state: LifecycleState | None) -> Life:
        """Take a memory step for every context in turn."""
        runs, size, _, dim = contexts.shape
        if state is None:
            state = lifecycle.initial_state(runs, size, self.config.num_slots, dim, device=contexts.device)
        return self.order.live(self, batch, contexts, hyper["write_threshold"], state)

    def take(
        self, batch: Batch, state: LifecycleState, chunk: Chunk, threshold: Tensor, chance: Chance | None
    ) -> Taken:
        """Take one step: propose, in training perhaps try something else, and execute."""
        proposal = self.propose(batch, state, chunk)
        tried = proposal if chance is None else self.explored(batch, state, proposal, chance)
        gate = None
        if self.update_gate is not None and chunk.for_gate is not None:
            gate = self.update_gate(state.slots, chunk.for_gate)
        noise = None if chance is None else chance.victim
        wanted = Wanted(tried, chunk.context, threshold, gate, noise)
        return Taken(state, proposal, self.rules.step(state, wanted))

    @torch.no_grad()
    def use(self, query: Asking, state: LifecycleState) -> Float[Tensor, "runs batch slots"]:
        """How much of each slot a step's own context reads: what counts as use."""
        return self.reader.address(query, state.slots, state.alive, self._age(state)).squeeze(2)

    def _age(self, state: LifecycleState) -> Float[Tensor, "runs batch slots"]:
        return state.age / self.config.age_unit

    def read(self, queries: Asking, state: LifecycleState, batch: Batch) -> Read:
        """What is read with each of Q queries, after whatever ``batch.control`` does to the memory."""
        if batch.control == "shuffled":  # every sequence reads its neighbour's memory
            slots, alive, age = (part.roll(1, 1) for part in (state.slots, state.alive, state.age))
            state = state._replace(slots=slots, alive=alive, age=age)
        read = self.reader(queries, state.slots, state.alive, self._age(state))
        if batch.control == "off":
            read = Read(torch.zeros_like(read.vector), torch.zeros_like(read.weights))
        return read

    def _answer(self, batch: Batch, asking: Asking, life: Life) -> ModelOutput:
        """Logits at the asked steps, from the memory as it is in the chunk of each."""
        answers, read = self.order.answers(self, batch, asking, life)
        terms = self.losses(life.log)
        record = self._record(life, read)
        log = lifecycle_log.log(record, batch.extras.get("answer_position"), batch.inputs.shape[-1])
        return ModelOutput(self.classify(answers), terms, record, life.state, log)

    def classify(self, states: Asking) -> Float[Tensor, "runs batch questions outputs"]:
        """Logits of states with what was read for them."""
        return self.classifier(states if self.head is None else self.head(states, relu=True))

    def _record(self, life: Life, read: Read | None) -> LifecycleRecord:
        """What happened in each chunk, and what the memory holds in the end."""
        operations, alive, age, score, write = self.order.happened(life.log)
        state = life.state
        retained = alive * ~((operations == lifecycle.WRITTEN) | (operations == lifecycle.REPLACED))
        return LifecycleRecord(
            write_gate=score,
            writes=write,
            read_weights=None if read is None else read.weights[:, :, -1].detach(),
            slot_time=torch.where(state.time >= life.begun, state.time - life.begun, -1),
            alive=alive[:, :, -1],
            operations=operations,
            utilisation=alive.mean(-1),
            age_steps=(age * retained).sum(-1) / retained.sum(-1).clamp_min(1),
            over_budget=(lifecycle.counted(operations) > self.config.budget).to(alive.dtype),
            state=state,
        )


class PolicyModel(Model):
    """The parts, parameters and budget of NeMA-LC; a rule decides about the slots, and the controller is not asked.

    The rule's wishes go through the same allocator as those of the repaired model, on both tracks.
    """

    charges: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__(config, runs)
        self.rules = requested(config)

    def priority(self, batch: Batch, state: LifecycleState) -> Float[Tensor, "runs batch slots"]:
        """Which slot is given up first: the one of lowest priority."""
        raise NotImplementedError(f"{type(self).__module__}: a policy defines which slot is given up first")

    def wants(self, batch: Batch, state: LifecycleState, step: int) -> Float[Tensor, "runs batch"]:
        """1 where the context of the sequence's chunk number ``step`` is to be written, else 0."""
        del batch, step
        return torch.ones(state.alive.shape[:2], device=state.alive.device)

    def judge(self, batch: Batch, contexts: Contexts) -> list[Tensor]:
        """Nothing: a rule does not look at contexts."""
        del batch, contexts
        return []

    def propose(self, batch: Batch, state: LifecycleState, chunk: Chunk) -> Proposal:
        """What the rule wants done in a step."""
        wanted = self.wants(batch, state, chunk.step)
        return replacement.displace(state, self.priority(batch, state), wanted, self.config.utilisation_cap)

    def explored(self, batch: Batch, state: LifecycleState, proposal: Proposal, chance: Chance) -> Proposal:
        """The proposal: a rule has nothing to try."""
        del batch, state, chance
        return proposal
