"""Causal encoder layers that see a window of tokens, and can go on where an earlier part of a sequence ended."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.layers.relative import RelativeLayer
from palimpsest.layers.transformer import EncoderConfig

Features = Float[Tensor, "runs batch time width"]


class WindowConfig(EncoderConfig):
    """Sizes of the layers."""

    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate in the layers")
    window: int | None = Field(
        16, ge=1, description="tokens that a layer sees, the present one included; null: all before"
    )

    @model_validator(mode="after")
    def _window_lies_in_the_sequence(self) -> WindowConfig:
        if self.window is not None and self.window > self.sequence_length:
            raise ValueError(
                f"window {self.window} exceeds the sequence; allowed: 1 to {self.sequence_length}, or null"
            )
        return self


class TransformerController(nn.Module):
    """Causal encoder layers, each of which sees a window; what it saw before comes in as ``past``.

    Through L layers a token depends on L (W − 1) + 1 tokens: distances within this receptive field need no memory.
    """

    def __init__(self, runs: int, config: WindowConfig) -> None:
        super().__init__()
        self.window = config.window
        window = config.sequence_length if config.window is None else config.window
        self.layers = nn.ModuleList(
            RelativeLayer(runs, config, window, 4 * index) for index in range(config.num_layers)
        )

    def forward(
        self, x: Features, past: Float[Tensor, "runs batch layers seen width"], noise_key: Tensor | None = None
    ) -> tuple[Features, Float[Tensor, "runs batch layers seen_and_time width"]]:
        """Return the last layer's outputs, and the inputs of every layer, those of the past first."""
        inputs = []
        for layer, before in zip(self.layers, past.unbind(2), strict=True):
            inputs.append(torch.cat([before, x], 2))
            x = layer(inputs[-1], x.shape[2], noise_key)
        return x, torch.stack(inputs, 2)

    def needed(
        self, inputs: Float[Tensor, "runs batch layers time width"]
    ) -> Float[Tensor, "runs batch layers seen width"]:
        """Return the inputs that later tokens still see: the last W − 1 of each layer, or all without a window."""
        time = inputs.shape[3]
        return inputs[:, :, :, 0 if self.window is None else max(0, time - self.window + 1) :]
