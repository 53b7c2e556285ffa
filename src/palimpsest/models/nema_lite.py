"""NeMA-Lite: a Transformer encoder, a learned write gate and an episodic memory that questions read (source 000).

The published reading and the repaired one are two settings of the same parts:

========================  =====================================  ==============================================
                          published                              repaired
========================  =====================================  ==============================================
``memory``                one FIFO for the whole batch           one a sequence
``straight_through``      false: vectors detached, no gradient   true: gradient through what was written
``read``                  top-k cosine with softmax              sigmoid, not renormalised
``segment``               the whole sequence                     shorter than the distance to the answer
``write_context``         what the segment's encoder sees        tokens that a written state has seen
``gate_bias``             drawn                                  open at the start
========================  =====================================  ==============================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.foundation.sections import PerRun
from palimpsest.layers.linear import Linear
from palimpsest.layers.noise import uniform
from palimpsest.layers.transformer import EncoderConfig, TokenEncoder
from palimpsest.memory import episodic, episodic_log
from palimpsest.memory.episodic import EpisodicState
from palimpsest.memory.episodic_log import EpisodicRecord
from palimpsest.memory.reading import Read, SigmoidRead, topk_cosine_read
from palimpsest.memory.write_gate import WriteDecision, WriteGate, threshold_writes
from palimpsest.models import Batch, Control, ModelOutput

States = Float[Tensor, "runs batch time width"]
Asking = Float[Tensor, "runs batch questions width"]
PERMUTATION_STREAM = 1 << 20
"""Randomised controls draw from this stream on; the streams of the encoder's dropout lie below it."""


class Config(EncoderConfig):
    """Parameters of NeMA-Lite."""

    mem_lambda: Annotated[float, PerRun()] = Field(0.05, ge=0, description="λ: weight of the mean write gate")
    write_threshold: Annotated[float, PerRun()] = Field(0.5, gt=0, lt=1, description="τ: a token is written if g > τ")
    gate_logit_penalty: Annotated[float, PerRun()] = Field(0.0, ge=0, description="weight of the mean squared logit")
    gate_hidden: int = Field(128, ge=1, description="hidden units of the write gate")
    gate_bias: float | None = Field(None, description="initial bias of the gate's logit; null: drawn")
    capacity: int = Field(256, ge=1, description="slots N of the memory")
    memory: Literal["shared", "per_example"] = Field("shared", description="one FIFO for the batch, or one a sequence")
    straight_through: bool = Field(False, description="whether the task loss reaches the gate through what is written")
    read: Literal["topk_cosine", "sigmoid"] = Field("topk_cosine", description="how a question reads the memory")
    top_k: int = Field(4, ge=1, description="slots that a top-k read takes")
    segment: int | None = Field(None, ge=1, description="tokens that see each other; null: the whole sequence")
    write_context: int | None = Field(None, ge=1, description="tokens that a written state has seen; null: as segment")

    @model_validator(mode="after")
    def _segments_fit(self) -> Config:
        for name in ("segment", "write_context"):
            length = getattr(self, name)
            if length is not None and (length > self.sequence_length or self.sequence_length % length):
                raise ValueError(
                    f"{name} {length} does not cut a sequence of {self.sequence_length}; allowed: a divisor of it"
                )
        return self


