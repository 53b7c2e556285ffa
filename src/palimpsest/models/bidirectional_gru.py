"""Baseline: two GRUs read a sequence up to the question, one forwards and one backwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor, nn

from palimpsest.layers.both_ways import BothWays
from palimpsest.layers.encoding import SequenceConfig, TokenInput
from palimpsest.layers.linear import Linear
from palimpsest.memory.control import Control
from palimpsest.models import Batch, ModelOutput


class Config(SequenceConfig):
    """Parameters of a bidirectional GRU."""

    hidden: int = Field(64, ge=1, description="units of each direction; sets how many parameters there are")


class Past(NamedTuple):
    """What a bidirectional GRU carries: everything, as it reads back from each question to the first token."""

    tokens: Int[Tensor, "runs batch time"]
    """Tokens so far."""


class Model(nn.Module):
    """Tokens → a GRU in each direction → logits from their last states.

    A question at step t is answered from the forward state after the tokens 0, …, t, and from the backward state after
    t, …, 0: no answer depends on what comes later. Every question takes a pass over all tokens before it, so that this
    model suits sequences with one question.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.input = TokenInput(runs, config)
        self.encoder = BothWays(runs, self.input.d_out, config.hidden)
        self.head = Linear(runs, self.encoder.d_out, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Past | None = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: the tokens before, of the same sequences; ``None``: at the beginning. They are gone through again.
        """
        del hyper
        tokens = batch.inputs if state is None else torch.cat([state.tokens, batch.inputs], 2)
        before, hidden = tokens.shape[2] - batch.inputs.shape[2], self.config.hidden
        features, last = self.input(tokens), []
        for question in self.config.questions(batch.start, batch.inputs.shape[2]):
            states = self.encoder(features[:, :, : before + question.step + 1])
            last.append(torch.cat([states[:, :, -1, :hidden], states[:, :, 0, hidden:]], -1))
        return ModelOutput(self.head(torch.stack(last, 2)), {}, None, Past(tokens))

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)
