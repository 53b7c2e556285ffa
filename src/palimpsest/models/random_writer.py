"""Baseline: NeMA-Lite that writes each token with a fixed probability, whatever it is."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from palimpsest.foundation.sections import PerRun
from palimpsest.layers.noise import uniform
from palimpsest.memory.write_gate import WriteDecision, fixed_writes
from palimpsest.models import Batch, nema_lite

_WRITE_STREAM = nema_lite.PERMUTATION_STREAM + 1


class Config(nema_lite.Config):
    """Parameters of NeMA-Lite, and the ratio at which it writes."""

    write_probability: Annotated[float, PerRun()] = Field(0.1, ge=0, le=1, description="probability of a write")


class Model(nema_lite.Model):
    """The parts and parameters of NeMA-Lite; the gate is not asked."""

    loss_weights: ClassVar[dict[str, str]] = {}

    def decide(self, batch: Batch, states: nema_lite.States, hyper: dict[str, Tensor]) -> WriteDecision:
        """Write at random, anew at every step."""
        del states
        size, time = batch.inputs.shape[1:]
        whole = uniform(batch.noise_key, _WRITE_STREAM, (size, self.config.sequence_length))
        draw = whole[..., batch.start : batch.start + time]  # a chunk draws what the whole sequence would
        return fixed_writes((draw < hyper["write_probability"][:, None, None]).float())
