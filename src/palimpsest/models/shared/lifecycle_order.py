"""In which order the slots of source 001 are read and written over a sequence: as published, and repaired.

An order cuts a sequence into memory steps, takes them, and lets the questions read. What is decided in a step is not
its business: the model is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from palimpsest.layers.transformer import EncoderConfig, TokenEncoder
from palimpsest.memory import lifecycle
from palimpsest.memory.lifecycle import LifecycleState, Proposal, StepLog
from palimpsest.memory.reading import Read
from palimpsest.models import Batch

Vectors = Float[Tensor, "runs batch dim"]
Contexts = Float[Tensor, "runs batch steps dim"]
Asking = Float[Tensor, "runs batch questions dim"]


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


class Taken(NamedTuple):
    """A step that was taken."""

    before: LifecycleState
    proposal: Proposal
    """What was proposed; in training, something else may have been tried."""
    step: lifecycle.Step


class Life(NamedTuple):
    """The steps that a memory has taken in a sequence, or in a part of it."""

    log: StepLog
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


class Happened(NamedTuple):
    """What happened in each chunk."""

    operations: Int[Tensor, "runs batch chunks slots"]
    alive: Float[Tensor, "runs batch chunks slots"]
    age: Float[Tensor, "runs batch chunks slots"]
    score: Float[Tensor, "runs batch chunks"]
    write: Float[Tensor, "runs batch chunks"]


@runtime_checkable
class Decider(Protocol):
    """What an order asks of a model."""

    def prepare(self, batch: Batch, contexts: Contexts, first: int) -> list[Chunk]:
        """All that can be computed for all chunks at once; the first is number ``first``."""
        ...

    def chances(self, batch: Batch, steps: int) -> list[Chance] | list[None]:
        """What is drawn for each step."""
        ...

    def take(
        self, batch: Batch, state: LifecycleState, chunk: Chunk, threshold: Tensor, chance: Chance | None
    ) -> Taken:
        """Take one step: propose, and execute."""
        ...

    def read(self, queries: Asking, state: LifecycleState, batch: Batch) -> Read:
        """What is read with each query, after whatever ``batch.control`` does to the memory."""
        ...

    def use(self, query: Asking, state: LifecycleState) -> Float[Tensor, "runs batch slots"]:
        """How much of each slot is read with a projected query."""
        ...


class _Order:
    """Steps of one chunk each; subclasses define what is done first in a step.

    Args:
        config: which questions are asked.
        length: tokens of a chunk.
    """

    same_life: ClassVar[bool]
    """Whether what is read decides about nothing, so that controls of reading alone change nothing of a life."""

    def __init__(self, config: EncoderConfig, length: int) -> None:
        self.config, self.length = config, length

    def encode(self, encoder: TokenEncoder, batch: Batch, noise_key: Tensor | None) -> tuple[Contexts, Asking]:
        """A context for every chunk, the mean of its states, and the states that ask; each chunk is seen by itself.

        A last chunk that is not whole is filled up with token 0.
        """
        runs, size, time = batch.inputs.shape
        tokens = [question.token for question in self.config.questions(batch.start, time)]
        length = self.length
        count = max(-(-time // length), self.fewest_chunks(batch.start))
        inputs = F.pad(batch.inputs, (0, count * length - time))
        states = encoder(inputs.reshape(runs, size * count, length), noise_key=noise_key)
        states = states.view(runs, size, count, length, -1)
        asking = [states[:, :, token // length, token % length] for token in tokens]
        return states.mean(3), torch.stack(asking, 2) if asking else states[:, :, 0, :0]

    def fewest_chunks(self, start: int) -> int:
        """How many chunks a part of a sequence that begins at position ``start`` has at least."""
        del start
        return 1

    def remembered(self, contexts: Float[Tensor, "runs batch chunks dim"]) -> Contexts:
        """The contexts of memory steps, where the sequence ends with them."""
        return contexts

    def first_step(self, batch: Batch) -> int:
        """Number of the memory step in which the first token of a batch stands."""
        return batch.start // self.length

    def steps_of_questions(self, batch: Batch, life: Life) -> list[int]:
        """In which step of a life each question is asked."""
        questions = self.config.questions(batch.start, batch.inputs.shape[2])
        return [min(question.step // self.length, len(life.after) - 1) for question in questions]

    def happened(self, log: StepLog) -> Happened:
        """What happened in each chunk."""
        alive = (log.alive.detach() > 0.5).to(log.age.dtype)
        return Happened(log.operations, alive, log.age, log.score.detach(), log.write)


class ReadThenWrite(_Order):
    """As published: a step reads for its context, and decides about the slots from context and read together."""

    same_life: ClassVar[bool] = False

    def live(self, model: Decider, batch: Batch, contexts: Contexts, threshold: Tensor, state: LifecycleState) -> Life:
        """Take a step for every context in turn."""
        begun = state.steps - self.first_step(batch)
        before, after, about, reads, taken = [], [], [], [], []
        for context, chance in zip(contexts.unbind(2), model.chances(batch, contexts.shape[2]), strict=True):
            before.append(state)
            read = model.read(context[:, :, None], state, batch)
            state = _after_reading(model, context, read, state, batch)
            about.append(context + read.vector.squeeze(2))
            reads.append(read)
            (chunk,) = model.prepare(batch, about[-1][:, :, None], state.steps - begun)
            taken.append(model.take(batch, state, chunk, threshold, chance))
            state = taken[-1].step.state
            after.append(state)
        return Life(_stack(taken), before, after, about, reads, begun)

    def answers(self, model: Decider, batch: Batch, asking: Asking, life: Life) -> tuple[Asking, Read | None]:
        """For each question what the context of its chunk has read, and the last read."""
        del model
        steps = self.steps_of_questions(batch, life)
        return _joined(asking, [life.contexts[step][:, :, None] for step in steps]), life.reads[-1]


class WholeSequence(ReadThenWrite):
    """As published, without chunks: one step for the whole sequence, and the last state that asks is its context."""

    def encode(self, encoder: TokenEncoder, batch: Batch, noise_key: Tensor | None) -> tuple[Contexts, Asking]:
        """The context, and the states that ask."""
        tokens = [question.token for question in self.config.questions(batch.start, batch.inputs.shape[2])]
        states = encoder(batch.inputs, start=batch.start, noise_key=noise_key)
        asking = states[:, :, tokens[0], None] if len(tokens) == 1 else states[:, :, tokens]
        return asking[:, :, -1:], asking

    def answers(self, model: Decider, batch: Batch, asking: Asking, life: Life) -> tuple[Asking, Read | None]:
        """What the context has read, if it is the only question; else each question reads for itself."""
        if asking.shape[2] <= 1:
            return super().answers(model, batch, asking, life)
        read = model.read(asking, life.before[0], batch)
        return asking + read.vector, read


class WriteThenRead(_Order):
    """Repaired: a step decides about the slots from its context alone; the last chunk of a sequence only asks."""

    same_life: ClassVar[bool] = True

    def fewest_chunks(self, start: int) -> int:
        """Two in a sequence, as the last one only asks."""
        return 2 if start == 0 else 1

    def remembered(self, contexts: Float[Tensor, "runs batch chunks dim"]) -> Contexts:
        """All but the last."""
        return contexts[:, :, :-1]

    def live(self, model: Decider, batch: Batch, contexts: Contexts, threshold: Tensor, state: LifecycleState) -> Life:
        """Take a step for every context in turn; what the context would read afterwards counts as use."""
        first = self.first_step(batch)
        begun = state.steps - first
        chunks = model.prepare(batch, contexts, first)
        before, after, taken = [], [], []
        for chunk, chance in zip(chunks, model.chances(batch, contexts.shape[2]), strict=True):
            before.append(state)
            taken.append(model.take(batch, state, chunk, threshold, chance))
            state = taken[-1].step.state
            state = lifecycle.used(state, model.use(chunk.query[:, :, None], state), state.steps - 1)
            after.append(state)
        return Life(_stack(taken), before, after, [chunk.context for chunk in chunks], [], begun)

    def answers(self, model: Decider, batch: Batch, asking: Asking, life: Life) -> tuple[Asking, Read | None]:
        """What each question reads of the memory after the step of its chunk, and the last read."""
        answers: list[Tensor] = []
        read, done = None, 0
        for step, group in groupby(self.steps_of_questions(batch, life)):
            queries = asking[:, :, done : done + len(list(group))]
            read = model.read(queries, life.after[step], batch)
            answers.append(queries + read.vector)
            done += queries.shape[2]
        return _joined(asking, answers), read

    def happened(self, log: StepLog) -> Happened:
        """What happened in each chunk: in the last one nothing."""
        happened = super().happened(log)
        idle = torch.where(happened.alive[:, :, -1:] > 0.5, lifecycle.RETAINED, lifecycle.FREE)
        alive, age = (torch.cat([part, part[:, :, -1:]], 2) for part in (happened.alive, happened.age))
        score, write = (F.pad(part, (0, 1)) for part in (happened.score, happened.write))
        return Happened(torch.cat([happened.operations, idle], 2), alive, age, score, write)


Order = ReadThenWrite | WriteThenRead


def _after_reading(model: Decider, context: Vectors, read: Read, state: LifecycleState, batch: Batch) -> LifecycleState:
    """The memory once it was read: usage is what its own slots would give, whatever ``batch.control`` does."""
    if batch.control in ("off", "shuffled"):
        read = model.read(context[:, :, None], state, batch._replace(control="on"))
    return lifecycle.used(state, read.weights.squeeze(2), state.steps)


def _joined(asking: Asking, parts: list[Tensor]) -> Asking:
    """Parts, each of some of the questions, side by side; none where nothing is asked."""
    return parts[0] if len(parts) == 1 else torch.cat([asking[:, :, :0], *parts], 2)


def _stack(taken: Sequence[Taken]) -> StepLog:
    """Steps as tensors with an axis of steps."""

    def stacked(of: Callable[[LifecycleState, Proposal, lifecycle.Step], Tensor]) -> Tensor:
        return torch.stack([of(*one) for one in taken], 2)

    return StepLog(
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
