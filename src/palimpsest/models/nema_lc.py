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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count, groupby
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.foundation.numbers import as_number
from palimpsest.foundation.sections import PerRun
from palimpsest.layers.linear import Linear
from palimpsest.layers.noise import uniform
from palimpsest.layers.transformer import EncoderConfig, TokenEncoder
from palimpsest.memory import lifecycle, lifecycle_log, replacement
from palimpsest.memory.lifecycle import Controller, LifecycleState, Lived, Proposal, UpdateGate
from palimpsest.memory.lifecycle_log import LifecycleRecord
from palimpsest.memory.reading import AttentionRead, Read, SigmoidRead, dot_product_read
from palimpsest.models import Batch, Control, ModelOutput

Vectors = Float[Tensor, "runs batch dim"]
Asking = Float[Tensor, "runs batch questions dim"]
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


class Chunk(NamedTuple):
    """What is known of a chunk before the memory has seen it, (R, B, features) each."""

    step: int
    """Its number in the sequence."""
    context: Vectors
    query: Vectors
    score: Float[Tensor, "runs batch"] | None = None
    """Write score; a policy has none."""
    for_controller: Float[Tensor, "runs batch hidden"] | None = None
    """The context's part of the controller's first layer."""
    for_gate: Vectors | None = None
    """The context's part of the update gate."""


class Chance(NamedTuple):
    """What is drawn for a memory step in training."""

    victim: Float[Tensor, "runs batch slots"]
    """Uniform: which slot a write takes in a full memory."""
    tries: Float[Tensor, "runs batch"]
    """Uniform: whether the step tries something."""
    priority: Float[Tensor, "runs batch slots"]
    """Uniform: which slot a write that is tried takes in a full memory."""


