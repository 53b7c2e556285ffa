"""Source 004's ReasoningNetwork: an LSTM encodes tokens into slots, which a question reads several times in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.layers.cells import LSTMState
from palimpsest.layers.encoding import SequenceConfig, TokenInput
from palimpsest.layers.linear import Linear
from palimpsest.layers.transformer import causal_window
from palimpsest.memory.associative import free
from palimpsest.memory.control import Control
from palimpsest.memory.repeated_reads import EncodedReads
from palimpsest.memory.segments import SegmentRecord
from palimpsest.models import Batch, ModelOutput, under


class Config(SequenceConfig):
    """Parameters of a reasoning network."""

    hidden: int = Field(64, ge=1, description="units of the encoder")
    num_slots: int = Field(64, ge=1, description="slots N: a question reads the last N tokens")
    slot_dim: int = Field(32, ge=1, description="features of a key, of a value and of what is reasoned about")
    num_read_heads: int = Field(1, ge=1, description="heads H of a read; divides slot_dim")
    num_reads: int = Field(3, ge=1, description="reads K that a question makes in turn, with the same weights")

    @model_validator(mode="after")
    def _heads_divide_slots(self) -> Config:
        if self.slot_dim % self.num_read_heads:
            raise ValueError(
                f"num_read_heads {self.num_read_heads} does not divide slot_dim {self.slot_dim}; allowed: a divisor"
            )
        return self


class Encoded(NamedTuple):
    """What a reasoning network carries from one part of a sequence to the next."""

    encoder: LSTMState
    slots: Float[Tensor, "runs batch time two_dims"]
    """Keys and values of the tokens so far; a question reads the last N."""


class Model(nn.Module):
    """Tokens → LSTM → slots and K tied reads at each question → logits.

    It computes the same as :class:`~palimpsest.memory.repeated_reads.EncodedReads` token by token, but it reads only
    where something is asked.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.input = TokenInput(runs, config)
        self.cell = EncodedReads(
            runs,
            self.input.d_out,
            config.hidden,
            config.num_slots,
            config.slot_dim,
            config.num_read_heads,
            num_reads=config.num_reads,
        )
        self.head = Linear(runs, self.cell.d_out, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Encoded | None = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: after the tokens before; ``None``: at the beginning.
        """
        del hyper
        encoder = self.cell.encoder.initial_state(batch.inputs.shape[1]) if state is None else state.encoder
        outputs = []
        for gates in self.cell.encoder.of_input(self.input(batch.inputs)).unbind(2):
            hidden, encoder = self.cell.encoder.advance(gates, encoder)
            outputs.append(hidden)
        encoded = torch.stack(outputs, 2)
        slots = self.cell.memory.write(encoded)
        slots = slots if state is None else torch.cat([state.slots, slots], 2)
        asking = self.config.at_asked_steps(encoded, batch.start)
        reads, weights = self.cell.memory.reason(asking, slots, self._limits(batch, slots), batch.control)
        every = self.config.asked is None  # a trace has all steps or none
        record = SegmentRecord(weights.detach().transpose(2, 3)) if every and batch.watch is not None else None
        return ModelOutput(self.head(torch.cat([asking, reads], -1)), {}, record, Encoded(encoder, slots))

    def _limits(self, batch: Batch, slots: Tensor) -> Float[Tensor, "runs batch questions time"]:
        """0 where a question may read a token, and very negative elsewhere."""
        time, total = batch.inputs.shape[2], slots.shape[2]
        steps = [total - time + question.step for question in self.config.questions(batch.start, time)]
        seen = causal_window(total, self.config.num_slots, slots.device)[steps]
        limits = torch.zeros(seen.shape, dtype=slots.dtype, device=slots.device).masked_fill(~seen, free(slots))
        return limits.expand(*slots.shape[:2], *seen.shape)

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """Output under each control; nothing is written at random, so that ``random_writes`` is ``on``."""
        found: dict[Control, ModelOutput] = {}
        for control, state in states.items():
            does: Control = "on" if control == "random_writes" else control
            if does not in found:
                found[does] = self(under(batch, does), hyper, state)
        return [found["on" if control == "random_writes" else control] for control in states]