class Model(nn.Module):
    """The network; subclasses are baselines that differ in who decides what is written.

    Args:
        config: sizes and switches.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {"write": "mem_lambda", "gate_logit": "gate_logit_penalty"}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = TokenEncoder(runs, config)
        self.gate = WriteGate(runs, config.width, config.gate_hidden, config.gate_bias)
        self.reader = SigmoidRead(runs, config.width) if config.read == "sigmoid" else None
        self.classifier = Linear(runs, config.width, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: EpisodicState | None = None) -> ModelOutput:
        """Encode, write, and let each question read the memory as it is at its step.

        L = L_task + λ · mean(g) [source 000]; the task loss is the caller's.

        Args:
            batch: tokens of R × B sequences, or chunks of them: whole segments.
            hyper: ``mem_lambda``, ``write_threshold``, …, each (R,).
            state: memory after the chunks before; ``None``: empty.
        """
        return self._remember(batch, *self.encode(batch), hyper, state)

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, EpisodicState | None]
    ) -> list[ModelOutput]:
        """Output under each control in turn: they differ in what is done to the memory, not in what is encoded."""
        written, asking = self.encode(batch)
        return [
            self._remember(batch._replace(control=control), written, asking, hyper, state)
            for control, state in states.items()
        ]

    def _remember(
        self, batch: Batch, written: States, asking: Asking, hyper: dict[str, Tensor], state: EpisodicState | None
    ) -> ModelOutput:
        decision, writes = self._decide(batch, written, hyper)
        reads, done = [], 0
        for index, question in enumerate(self.config.questions(batch.start, written.shape[2])):
            upto = question.step + 1
            state = self._append(written[:, :, done:upto], writes[:, :, done:upto], state)
            reads.append(self.read(asking[:, :, index : index + 1], state, batch))
            done = upto
        if done < written.shape[2] or state is None:
            state = self._append(written[:, :, done:], writes[:, :, done:], state)
        answers = [asking[:, :, index : index + 1] + read.vector for index, read in enumerate(reads)]
        logits = self.classifier(answers[0] if len(answers) == 1 else torch.cat([asking[:, :, :0], *answers], 2))
        losses = {"write": decision.gate.mean((1, 2)), "gate_logit": decision.logit.square().mean((1, 2))}
        record = self._record(decision.gate, writes, reads[-1] if reads else None, state)
        log = episodic_log.log(record, batch.extras.get("answer_position"), batch.inputs.shape[-1])
        return ModelOutput(logits, losses, record, state, log)

    def observe(self, batch: Batch, hyper: dict[str, Tensor], state: EpisodicState | None = None) -> EpisodicState:
        """Memory after a chunk that is not the last: whole segments, beginning at position ``batch.start``."""
        states = self.encode_written(batch)
        return self._append(states, self._decide(batch, states, hyper)[1], state)

    def encode(self, batch: Batch) -> tuple[States, Asking]:
        """States to write, and the states that ask, which have seen their own segment only."""
        config = self.config
        written = self.encode_written(batch)
        questions = config.questions(batch.start, batch.inputs.shape[2])
        if config.write_context is None or config.write_context == config.segment:
            tokens = [question.token for question in questions]
            return written, written[:, :, tokens[0]][:, :, None] if len(tokens) == 1 else written[:, :, tokens]
        asking = self.encoder.states_that_ask(
            batch.inputs,
            questions,
            start=batch.start,
            segment=config.segment or config.sequence_length,
            noise_key=batch.noise_key if self.training else None,
        )
        return written, asking

    def encode_written(self, batch: Batch) -> States:
        """States that may be written, each of which has seen its piece of ``write_context`` tokens only."""
        time, piece = batch.inputs.shape[2], self.config.write_context or self.config.segment
        padded = batch.inputs if piece is None else F.pad(batch.inputs, (0, -time % piece))
        states = self.encoder(
            padded, start=batch.start, segment=piece, noise_key=batch.noise_key if self.training else None
        )
        return states[:, :, :time]

    def decide(self, batch: Batch, states: States, hyper: dict[str, Tensor]) -> WriteDecision:
        """Which tokens are written: those whose gate exceeds the threshold."""
        del batch
        logit = self.gate(states)
        return threshold_writes(logit, hyper["write_threshold"], straight_through=self.config.straight_through)

    def _decide(self, batch: Batch, states: States, hyper: dict[str, Tensor]) -> tuple[WriteDecision, Tensor]:
        """The decision about every token, and what is written after ``batch.control`` has been applied."""
        decision = self.decide(batch, states, hyper)
        writes = decision.weight
        return decision, _same_number_at_random(writes, batch) if batch.control == "random_writes" else writes

    def _append(self, states: States, weight: Tensor, state: EpisodicState | None) -> EpisodicState:
        """Append the states whose weight is 1; a shared memory is one whose only sequence is the whole batch."""
        vectors = states if self.config.straight_through else states.detach()
        if self.config.memory == "shared":
            vectors, weight = vectors.flatten(1, 2)[:, None], weight.flatten(1, 2)[:, None]
        if state is None:
            runs, size, _, dim = vectors.shape
            state = episodic.initial_state(runs, size, self.config.capacity, dim, device=vectors.device)
        return episodic.append(state, vectors, weight)

    def read(self, asking: Asking, state: EpisodicState, batch: Batch) -> Read:
        """What one question of each sequence reads, after whatever ``batch.control`` does to the memory."""
        query = asking if self.config.memory == "per_example" else asking.transpose(1, 2)
        slots, weight = state.slots, state.weight
        if batch.control == "shuffled":  # every sequence reads its neighbour's memory; a shared one is everybody's
            slots, weight = slots.roll(1, 1), weight.roll(1, 1)
        if self.reader is None:
            read = topk_cosine_read(query.detach(), slots, weight, self.config.top_k)
        else:
            read = self.reader(query, slots, weight)
        if batch.control == "off":
            read = Read(torch.zeros_like(read.vector), torch.zeros_like(read.weights))
        if self.config.memory == "shared":
            read = Read(read.vector.transpose(1, 2), read.weights.transpose(1, 2))
        return read

    def _record(self, gate: Tensor, writes: Tensor, read: Read | None, state: EpisodicState) -> EpisodicRecord:
        batch = gate.shape[1]
        alive = (state.weight.detach() > 0.5).to(gate.dtype)
        return EpisodicRecord(
            write_gate=gate.detach(),
            writes=writes.detach(),
            read_weights=None if read is None else read.weights.detach().squeeze(2),
            slot_time=episodic.written_time(state).expand(-1, batch, -1),
            alive=alive.expand(-1, batch, -1),
        )


def _same_number_at_random(writes: Tensor, batch: Batch) -> Tensor:
    """As many writes in every sequence as before, at positions drawn without replacement."""
    order = uniform(batch.noise_key, PERMUTATION_STREAM, tuple(writes.shape[1:])).argsort(-1)
    return writes.gather(-1, order)