class Life(NamedTuple):
    """The steps that a memory has taken in a sequence, or in a part of it."""

    lived: Lived
    before: list[LifecycleState]
    """The memory before each step."""
    after: list[LifecycleState]
    """The memory after each step."""
    contexts: list[Vectors]
    """What each step was about; where a step reads first, its context and what was read for it."""
    reads: list[Read]
    """What each step read; nothing where steps do not read."""
    begun: int
    """Step of the memory at which the sequence began: 0, unless the memory is older than the sequence."""

    @property
    def state(self) -> LifecycleState:
        """The memory after the last step."""
        return self.after[-1]


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
        length = config.chunk or config.sequence_length
        self.encoder = TokenEncoder(runs, config.model_copy(update={"sequence_length": length}))
        self.ranked = config.allocator == "ranked"
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
            self.update_gate = None if self.ranked else UpdateGate(runs, config.width)
            readers = {"dot_product": None, "sigmoid": SigmoidRead, "attention": AttentionRead}
            reader = readers[config.read]
            self.reader = None if reader is None else reader(runs, config.width)
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
        return self._answer(batch, asking, self._live(batch, self._remembered(contexts), hyper, state))

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
            same = control in SAME_MEMORY and state is None and self.config.order == "write_read"
            alike: Control = "on" if same else control
            if alike not in lives:
                lives[alike] = self._live(given, self._remembered(contexts), hyper, state)
            outputs.append(self._answer(given, asking, lives[alike]))
        return outputs

    def observe(self, batch: Batch, hyper: dict[str, Tensor], state: LifecycleState | None = None) -> LifecycleState:
        """Memory after chunks that are not the last: whole ones, beginning at position ``batch.start``."""
        return self._live(batch, self.encode(batch)[0], hyper, state).state

    def encode(self, batch: Batch) -> tuple[Float[Tensor, "runs batch steps dim"], Asking]:
        """A context for every chunk, the mean of its states, and the states that ask; each chunk is seen by itself.

        Without chunks, the last state that asks is the only context. A last chunk that is not whole is filled up with
        token 0; where one writes before one reads there are at least two chunks, as the last only asks.
        """
        key = batch.noise_key if self.training else None
        runs, size, time = batch.inputs.shape
        tokens = [question.token for question in self.config.questions(batch.start, time)]
        if self.config.chunk is None:
            states = self.encoder(batch.inputs, start=batch.start, noise_key=key)
            asking = states[:, :, tokens[0], None] if len(tokens) == 1 else states[:, :, tokens]
            return asking[:, :, -1:], asking
        length = self.config.chunk
        fewest = 2 if self.config.order == "write_read" and batch.start == 0 else 1
        count = max(-(-time // length), fewest)
        inputs = F.pad(batch.inputs, (0, count * length - time))
        states = self.encoder(inputs.reshape(runs, size * count, length), noise_key=key)
        states = states.view(runs, size, count, length, -1)
        asking = [states[:, :, token // length, token % length] for token in tokens]
        return states.mean(3), torch.stack(asking, 2) if asking else states[:, :, 0, :0]

    def _remembered(self, contexts: Float[Tensor, "runs batch chunks dim"]) -> Float[Tensor, "runs batch steps dim"]:
        """The contexts of memory steps: all, but where one writes before one reads, the last only asks."""
        return contexts if self.config.order == "read_write" else contexts[:, :, :-1]

    def prepare(self, batch: Batch, contexts: Float[Tensor, "runs batch steps dim"], first: int) -> list[Chunk]:
        """All that can be computed for all chunks at once, chunk by chunk; the first is number ``first``."""
        with torch.no_grad():  # of what a chunk would read, usage alone is taken
            queries = contexts if self.reader is None else self.reader.query(contexts)
        parts = [contexts, queries, *self.judge(batch, contexts)]
        return [Chunk(*chunk) for chunk in zip(count(first), *(part.unbind(2) for part in parts))]

    def judge(self, batch: Batch, contexts: Float[Tensor, "runs batch steps dim"]) -> list[Tensor]:
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

    def _chances(self, batch: Batch, steps: int) -> list[Chance] | list[None]:
        """For every memory step, in training, if decisions have a gradient; elsewhere nothing is left to chance."""
        if not self.training or not self.config.straight_through:
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
        take_steps = self._read_then_write if self.config.order == "read_write" else self._write_then_use
        return take_steps(batch, contexts, hyper["write_threshold"], state)

    def _read_then_write(self, batch: Batch, contexts: Tensor, threshold: Tensor, state: LifecycleState) -> Life:
        """Read for each context, and decide about the slots from context and read together."""
        begun = state.steps - self._first_step(batch)
        before, after, heard, reads, taken = [], [], [], [], []
        for context, chance in zip(contexts.unbind(2), self._chances(batch, contexts.shape[2]), strict=True):
            before.append(state)
            read = self.read(context[:, :, None], state, batch)
            state = self._after_reading(context, read, state, batch)
            heard.append(context + read.vector.squeeze(2))
            reads.append(read)
            (chunk,) = self.prepare(batch, heard[-1][:, :, None], state.steps - begun)
            taken.append(self._taken(batch, state, chunk, threshold, chance))
            state = taken[-1][2].state
            after.append(state)
        return Life(_stack(taken), before, after, heard, reads, begun)

    def _write_then_use(self, batch: Batch, contexts: Tensor, threshold: Tensor, state: LifecycleState) -> Life:
        """Decide about the slots from each context alone; what the context would read then counts as use."""
        first = self._first_step(batch)
        begun = state.steps - first
        chunks = self.prepare(batch, contexts, first)
        before, after, taken = [], [], []
        for chunk, chance in zip(chunks, self._chances(batch, contexts.shape[2]), strict=True):
            before.append(state)
            taken.append(self._taken(batch, state, chunk, threshold, chance))
            state = taken[-1][2].state
            state = lifecycle.used(state, self._usage(chunk.query[:, :, None], state), state.steps - 1)
            after.append(state)
        return Life(_stack(taken), before, after, [chunk.context for chunk in chunks], [], begun)

    def _first_step(self, batch: Batch) -> int:
        """Number of the memory step in which the first token of a batch stands."""
        return batch.start // (self.config.chunk or self.config.sequence_length)

    def _taken(
        self, batch: Batch, state: LifecycleState, chunk: Chunk, threshold: Tensor, chance: Chance | None
    ) -> tuple[LifecycleState, Proposal, lifecycle.Step]:
        """Take one step: the memory before it, what was proposed, and what was done."""
        proposal = self.propose(batch, state, chunk)
        tried = proposal if chance is None else self.explored(batch, state, proposal, chance)
        return state, proposal, self._step(state, tried, chunk, threshold, chance)

    def _after_reading(self, context: Vectors, read: Read, state: LifecycleState, batch: Batch) -> LifecycleState:
        """The memory once it was read: usage is what its own slots would give, whatever ``batch.control`` does."""
        if batch.control in ("off", "shuffled"):
            read = self.read(context[:, :, None], state, batch._replace(control="on"))
        return lifecycle.used(state, read.weights.squeeze(2), state.steps)

    def _step(
        self, state: LifecycleState, proposal: Proposal, chunk: Chunk, threshold: Tensor, chance: Chance | None
    ) -> lifecycle.Step:
        config = self.config
        if self.ranked:
            allocation = lifecycle.allocate_ranked(proposal, threshold, config.budget)
            return lifecycle.step_ranked(state, proposal, allocation, chunk.context, config.utilisation_cap)
        cap, learns = config.utilisation_cap, config.straight_through
        allocation = lifecycle.allocate_requested(
            state, proposal, threshold, config.budget, cap, straight_through=learns
        )
        candidate = chunk.context if learns else chunk.context.detach()
        noise = None if chance is None else chance.victim
        if self.update_gate is None or chunk.for_gate is None:
            gate = torch.full_like(state.slots, 0.5)
        else:
            gate = self.update_gate(state.slots, chunk.for_gate)
        return lifecycle.step_requested(state, proposal, allocation, candidate, gate, cap, noise)

    @torch.no_grad()
    def _usage(self, query: Tensor, state: LifecycleState) -> Tensor:
        """How much of each slot a step's own context reads: what counts as use."""
        if self.reader is None:
            return dot_product_read(query, state.slots, state.alive).weights.squeeze(2)
        return self.reader.address(query, state.slots, state.alive, *self._ages(state)).squeeze(2)

    def _ages(self, state: LifecycleState) -> tuple[Tensor, ...]:
        """What a reader that looks at ages is given besides."""
        return (state.age / self.config.age_unit,) if self.config.read == "attention" else ()

    def read(self, queries: Asking, state: LifecycleState, batch: Batch) -> Read:
        """What is read with each of Q queries, after whatever ``batch.control`` does to the memory."""
        if batch.control == "shuffled":  # every sequence reads its neighbour's memory
            slots, alive, age = (part.roll(1, 1) for part in (state.slots, state.alive, state.age))
            state = state._replace(slots=slots, alive=alive, age=age)
        reader = self.reader or dot_product_read
        read = reader(queries, state.slots, state.alive, *self._ages(state))
        if batch.control == "off":
            read = Read(torch.zeros_like(read.vector), torch.zeros_like(read.weights))
        return read

    def _answer(self, batch: Batch, asking: Asking, life: Life) -> ModelOutput:
        """Logits at the asked steps, from the memory as it is in the chunk of each."""
        length, last = self.config.chunk or self.config.sequence_length, len(life.after) - 1
        questions = self.config.questions(batch.start, batch.inputs.shape[2])
        steps = [min(question.step // length, last) for question in questions]
        answer = self._answer_of_steps if self.config.order == "read_write" else self._answer_of_questions
        answers, read = answer(batch, asking, life, steps)
        terms = lifecycle.losses(life.lived, of_masks=self.config.losses == "masks")
        record = self._record(life, read)
        log = lifecycle_log.log(record, batch.extras.get("answer_position"), batch.inputs.shape[-1])
        return ModelOutput(self.classify(answers), terms, record, life.state, log)

    def _answer_of_steps(
        self, batch: Batch, asking: Asking, life: Life, steps: list[int]
    ) -> tuple[Asking, Read | None]:
        """Where a step reads before it writes: what its context has read, or, without chunks, what each question has.

        Without chunks the last question is the context of the only step.
        """
        if self.config.chunk is None and len(steps) > 1:
            read = self.read(asking, life.before[0], batch)
            return asking + read.vector, read
        return _joined(asking, [life.contexts[step][:, :, None] for step in steps]), life.reads[-1]

    def _answer_of_questions(
        self, batch: Batch, asking: Asking, life: Life, steps: list[int]
    ) -> tuple[Asking, Read | None]:
        """Where a step writes first: what each question reads of the memory after the step of its chunk."""
        answers: list[Tensor] = []
        read, done = None, 0
        for step, group in groupby(steps):
            queries = asking[:, :, done : done + len(list(group))]
            read = self.read(queries, life.after[step], batch)
            answers.append(queries + read.vector)
            done += queries.shape[2]
        return _joined(asking, answers), read

    def classify(self, states: Asking) -> Float[Tensor, "runs batch questions outputs"]:
        """Logits of states with what was read for them."""
        return self.classifier(states if self.head is None else self.head(states, relu=True))

    def _record(self, life: Life, read: Read | None) -> LifecycleRecord:
        """What happened in each chunk; in one that only asks nothing does."""
        lived, state = life.lived, life.state
        operations, score, write = lived.operations, lived.score.detach(), lived.write
        alive, age = (lived.alive.detach() > 0.5).to(lived.age.dtype), lived.age
        if self.config.order == "write_read":
            idle = torch.where(alive[:, :, -1:] > 0.5, lifecycle.RETAINED, lifecycle.FREE)
            operations = torch.cat([operations, idle], 2)
            alive, age = (torch.cat([part, part[:, :, -1:]], 2) for part in (alive, age))
            score, write = (F.pad(part, (0, 1)) for part in (score, write))
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
        self.ranked = False

    def priority(self, batch: Batch, state: LifecycleState) -> Float[Tensor, "runs batch slots"]:
        """Which slot is given up first: the one of lowest priority."""
        raise NotImplementedError(f"{type(self).__module__}: a policy says which slot is given up first")

    def wants(self, batch: Batch, state: LifecycleState, step: int) -> Float[Tensor, "runs batch"]:
        """1 where the context of the sequence's chunk number ``step`` is to be written, else 0."""
        del batch, step
        return torch.ones(state.alive.shape[:2], device=state.alive.device)

    def judge(self, batch: Batch, contexts: Float[Tensor, "runs batch steps dim"]) -> list[Tensor]:
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


def _joined(asking: Asking, parts: list[Tensor]) -> Asking:
    """Parts, each of some of the questions, side by side; none where nothing is asked."""
    return parts[0] if len(parts) == 1 else torch.cat([asking[:, :, :0], *parts], 2)


def _stack(taken: Sequence[tuple[LifecycleState, Proposal, lifecycle.Step]]) -> Lived:
    """Steps as tensors with an axis of steps."""

    def stacked(of: Callable[[LifecycleState, Proposal, lifecycle.Step], Tensor]) -> Tensor:
        return torch.stack([of(*one) for one in taken], 2)

    return Lived(
        score=stacked(lambda before, proposal, step: proposal.score),
        write=stacked(lambda before, proposal, step: step.write),
        actions=stacked(lambda before, proposal, step: proposal.actions),
        actions_before=stacked(lambda before, proposal, step: before.actions),
        operations=stacked(lambda before, proposal, step: step.operations),
        alive_before=stacked(lambda before, proposal, step: before.alive.detach()),
        age_before=stacked(lambda before, proposal, step: before.age),
        usage_before=stacked(lambda before, proposal, step: before.usage),
        alive=stacked(lambda before, proposal, step: step.state.alive),
        age=stacked(lambda before, proposal, step: step.state.age),
    )
