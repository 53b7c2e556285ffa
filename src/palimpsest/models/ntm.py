"""Neural Turing Machine: a controller with heads that read and write a memory [Graves, Wayne, Danihelka 2014]."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from palimpsest.layers.encoding import SequenceConfig
from palimpsest.memory.ntm import NTMCell
from palimpsest.models.shared.recurrent import RecurrentModel


class Config(SequenceConfig):
    """Parameters of an NTM; sizes by default are the paper's for the copy task."""

    controller: Literal["lstm", "gru", "feedforward"] = Field("lstm", description="network that drives the heads")
    hidden: int = Field(100, ge=1, description="units of the controller")
    num_slots: int = Field(128, ge=1, description="slots N of the memory")
    slot_dim: int = Field(20, ge=1, description="features W of a slot")
    num_read_heads: int = Field(1, ge=1, description="heads that read")
    num_write_heads: int = Field(1, ge=1, description="heads that write")
    max_shift: int = Field(1, ge=0, description="slots that a head's place moves at most in a step, to either side")
    memory: Literal["constant", "learned", "random"] = Field("constant", description="what the memory holds at first")
    weights: Literal["first", "learned"] = Field("first", description="where the heads stand at first")
    similarity: Literal["cosine", "dot"] = Field("cosine", description="by which keys are compared with slots")
    softmax_over: Literal["slots", "batch"] = Field(
        "slots", description="axis of the softmax by content; batch: the defect of source 004's public code"
    )

    @model_validator(mode="after")
    def _shifts_fit(self) -> Config:
        if 2 * self.max_shift >= self.num_slots:
            raise ValueError(
                f"max_shift {self.max_shift} goes round {self.num_slots} slots; "
                f"allowed: 0 to {(self.num_slots - 1) // 2}"
            )
        return self


class Model(RecurrentModel):
    """Tokens → NTM → logits at every step.

    Args:
        config: sizes and switches.
        runs: size R of the pack.
    """

    config: Config

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__(config, runs)

    def make_cell(self, runs: int, d_in: int) -> NTMCell:
        """The NTM that the config describes."""
        config = self.config
        return NTMCell(
            runs,
            d_in,
            config.hidden,
            config.num_slots,
            config.slot_dim,
            num_read_heads=config.num_read_heads,
            num_write_heads=config.num_write_heads,
            max_shift=config.max_shift,
            controller=config.controller,
            memory=config.memory,
            weights=config.weights,
            similarity=config.similarity,
            softmax_over=config.softmax_over,
        )
