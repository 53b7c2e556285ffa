"""Baseline: a Transformer that looks back; all earlier tokens stay in sight, at a cost that grows with their number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.layers.embedding import Embedding
from palimpsest.layers.encoding import SequenceConfig, TokenInput
from palimpsest.layers.linear import Linear
from palimpsest.layers.places import sinusoids
from palimpsest.layers.transformer import EncoderConfig, EncoderLayer, causal_window
from palimpsest.memory.control import Control
from palimpsest.models import Batch, ModelOutput


class Config(SequenceConfig):
    """Parameters of a causal Transformer; ``width`` is that of all its layers, whatever tokens are to it."""

    num_heads: int = Field(4, ge=1, description="attention heads; divides width")
    num_layers: int = Field(2, ge=1, description="layers on top of each other")
    feedforward: int = Field(
        64, ge=1, description="hidden units of the position-wise network; sets how many parameters there are"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate")
    positions: Literal["sinusoidal", "learned"] = Field(
        "sinusoidal", description="how places are encoded; those beyond training are never learned"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Config:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}; allowed: a divisor")
        return self


class Past(NamedTuple):
    """What a causal Transformer carries: everything."""

    tokens: Int[Tensor, "runs batch time"]
    """Tokens so far."""


class Model(nn.Module):
    """Tokens and places → encoder layers, each of which sees the present and the past → logits at every step.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.input = TokenInput(runs, config)
        self.widen = Linear(runs, self.input.d_out, config.width) if config.code == "bits" else None
        self.places = Embedding(runs, config.sequence_length, config.width) if config.positions == "learned" else None
        table = torch.empty(0, config.width) if self.places else sinusoids(config.sequence_length, config.width)
        self.register_buffer("sinusoids", table, persistent=False)
        sizes = config.model_dump(include={"width", "num_heads", "feedforward", "dropout", "sequence_length"})
        layer = EncoderConfig(**sizes)
        self.layers = nn.ModuleList(EncoderLayer(runs, layer, 4 * index) for index in range(config.num_layers))
        self.head = Linear(runs, config.width, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Past | None = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: the tokens before, of the same R × B sequences; ``None``: at the beginning. They are gone through
                again, so that a sequence in chunks gives the outputs of the whole, and takes longer. Dropout would draw
                other noise for it: a state is for evaluation, or for training without dropout.

        Raises:
            ValueError: with the tokens before there are more than ``sequence_length``.
        """
        del hyper
        tokens = batch.inputs if state is None else torch.cat([state.tokens, batch.inputs], 2)
        runs, _, time = tokens.shape
        if time > self.config.sequence_length:
            raise ValueError(f"{time} tokens; allowed: at most sequence_length = {self.config.sequence_length}")
        x = self.input(tokens)
        x = (x if self.widen is None else self.widen(x)) + self._places(runs, time)
        mask = causal_window(time, time, tokens.device)
        key = batch.noise_key if self.training else None
        for layer in self.layers:
            x = layer(x, mask, key)
        logits = self.head(self.config.at_asked_steps(x[:, :, time - batch.inputs.shape[2] :], batch.start))
        return ModelOutput(logits, {}, None, Past(tokens))

    def _places(self, runs: int, time: int) -> Float[Tensor, "... time width"]:
        """What is added to the features of the first ``time`` tokens."""
        if self.places is None:
            return self.sinusoids[:time]  # type: ignore[index]
        return self.places(torch.arange(time, device=self.places.weight.device).expand(runs, time))[:, None]

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)
