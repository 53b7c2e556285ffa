"""Floor of knowledge graphs: what follows a relation most often, learned without looking at the entity asked."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.models.shared.triples import Features, Table, TripleConfig, TripleModel, dot_products


class Config(TripleConfig):
    """Parameters of the floor."""


class Model(TripleModel):
    """φ(h, r, t) = ⟨r, t⟩: with enough features the softmax becomes how often t follows r in training."""

    def scores(self, head: Features, relation: Features, entities: Table) -> Float[Tensor, "runs batch steps entities"]:
        """φ of every entity as the tail, in which the head has no part."""
        del head
        return dot_products(relation, entities)
