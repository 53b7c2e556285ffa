"""A Transformer encoder for every run of a pack; layers compute as PyTorch's default ``nn.TransformerEncoderLayer``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.layers.attention import SelfAttention
from palimpsest.layers.embedding import Embedding
from palimpsest.layers.encoding import Question, SequenceConfig, WideInput
from palimpsest.layers.linear import Linear
from palimpsest.layers.noise import dropout
from palimpsest.layers.norm import LayerNorm


class EncoderConfig(SequenceConfig):
    """Sizes of a token encoder."""

    num_outputs: int = Field(10, ge=1, description="outputs O of an asked step: bits or classes (set by the task)")
    sequence_length: int = Field(64, ge=1, description="tokens T of the longest sequence (set by the task)")
    width: int = Field(128, ge=1, description="features D of a token")
    num_heads: int = Field(4, ge=1, description="attention heads; divides width")
    num_layers: int = Field(2, ge=1, description="encoder layers")
    feedforward: int = Field(256, ge=1, description="hidden units of the position-wise network")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout rate in the encoder")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> EncoderConfig:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}; allowed: a divisor")
        return self


class EncoderLayer(nn.Module):
    """Attention, then a ReLU network; each is followed by dropout, a residual sum and a norm (post-norm)."""

    def __init__(self, runs: int, config: EncoderConfig, stream: int) -> None:
        super().__init__()
        self.rate, self.stream = config.dropout, stream
        self.attention = SelfAttention(runs, config.width, config.num_heads, config.dropout, stream)
        self.norm_attention = LayerNorm(runs, config.width)
        self.expand = Linear(runs, config.width, config.feedforward)
        self.contract = Linear(runs, config.feedforward, config.width)
        self.norm_feedforward = LayerNorm(runs, config.width)

    def forward(
        self,
        x: Float[Tensor, "runs batch time width"],
        mask: Bool[Tensor, "time time"] | None,
        noise_key: Int[Tensor, " runs"] | None,
    ) -> Float[Tensor, "runs batch time width"]:
        """X ← norm(x + attention(x)); x ← norm(x + W₂ ReLU(W₁ x))."""
        attended = dropout(self.attention(x, mask, noise_key), self.rate, noise_key, self.stream + 1)
        x = self.norm_attention(x, attended)
        hidden = dropout(self.expand(x, relu=True), self.rate, noise_key, self.stream + 2)
        return self.norm_feedforward(x, dropout(self.contract(hidden), self.rate, noise_key, self.stream + 3))


class TokenEncoder(nn.Module):
    """Token and position embeddings, then encoder layers over the sequence or over segments of it."""

    def __init__(self, runs: int, config: EncoderConfig) -> None:
        super().__init__()
        learned = config.code == "learned"
        self.tokens = Embedding(runs, config.num_tokens, config.width) if learned else WideInput(runs, config)
        self.positions = Embedding(runs, config.sequence_length, config.width)
        self.layers = nn.ModuleList(EncoderLayer(runs, config, 4 * index) for index in range(config.num_layers))

    def forward(
        self,
        inputs: Int[Tensor, "runs batch time"],
        *,
        start: int = 0,
        segment: int | None = None,
        window: int | None = None,
        noise_key: Int[Tensor, " runs"] | None = None,
    ) -> Float[Tensor, "runs batch time width"]:
        """Encode tokens at positions start, start + 1 and so on.

        Args:
            inputs: tokens; ``segment``, if given, divides their number.
            start: position of the first token.
            segment: number of consecutive tokens that attend to each other; ``None``: all.
            window: number of tokens that a token attends to, up to and including itself; ``None``: all tokens, also
                later ones.
            noise_key: key of the dropout noise; ``None`` switches dropout off.
        """
        runs, batch, time = inputs.shape
        positions = torch.arange(start, start + time, device=inputs.device).expand(runs, time)
        x = self.tokens(inputs) + self.positions(positions)[:, None]
        mask = None if window is None else causal_window(time if segment is None else segment, window, inputs.device)
        if segment is not None:
            x = x.view(runs, batch * (time // segment), segment, -1)
        for layer in self.layers:
            x = layer(x, mask, noise_key)
        return x.reshape(runs, batch, time, -1)

    def states_that_ask(
        self,
        inputs: Int[Tensor, "runs batch time"],
        questions: Sequence[Question],
        *,
        start: int = 0,
        segment: int,
        window: int | None = None,
        noise_key: Int[Tensor, " runs"] | None = None,
    ) -> Float[Tensor, "runs batch questions width"]:
        """Encode only the segments in which questions stand, each by itself, and return the states that ask.

        Args:
            inputs: tokens, from the first of a segment on.
            questions: what is asked.
            start: position of the first token.
            segment: tokens that see each other.
            window: how far back a token sees, itself included; ``None``: both ways without limit.
            noise_key: for dropout; ``None`` switches it off.
        """
        encoded: dict[int, Tensor] = {}
        states = []
        for question in questions:
            first = question.token - question.token % segment
            if first not in encoded:
                piece = inputs[:, :, first : first + segment]
                encoded[first] = self(piece, start=start + first, window=window, noise_key=noise_key)
            states.append(encoded[first][:, :, question.token - first])
        if not states:
            return self.positions.weight.new_zeros(*inputs.shape[:2], 0, self.positions.weight.shape[-1])
        return states[0][:, :, None] if len(states) == 1 else torch.stack(states, 2)


def causal_window(time: int, window: int, device: torch.device | Literal["cpu"] = "cpu") -> Bool[Tensor, "time time"]:
    """Return True where position t (row) may attend to position s (column): t − window < s ≤ t."""
    distance = torch.arange(time, device=device)[:, None] - torch.arange(time, device=device)[None, :]
    return (distance >= 0) & (distance < window)
