"""Baseline: DistMult, a bilinear score with a diagonal matrix for each relation [Yang et al. 2015]."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.models.shared.triples import Features, Table, TripleConfig, TripleModel, dot_products


class Config(TripleConfig):
    """Parameters of DistMult."""


class Model(TripleModel):
    """φ(h, r, t) = Σ_i h_i r_i t_i    [Yang et al. 2015, eq. 3 with a diagonal matrix]; the same both ways.

    Deviates: softmax over all entities in place of a margin to drawn ones, no unit vectors, reciprocal relations.
    """

    def scores(self, head: Features, relation: Features, entities: Table) -> Float[Tensor, "runs batch steps entities"]:
        """φ of every entity as the tail."""
        return dot_products(head * relation, entities)
