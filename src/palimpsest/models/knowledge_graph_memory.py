"""A memory over the entities of a knowledge graph, read by a key that the relation gates (source 004)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from palimpsest.memory.control import Control
from palimpsest.memory.entity_slots import EntityRead, read_entities
from palimpsest.memory.stepwise import StepwiseRecord
from palimpsest.models import Batch, ModelOutput, under
from palimpsest.models.shared.triples import EvenTripleConfig, Features, LastToken, Table, TripleModel, dot_products


class Config(EvenTripleConfig):
    """Parameters of the memory; an entity's features are the key and the value of its slot."""

    num_read_heads: int = Field(8, ge=1, description="heads H of a read; divides half the width")

    @model_validator(mode="after")
    def _heads_divide_keys(self) -> Config:
        if self.width // 2 % self.num_read_heads:
            raise ValueError(
                f"num_read_heads {self.num_read_heads} does not divide the {self.width // 2} features of a key; "
                "allowed: a divisor of half the width"
            )
        return self


class Model(TripleModel):
    """A slot an entity; what answers is what was read, and nothing else.

        w^j = softmax_e(⟨(k_h ∘ a_r)^j, k_e^j⟩)      v = [Σ_e w^j(e) v_e^j]_j      φ(h, r, t) = ⟨norm(v ∘ b_r), v_t⟩

    with heads j, the key k_e and value v_e of entity e, and the two halves a_r, b_r of a relation's features. ``norm``
    is layer normalisation without parameters. As many parameters as DistMult of the same width.

    Deviates: the source names a model of knowledge graphs and has no equations; these are ours. ``shuffled`` gives a
    query what its neighbour in the batch has read, as all queries share the slots.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    config: Config

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__(config, runs)

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: LastToken | None = None) -> ModelOutput:
        """Logits (R, B, Q, E) at the asked steps; arguments as of :class:`TripleModel`. Watched, it reads at all."""
        del hyper
        read, relation, entities = self.read(batch, state)
        record = None
        if batch.watch is not None:
            at_every_step, _, _ = self.read(batch, state, every_step=True)
            steps = [
                EntityRead(vector, weights)
                for vector, weights in zip(*(part.unbind(2) for part in at_every_step), strict=True)
            ]
            seen = [batch.watch(step) for step in steps]
            record = StepwiseRecord(seen, steps[-1]) if seen[-1] is not None else None
        logits = self.answer(read.vector, relation, entities)
        return ModelOutput(logits, {}, record, LastToken(batch.inputs[..., -1]))

    def read(
        self, batch: Batch, state: LastToken | None, *, every_step: bool = False
    ) -> tuple[EntityRead, Features, Table]:
        """What is read at the asked steps, or at every step; features of the relation, and of all slots."""
        head, relation, entities = self.features(batch, state, every_step=every_step)
        (key, _), (gate, _) = head.chunk(2, -1), relation.chunk(2, -1)
        keys, values = entities.chunk(2, -1)
        return read_entities(key * gate, keys, values, self.config.num_read_heads, batch.control), relation, entities

    def answer(
        self, read: Float[Tensor, "runs batch steps half"], relation: Features, entities: Table
    ) -> Float[Tensor, "runs batch steps entities"]:
        """φ of every entity as the tail."""
        query = read * relation.chunk(2, -1)[1]
        return dot_products(F.layer_norm(query, query.shape[-1:]), entities.chunk(2, -1)[1])

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """One pass a control; nothing is written at random, so that ``random_writes`` has the output of ``on``."""
        return [self(under(batch, control), hyper, state) for control, state in states.items()]
