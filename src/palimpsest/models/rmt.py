"""Baseline: a language model whose memory are tokens that every segment begins with and writes at its end (RMT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from palimpsest.layers.decoder import Decoder, DecoderConfig
from palimpsest.layers.linear import Linear
from palimpsest.layers.transformer import causal_window
from palimpsest.memory.control import Control, shuffle_memory, silence_reads
from palimpsest.models import Batch, ModelOutput
from palimpsest.models.shared.language import Features, Segmented, Tokens, open_part

Memory = Float[Tensor, "runs batch memory_tokens width"]


class Config(DecoderConfig):
    """Parameters of a recurrent memory Transformer."""

    memory_tokens: int = Field(8, ge=1, description="tokens M of the memory")
    memory_hidden: int = Field(
        64, ge=1, description="hidden units of the map between segments; sets how many parameters there are"
    )


class State(NamedTuple):
    """What is carried from one part of a text to the next."""

    memory: Memory
    """After the last complete segment."""
    tokens: Tokens
    """Of the segment that is not complete."""


class Model(nn.Module):
    """Segments one by one, [m, x_1 … x_W, m]: the base's outputs at the last M places are the next memory.

        h = blocks([m, x, m]),   m' = h_w + W₂ max(0, W₁ h_w + b₁) + b₂    [Bulatov et al. 2022, Section 3.2]

    Deviates: the map W₂ … is ours, so that a frozen base has as many trained parameters beside it as EMT. Memory tokens
    read at the first position of a segment and write at its last.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.base = Decoder(runs, config)
        self.memory = MemoryTokens(runs, config)

    def initial_state(self, batch: int) -> State:
        """Return the learned first memory, and no tokens."""
        first = self.memory.first
        return State(
            memory=first[:, None].expand(-1, batch, -1, -1),
            tokens=torch.zeros(len(first), batch, 0, dtype=torch.int64, device=first.device),
        )

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: State | None = None) -> ModelOutput:
        """Logits (R, B, Q, V) at the asked steps.

        Args:
            batch: tokens of R × B texts, or of parts of them.
            hyper: not used.
            state: after the tokens before; ``None``: the first memory.
        """
        del hyper
        state = self.initial_state(batch.inputs.shape[1]) if state is None or not batch.start else state
        tokens, known = torch.cat([state.tokens, batch.inputs], 2), state.tokens.shape[2]
        memory, outputs = state.memory, []
        for part in Segmented(self.base).embed(tokens).split(self.config.window, 2):
            y, memory = self._segment(part, memory, batch.control)
            outputs.append(y)
        x = self.config.at_asked_steps(torch.cat(outputs, 2)[:, :, known:], batch.start)
        logits = self.base.logits(self.base.norm(x))
        return ModelOutput(logits, {}, None, State(memory, open_part(tokens, self.config.window)))

    def _segment(self, x: Features, memory: Memory, control: Control) -> tuple[Features, Memory]:
        """Go through a segment, and, if it is complete, write its memory."""
        count, time, window = memory.shape[2], x.shape[2], self.config.window
        read = silence_reads(shuffle_memory(memory, control), control)
        complete = time == window
        row = torch.cat([read, x, memory] if complete else [read, x], 2)
        step = torch.arange(row.shape[2], device=x.device)
        places = (step - count).clamp(0, window - 1)
        mask = causal_window(len(step), len(step), x.device)
        y = self.base.through(row, places, mask, slice(None))
        after = self.memory(y[:, :, count + time :]) if complete else memory
        return y[:, :, count : count + time], after


class MemoryTokens(nn.Module):
    """The first memory, and the map from what a segment leaves to what the next one reads.

    Args:
        runs: size R of the pack.
        config: sizes.
    """

    def __init__(self, runs: int, config: Config) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(runs, config.memory_tokens, config.width))
        self.expand = Linear(runs, config.width, config.memory_hidden)
        self.contract = Linear(runs, config.memory_hidden, config.width, bias_value=0.0)

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's first memory from N(0, 1), as tokens are; the maps draw their own."""
        for first, generator in zip(self.first, generators, strict=True):
            first.normal_(generator=generator)

    def forward(self, left: Memory) -> Memory:
        """Return the memory that the next segment reads."""
        return left + self.contract(self.expand(left, relu=True))
