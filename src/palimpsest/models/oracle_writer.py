"""Upper bound: NeMA-Lite, where only the token that will be asked for is written."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from palimpsest.memory.write_gate import WriteDecision, fixed_writes
from palimpsest.models import Batch, nema_lite


class Config(nema_lite.Config):
    """Parameters of NeMA-Lite."""

    needs: ClassVar[tuple[str, ...]] = ("answer_position",)


class Model(nema_lite.Model):
    """The parts and parameters of NeMA-Lite; the gate is not asked. Needs a task with ``answer_position``."""

    loss_weights: ClassVar[dict[str, str]] = {}

    def decide(self, batch: Batch, states: nema_lite.States, hyper: dict[str, Tensor]) -> WriteDecision:
        """Write the answer."""
        del states, hyper
        time = batch.start + torch.arange(batch.inputs.shape[-1], device=batch.inputs.device)
        return fixed_writes((time == batch.extras["answer_position"][..., None]).float())
