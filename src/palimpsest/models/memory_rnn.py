"""An LSTM with an external memory of any kind: the same network around each of the memories of source 004."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.encoding import SequenceConfig
from palimpsest.memory.controlled import ControlledMemory
from palimpsest.memory.named import MemoryName, module_of, named_memory
from palimpsest.models.shared.recurrent import RecurrentModel


class Config(SequenceConfig):
    """Parameters of the controller and of the memory; what else a memory has is as it is by default."""

    memory: MemoryName = Field("attention", description="the controller's memory: a file of src/palimpsest/memory")
    hidden: int = Field(64, ge=1, description="units of the controller")
    num_slots: int = Field(16, ge=1, description="slots N of the memory")
    slot_dim: int = Field(16, ge=1, description="features W of a slot")
    num_read_heads: int = Field(1, ge=1, description="heads H that read; 1 for memory cell, which has none")

    @model_validator(mode="after")
    def _memory_comes_in_these_sizes(self) -> Config:
        try:
            named_memory(self.memory, 1, 1, self.num_slots, self.slot_dim, self.num_read_heads)
        except ParameterError as error:
            raise ValueError(str(error)) from None
        return self


class Model(RecurrentModel):
    """Tokens → LSTM and memory → logits at every step; that map is of [h; r] (:class:`ControlledMemory`).

    Args:
        config: sizes, and which memory.
        runs: size R of the pack.
    """

    config: Config

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__(config, runs)

    def make_cell(self, runs: int, d_in: int) -> ControlledMemory:
        """The controller and the memory that the config names."""
        config = self.config
        memory = named_memory(
            config.memory, runs, config.hidden, config.num_slots, config.slot_dim, config.num_read_heads
        )
        return ControlledMemory(runs, d_in, config.hidden, memory)


def chosen_modules(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The module of the memory that a config names; see :func:`palimpsest.models.chosen_modules`."""
    return (module_of(config["memory"]),)
