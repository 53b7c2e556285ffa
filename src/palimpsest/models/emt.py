"""EMT: a language model that sees one segment at a time, and slots that it reads and writes (source 003).

The published reading and the repaired one are two settings of the same parts:

================  ===============================  ==========================================
                  published                        repaired
================  ===============================  ==========================================
``layer``         last: behind the last norm       0: between blocks
training          none: the memory is random       the base on text, then the memory alone
================  ===============================  ==========================================

Trained in phases: ``base.*`` on text, then ``memory.*`` on texts that ask for what they said.
:func:`palimpsest.language.export.to_transformers` and :class:`palimpsest.language.module.MemoryModule` take both apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.foundation.sections import PerRun
from palimpsest.layers.decoder import Decoder, DecoderConfig
from palimpsest.memory.enhanced import EnhancedMemory, EnhancedState, Rates
from palimpsest.models import Batch, Control, ModelOutput, under
from palimpsest.models.shared.language import Features, Segmented, Tokens, open_part

LAST = "last"


class Config(DecoderConfig):
    """Parameters of EMT; the defaults of the memory are those that the source calls optimal [Section 4]."""

    num_slots: int = Field(64, ge=1, description="slots N")
    slot_dim: int = Field(256, ge=1, description="features of a slot")
    num_memory_heads: int = Field(4, ge=1, description="heads of the memory's attentions; divides slot_dim")
    layer: Annotated[int, Field(ge=0)] | Literal["last"] = Field(
        LAST, description="behind which block the memory stands; last: behind the last norm"
    )
    update_rate: Annotated[float, PerRun()] = Field(
        0.5, ge=0, le=1, description="how far a slot moves to its candidate"
    )
    feedback: Annotated[float, PerRun()] = Field(0.7, ge=0, le=1, description="weight of what is read")
    blend: Annotated[float, PerRun()] = Field(0.6, ge=0, le=1, description="share of the enhanced features")
    initial_gain: float = Field(1.0, description="gain of what is read, before training")

    @model_validator(mode="after")
    def _memory_fits(self) -> Config:
        if self.slot_dim % self.num_memory_heads:
            raise ValueError(
                f"num_memory_heads {self.num_memory_heads} does not divide slot_dim {self.slot_dim}; allowed: a divisor"
            )
        if self.layer != LAST and self.layer >= self.num_layers:
            raise ValueError(f"layer {self.layer} is no block; allowed: 0 to {self.num_layers - 1}, or {LAST}")
        return self


class State(NamedTuple):
    """What is carried from one part of a text to the next."""

    memory: EnhancedState
    tokens: Tokens
    """Of the segment that is not complete."""
    features: Features
    """Of the same tokens, behind the memory."""


class Model(nn.Module):
    """Tokens → blocks up to the memory's place, each segment by itself → memory → the other blocks → logits.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.base = Decoder(runs, config)
        self.memory = EnhancedMemory(
            runs,
            config.width,
            config.num_slots,
            config.slot_dim,
            config.num_memory_heads,
            segment=config.window,
            initial_gain=config.initial_gain,
        )
        self.before = slice(0, None) if config.layer == LAST else slice(0, int(config.layer) + 1)
        self.behind = slice(config.num_layers, None) if config.layer == LAST else slice(int(config.layer) + 1, None)

    def initial_state(self, batch: int) -> State:
        """Return empty slots and no tokens."""
        gain = self.memory.gain
        return State(
            memory=self.memory.initial_state(batch),
            tokens=torch.zeros(len(gain), batch, 0, dtype=torch.int64, device=gain.device),
            features=gain.new_zeros(len(gain), batch, 0, self.config.width),
        )

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: State | None = None) -> ModelOutput:
        """Logits (R, B, Q, V) at the asked steps.

        Args:
            batch: tokens of R × B texts, or of parts of them.
            hyper: ``update_rate``, ``feedback`` and ``blend``, each (R,).
            state: after the tokens before; ``None``: empty slots.
        """
        begun = self._begun(batch, state)
        return self._remember(batch, self._encode(batch, begun), begun, hyper)

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """Output under each control: what comes before the memory is encoded once. Nothing is written at random."""
        begun: dict[Control, State] = {control: self._begun(batch, state) for control, state in states.items()}
        x = self._encode(batch, next(iter(begun.values())))
        return [self._remember(under(batch, control), x, state, hyper) for control, state in begun.items()]

    def _begun(self, batch: Batch, state: State | None) -> State:
        return self.initial_state(batch.inputs.shape[1]) if state is None or not batch.start else state

    def _encode(self, batch: Batch, state: State) -> Features:
        """Features of the open segment's tokens and of the new ones, where the memory stands."""
        parts = Segmented(self.base)
        x = parts.through(parts.embed(torch.cat([state.tokens, batch.inputs], 2)), self.before)
        return self.base.norm(x) if self.config.layer == LAST else x

    def _remember(self, batch: Batch, x: Features, state: State, hyper: dict[str, Tensor]) -> ModelOutput:
        known, window = state.tokens.shape[2], self.config.window
        rates = Rates(*(hyper[name][:, None, None, None].to(x.dtype) for name in Rates._fields))
        new, memory, record = self.memory(x[:, :, known:], state.memory, control=batch.control, rates=rates)
        features = torch.cat([state.features, new], 2)
        y = features
        if self.config.layer != LAST:
            y = self.base.norm(Segmented(self.base).through(features, self.behind))
        logits = self.base.logits(self.config.at_asked_steps(y[:, :, known:], batch.start))
        tokens = torch.cat([state.tokens, batch.inputs], 2)
        after = State(memory, open_part(tokens, window), open_part(features, window))
        return ModelOutput(logits, {}, None if batch.watch is None else record, after)
