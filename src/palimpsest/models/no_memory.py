"""Baseline: the same encoder without a memory; each segment sees itself alone and answers its own questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.layers.linear import Linear
from palimpsest.layers.transformer import EncoderConfig, TokenEncoder
from palimpsest.models import Batch, Control, ModelOutput


class Config(EncoderConfig):
    """Parameters of an encoder that answers by itself."""

    segment: int | None = Field(None, ge=1, description="tokens that see each other; null: the whole sequence")
    window: int | None = Field(None, ge=1, description="tokens that a token sees, itself included; null: both ways")

    @model_validator(mode="after")
    def _pieces_fit(self) -> Config:
        if self.segment is not None and (self.segment > self.sequence_length or self.sequence_length % self.segment):
            raise ValueError(
                f"segment {self.segment} does not cut a sequence of {self.sequence_length}; allowed: a divisor of it"
            )
        if self.window is not None and self.window > self.sequence_length:
            raise ValueError(
                f"window {self.window} is longer than the sequence; allowed: at most {self.sequence_length}"
            )
        return self


class Model(nn.Module):
    """Encoder and classifier.

    Args:
        config: sizes, and how far attention reaches.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = TokenEncoder(runs, config)
        self.classifier = Linear(runs, config.width, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Any = None) -> ModelOutput:
        """Logits (R, B, Q, O) from the states that ask, each of which has seen its own segment only."""
        del hyper
        config = self.config
        asking = self.encoder.states_that_ask(
            batch.inputs,
            config.questions(batch.start, batch.inputs.shape[2]),
            start=batch.start,
            segment=config.segment or config.sequence_length,
            window=config.window,
            noise_key=batch.noise_key if self.training else None,
        )
        return ModelOutput(self.classifier(asking), {}, None, state)

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)
