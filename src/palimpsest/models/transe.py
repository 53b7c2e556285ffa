"""Baseline: TransE, a relation as a translation from head to tail [Bordes et al. 2013]."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.models.shared.triples import Features, Table, TripleConfig, TripleModel, dot_products

SMOOTHING = 1e-3
"""Added to a squared distance, so that its root has a gradient and few rounding errors where an entity is hit."""


class Config(TripleConfig):
    """Parameters of TransE."""


class Model(TripleModel):
    """φ(h, r, t) = −‖h + r − t‖₂    [Bordes et al. 2013, eq. 1].

    Deviates: φ = −√(‖h + r − t‖² + ε) with ε = 10⁻³, softmax over all entities in place of a margin to drawn ones, no
    unit vectors, reciprocal relations.
    """

    def scores(self, head: Features, relation: Features, entities: Table) -> Float[Tensor, "runs batch steps entities"]:
        """φ of every entity as the tail, by ‖q − t‖² = ‖q‖² − 2⟨q, t⟩ + ‖t‖²."""
        query = head + relation
        sizes = entities.square().sum(-1)[:, None, None]
        squares = query.square().sum(-1, keepdim=True) - 2 * dot_products(query, entities) + sizes
        return -(squares.clamp_min(0) + SMOOTHING).sqrt()
