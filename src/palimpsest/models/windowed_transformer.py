"""Baseline: MemNet's controller alone; what lies before its receptive field of L (W - 1) + 1 tokens is out of sight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.encoding import WideInput
from palimpsest.layers.linear import Linear
from palimpsest.memory.control import Control
from palimpsest.models import Batch, ModelOutput
from palimpsest.models.shared.window import TransformerController, WindowConfig

Past = Float[Tensor, "runs batch layers seen width"]


class Config(WindowConfig):
    """Parameters of a Transformer with a window."""


class Model(nn.Module):
    """Tokens → layers that see a window → logits at the asked steps.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.input = WideInput(runs, config)
        self.controller = TransformerController(runs, config)
        self.head = Linear(runs, config.width, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Past | None = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: what the layers still see of the tokens before; ``None``: at the beginning.
        """
        del hyper
        runs, size, _ = batch.inputs.shape
        if state is None:
            state = self.head.weight.new_zeros(runs, size, self.config.num_layers, 0, self.config.width)
        x = self.input(batch.inputs)
        outputs, inputs = self.controller(x, state, batch.noise_key if self.training else None)
        logits = self.head(self.config.at_asked_steps(outputs, batch.start))
        return ModelOutput(logits, {}, None, self.controller.needed(inputs))

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)
