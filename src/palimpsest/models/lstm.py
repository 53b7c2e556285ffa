"""Baseline: LSTM layers on top of each other; what they keep of a sequence is what their units hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from palimpsest.layers.cells import LSTMCell, LSTMState
from palimpsest.layers.encoding import SequenceConfig
from palimpsest.memory.control import Control
from palimpsest.models import Batch, ModelOutput
from palimpsest.models.shared.recurrent import RecurrentModel


class Config(SequenceConfig):
    """Parameters of an LSTM."""

    hidden: int = Field(128, ge=1, description="units of each layer; sets how many parameters there are")
    num_layers: int = Field(1, ge=1, description="layers on top of each other")


class StackState(NamedTuple):
    """What a stack carries from step to step."""

    layers: tuple[LSTMState, ...]
    """Of each layer, from the input up."""


class LSTMStack(nn.Module):
    """LSTM cells, each of which takes the outputs of the one below [Graves, Mohamed, Hinton 2013, eq. 10].

    Args:
        runs: size R of the pack.
        d_in: features in.
        hidden: units K of each layer, which are the features out.
        num_layers: how many.
    """

    def __init__(self, runs: int, d_in: int, hidden: int, num_layers: int) -> None:
        super().__init__()
        self.d_out = hidden
        self.layers = nn.ModuleList(LSTMCell(runs, hidden if index else d_in, hidden) for index in range(num_layers))

    def initial_state(self, batch: int) -> StackState:
        """Zeros."""
        return StackState(tuple(cell.initial_state(batch) for cell in self.layers))  # type: ignore[operator]

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: StackState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch hidden"], StackState]:
        """One step: the output of the uppermost layer, and the state; there is no memory that a control could touch."""
        del control
        after = []
        for cell, before in zip(self.layers, state.layers, strict=True):
            x, now = cell.step(x, before)  # type: ignore[operator]
            after.append(now)
        return x, StackState(tuple(after))


class Model(RecurrentModel):
    """Tokens → LSTM → logits at every step.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    config: Config

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__(config, runs)

    def make_cell(self, runs: int, d_in: int) -> LSTMStack:
        """The stack that the config describes."""
        return LSTMStack(runs, d_in, self.config.hidden, self.config.num_layers)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: StackState | None = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps; arguments as those of :class:`RecurrentModel`.

        Layer by layer, not step by step: what a layer's inputs contribute is then one product for the whole sequence.
        """
        del hyper
        features: Float[Tensor, "runs batch time features"] = self.input(batch.inputs)
        carried = self.cell.initial_state(batch.inputs.shape[1]) if state is None else state
        after = []
        for cell, now in zip(self.cell.layers, carried.layers, strict=True):
            outputs = []
            for of_input in cell.of_input(features).unbind(2):
                y, now = cell.advance(of_input, now)
                outputs.append(y)
            features = torch.stack(outputs, 2)
            after.append(now)
        return ModelOutput(self.answer(features, batch), {}, None, StackState(tuple(after)))

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)
