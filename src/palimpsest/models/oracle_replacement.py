"""Upper bound: NeMA-LC's slots, where only the chunk that will be asked for is written."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from palimpsest.memory.lifecycle import LifecycleState
from palimpsest.models import Batch, nema_lc


class Config(nema_lc.Config):
    """Parameters of NeMA-LC."""

    needs: ClassVar[tuple[str, ...]] = ("answer_position",)


class Model(nema_lc.PolicyModel):
    """Needs a task with ``answer_position``, −1 where no single token answers."""

    def priority(self, batch: Batch, state: LifecycleState) -> Tensor:
        """When a slot was written."""
        del batch
        return state.time.to(state.age.dtype)

    def wants(self, batch: Batch, state: LifecycleState, step: int) -> Tensor:
        """1 in the step of the chunk that answers."""
        chunk = self.config.chunk or self.config.sequence_length
        answer = batch.extras["answer_position"]
        return ((answer >= 0) & (answer // chunk == step)).to(state.alive.dtype)
