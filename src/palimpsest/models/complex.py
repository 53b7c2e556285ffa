"""Baseline: ComplEx, DistMult in complex numbers, so that a relation has a direction [Trouillon et al. 2016]."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.models.shared.triples import EvenTripleConfig, Features, Table, TripleModel, dot_products, rotated


class Config(EvenTripleConfig):
    """Parameters of ComplEx; ``width`` real numbers are half as many complex ones."""


class Model(TripleModel):
    """φ(h, r, t) = Re Σ_i h_i r_i t̄_i    [Trouillon et al. 2016, eq. 9].

    Deviates: softmax over all entities in place of logistic losses, reciprocal relations [Lacroix et al. 2018].
    """

    def scores(self, head: Features, relation: Features, entities: Table) -> Float[Tensor, "runs batch steps entities"]:
        """φ of every entity as the tail: the real part of x t̄ is Re x Re t + Im x Im t."""
        return dot_products(rotated(head, relation), entities)
