"""Baseline: the language model without a memory. It sees its segment, a sliding window, or everything (source 003)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.layers.decoder import Decoder, DecoderConfig
from palimpsest.layers.transformer import causal_window
from palimpsest.memory.control import Control
from palimpsest.models import Batch, ModelOutput
from palimpsest.models.shared.language import Segmented, Tokens, open_part


class Config(DecoderConfig):
    """Parameters of a language model."""

    sight: Literal["segment", "window", "full"] = Field(
        "segment",
        description="tokens that a layer sees: those of the same segment of W; the last W, as with a sliding cache; "
        "or all before",
    )

    @model_validator(mode="after")
    def _positions_reach(self) -> Config:
        if self.shape == "gpt2" and self.sight != "segment":
            raise ValueError(f"sight {self.sight!r} with {self.window} learned positions; allowed: segment")
        return self


class Past(NamedTuple):
    """What the layers still see of the tokens before; they are gone through again."""

    tokens: Tokens


class Model(nn.Module):
    """Tokens → blocks → norm → logits at the asked steps.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.base = Decoder(runs, config)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Past | None = None) -> ModelOutput:
        """Logits (R, B, Q, V) at the asked steps.

        Args:
            batch: tokens of R × B texts, or of parts of them.
            hyper: not used.
            state: after the tokens before; ``None``: at the beginning.
        """
        del hyper
        tokens = batch.inputs if state is None or not batch.start else torch.cat([state.tokens, batch.inputs], 2)
        known, window = tokens.shape[2] - batch.inputs.shape[2], self.config.window
        if self.config.sight == "segment":
            parts = Segmented(self.base)
            x, kept = parts.through(parts.embed(tokens), slice(None)), open_part(tokens, window)
        else:
            x, kept = self._over_all(tokens), tokens
        logits = self.base.logits(self.base.norm(self.config.at_asked_steps(x[:, :, known:], batch.start)))
        return ModelOutput(logits, {}, None, Past(kept))

    def _over_all(self, tokens: Tokens) -> Tensor:
        """Features behind the last block of a text that is not cut."""
        time = tokens.shape[2]
        places = torch.arange(time, device=tokens.device)
        mask = causal_window(time, self.config.window if self.config.sight == "window" else time, tokens.device)
        return self.base.through(self.base.embed(tokens, places), places, mask, slice(None))

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)
