"""Baseline: NeMA-LC's slots without its budget: as many as memory steps, so that everything is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from palimpsest.memory.lifecycle import ROUNDING
from palimpsest.models import fifo, nema_lc


class Config(nema_lc.Config):
    """Parameters of NeMA-LC; there are as many slots as a sequence has memory steps, or more."""

    memory: Literal["persistent", "episodic"] = Field("episodic", description="kept over batches, or for a sequence")

    @model_validator(mode="after")
    def _nothing_is_given_up(self) -> Config:
        if self.memory == "persistent":
            raise ValueError("memory 'persistent' becomes full in time; allowed: episodic")
        steps = self.sequence_length // (self.chunk or self.sequence_length) - (self.order == "write_read")
        if self.utilisation_cap * self.num_slots + ROUNDING < steps:
            raise ValueError(
                f"num_slots {self.num_slots}, of which {self.utilisation_cap:g} may be used, cannot keep {steps} "
                "memory steps; allowed: as many or more"
            )
        return self


class Model(fifo.Model):
    """Writes every chunk, one operation a step, and never has to give anything up."""
