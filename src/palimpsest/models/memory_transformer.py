"""A Transformer over segments with slots that are carried from segment to segment (source 004; Wu et al. 2020)."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.layers.encoding import SequenceConfig
from palimpsest.layers.linear import Linear
from palimpsest.memory.segments import SegmentMemory, SegmentRecord
from palimpsest.models import Batch, ModelOutput
from palimpsest.models.shared.recurrent import RecurrentModel


class Config(SequenceConfig):
    """Parameters of a memory Transformer; ``width`` is that of all its layers and slots, whatever tokens are to it."""

    num_heads: int = Field(4, ge=1, description="attention heads; divides width")
    num_layers: int = Field(2, ge=1, description="layers on top of each other, each with slots of its own")
    feedforward: int = Field(64, ge=1, description="hidden units of the position-wise network")
    segment: int = Field(16, ge=1, description="tokens that see each other; older ones are seen through the slots")
    num_slots: int = Field(16, ge=1, description="slots N of each layer, each of the layer's width")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Config:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}; allowed: a divisor")
        return self


class Model(RecurrentModel):
    """Tokens → layers that see the segment so far and the slots → logits at every step.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    config: Config

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__(config, runs)
        self.widen = Linear(runs, self.input.d_out, config.width) if config.code == "bits" else None

    def make_cell(self, runs: int, d_in: int) -> SegmentMemory:
        """The layers, for inputs that were widened."""
        del d_in
        config = self.config
        return SegmentMemory(
            runs,
            config.width,
            config.num_slots,
            num_heads=config.num_heads,
            feedforward=config.feedforward,
            segment=config.segment,
            num_layers=config.num_layers,
        )

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Any = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps; if it is watched, it records the reads of all layers.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: after the tokens before; ``None``: at the beginning.
        """
        del hyper
        before = self.cell.initial_state(batch.inputs.shape[1]) if state is None else state
        features = self.input(batch.inputs)
        features = features if self.widen is None else self.widen(features)
        outputs, after, weights = self.cell.observed(features, before, batch.control)
        record = None if batch.watch is None else SegmentRecord(weights.detach())
        return ModelOutput(self.answer(outputs, batch), {}, record, after)
