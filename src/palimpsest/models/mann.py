"""Memory-augmented neural network [Santoro et al. 2016]: an LSTM whose memory is written where it was least used.

It is :mod:`palimpsest.models.memory_rnn` with memory ``least_recently_used``, in the paper's sizes and with its decay.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from palimpsest.layers.encoding import SequenceConfig
from palimpsest.memory.controlled import ControlledMemory
from palimpsest.memory.least_recently_used import LeastRecentlyUsedAccess
from palimpsest.models.shared.recurrent import RecurrentModel


class Config(SequenceConfig):
    """Parameters of the network; sizes by default are those of the paper's experiments."""

    hidden: int = Field(200, ge=1, description="units of the controller")
    num_slots: int = Field(128, ge=1, description="slots N of the memory")
    slot_dim: int = Field(40, ge=1, description="features W of a slot")
    num_read_heads: int = Field(4, ge=1, description="heads H, each of which reads and writes")
    decay: float = Field(0.99, ge=0, lt=1, description="decay γ of usage a step")

    @model_validator(mode="after")
    def _every_head_has_a_slot(self) -> Config:
        if self.num_read_heads > self.num_slots:
            raise ValueError(
                f"num_read_heads {self.num_read_heads} exceeds num_slots {self.num_slots}; allowed: up to it"
            )
        return self


class Model(RecurrentModel):
    """Tokens → LSTM and memory → logits at every step, from [h; r]    [Santoro 2016, Section 3].

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    config: Config

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__(config, runs)

    def make_cell(self, runs: int, d_in: int) -> ControlledMemory:
        """The controller and its memory."""
        config = self.config
        memory = LeastRecentlyUsedAccess(
            runs, config.hidden, config.num_slots, config.slot_dim, config.num_read_heads, decay=config.decay
        )
        return ControlledMemory(runs, d_in, config.hidden, memory)
