"""Multilayer perceptron: dense layers over a whole sequence, e.g. an image that is shown pixel by pixel.

It has no memory. What it keeps of earlier tasks is what its weights keep, so that it shows what a method of continual
learning does. An answer at a step depends on the tokens until then, each with weights of its own place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from palimpsest.layers.encoding import SequenceConfig, TokenInput
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product
from palimpsest.memory.control import Control
from palimpsest.models import Batch, ModelOutput


class Config(SequenceConfig):
    """Parameters of a perceptron."""

    tokens: Literal["codes", "levels"] = Field(
        "codes", description="what a token is: what its code says, or a level from 0 on, as of a pixel"
    )
    largest_level: float = Field(1.0, gt=0, description="input for the last token, where tokens are levels")
    hidden: int = Field(100, ge=1, description="units of each hidden layer; sets how many parameters there are")
    num_layers: int = Field(2, ge=1, description="hidden layers on top of each other")


class SumState(NamedTuple):
    """What the first layer carries along a sequence."""

    total: Float[Tensor, "runs batch hidden"]
    """Sum of what the tokens so far contribute."""


class DenseOverTime(nn.Module):
    """y_q = b + Σ_{t ≤ q} x_t W_t for every run, with a matrix W_t for each place.

    Args:
        runs: size R of the pack.
        time: places T.
        d_in: features of a token.
        d_out: features out.
    """

    def __init__(self, runs: int, time: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.weight = nn.Parameter(torch.empty(runs, time * d_in, d_out))
        self.bias = nn.Parameter(torch.empty(runs, d_out))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw W and b from U(±1/√(T d_in)), as PyTorch's ``nn.Linear`` does, each run's with its own generator."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        for weight, bias, generator in zip(self.weight, self.bias, generators, strict=True):
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)

    def contribution(self, x: Float[Tensor, "runs batch time d_in"], start: int) -> Float[Tensor, "runs batch d_out"]:
        """Σ_t x_t W_t over a part of a sequence that begins at place ``start``."""
        flat = x.flatten(2)
        first = start * self.d_in
        return product(flat, self.weight[:, first : first + flat.shape[2]])


class Model(nn.Module):
    """Tokens → dense layers with ReLU → logits at the asked steps.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.input = TokenInput(runs, config) if config.tokens == "codes" else None
        features = 1 if self.input is None else self.input.d_out
        self.first = DenseOverTime(runs, config.sequence_length, features, config.hidden)
        self.others = nn.ModuleList(Linear(runs, config.hidden, config.hidden) for _ in range(config.num_layers - 1))
        self.head = Linear(runs, config.hidden, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: SumState | None = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: of the tokens before; ``None``: at the beginning.
        """
        del hyper
        x, start = self._features(batch.inputs), batch.start
        runs, size, time, _ = x.shape
        total = x.new_zeros(runs, size, self.first.d_out) if state is None else state.total
        totals, done = [], 0
        for question in self.config.questions(start, time):
            total = total + self.first.contribution(x[:, :, done : question.step + 1], start + done)
            done = question.step + 1
            totals.append(total)
        if done < time:
            total = total + self.first.contribution(x[:, :, done:], start + done)
        sums = torch.stack(totals, 2) if totals else x.new_zeros(runs, size, 0, self.first.d_out)
        hidden = (sums + self.first.bias[:, None, None]).relu()
        for layer in self.others:
            hidden = layer(hidden, relu=True)
        return ModelOutput(self.head(hidden), {}, None, SumState(total))

    def _features(self, inputs: Tensor) -> Float[Tensor, "runs batch time features"]:
        """What each token is to the first layer."""
        if self.input is not None:
            return self.input(inputs)
        step = self.config.largest_level / max(1, self.config.num_tokens - 1)
        return (inputs.to(self.first.weight.dtype) * step)[..., None]

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)
