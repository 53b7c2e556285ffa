"""Baseline: NeMA-Lite that writes every token."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from palimpsest.memory.write_gate import WriteDecision, fixed_writes
from palimpsest.models import Batch, nema_lite

Config = nema_lite.Config


class Model(nema_lite.Model):
    """The parts and parameters of NeMA-Lite; the gate is not asked."""

    loss_weights: ClassVar[dict[str, str]] = {}

    def decide(self, batch: Batch, states: nema_lite.States, hyper: dict[str, Tensor]) -> WriteDecision:
        """Write all."""
        del hyper
        return fixed_writes(torch.ones(batch.inputs.shape, device=states.device))
