"""TemporalMemoryModel: an encoder and memories that reach back differently far (source 004)."""

from __future__ import annotations

from pydantic import Field

from palimpsest.layers.encoding import SequenceConfig
from palimpsest.memory.temporal import TemporalMemory
from palimpsest.models.shared.recurrent import RecurrentModel


class Config(SequenceConfig):
    """Parameters of the encoder and of its memories."""

    hidden: int = Field(64, ge=1, description="units of the encoder, a GRU")
    num_slots: int = Field(16, ge=1, description="slots N of the scale that reaches back most; others have fewer")
    slot_dim: int = Field(16, ge=1, description="features W of a slot")
    num_scales: int = Field(3, ge=1, le=16, description="scales K; each has half as many slots as the next")


class Model(RecurrentModel):
    """Tokens → :class:`TemporalMemory` → logits at every step.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    config: Config

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__(config, runs)

    def make_cell(self, runs: int, d_in: int) -> TemporalMemory:
        """The memory that the config describes."""
        config = self.config
        return TemporalMemory(runs, d_in, config.hidden, config.num_slots, config.slot_dim, config.num_scales)
