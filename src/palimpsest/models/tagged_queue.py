"""Baseline: NeMA-LC's slots, first in, first out, where only chunks that carry a tag are written."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from palimpsest.memory.lifecycle import LifecycleState
from palimpsest.models import Batch, fifo, nema_lc


class Config(nema_lc.Config):
    """Parameters of NeMA-LC."""

    needs: ClassVar[tuple[str, ...]] = ("tagged",)


class Model(fifo.Model):
    """Knows which tokens carry a tag, as the input shows, and not what will be asked; needs a task with ``tagged``."""

    def wants(self, batch: Batch, state: LifecycleState, step: int) -> Tensor:
        """1 in the step of a chunk with a tagged token."""
        chunk = self.config.chunk or self.config.sequence_length
        return batch.extras["tagged"][..., step * chunk : (step + 1) * chunk].amax(-1).to(state.alive.dtype)
