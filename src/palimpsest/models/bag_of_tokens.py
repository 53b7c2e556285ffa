"""Control: a network that sees how often each token has come, and nothing of their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from palimpsest.layers.encoding import SequenceConfig, TokenInput
from palimpsest.layers.linear import Linear
from palimpsest.memory.control import Control
from palimpsest.models import Batch, ModelOutput


class Config(SequenceConfig):
    """Parameters of a bag of tokens."""

    hidden: int = Field(64, ge=1, description="hidden units; sets how many parameters there are")


class Bag(NamedTuple):
    """What a bag carries from one part of a sequence to the next."""

    total: Float[Tensor, "runs batch features"]
    """Sum of the features of all tokens so far."""


class Model(nn.Module):
    """Sum of token vectors → one hidden layer → logits.

        y_t = V ReLU(W Σ_{s ≤ t} x_s + b) + c

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.input = TokenInput(runs, config)
        self.hidden = Linear(runs, self.input.d_out, config.hidden)
        self.head = Linear(runs, config.hidden, config.num_outputs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Bag | None = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: after the tokens before; ``None``: at the beginning.
        """
        del hyper
        sums = self.input(batch.inputs).cumsum(2)
        if state is not None:
            sums = sums + state.total[:, :, None]
        asked = self.config.at_asked_steps(sums, batch.start)
        return ModelOutput(self.head(self.hidden(asked, relu=True)), {}, None, Bag(sums[:, :, -1]))

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)
