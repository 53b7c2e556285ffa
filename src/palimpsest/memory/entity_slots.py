"""A memory with a slot for each entity, which lasts over all sequences: parameters that are read and never written."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from palimpsest.layers.product import product
from palimpsest.memory.control import Control, shuffle_memory, silence_reads


class EntityRead(NamedTuple):
    """What was read; of a single step, the axis of steps is absent."""

    vector: Float[Tensor, "runs batch *steps dim"]
    read_weights: Float[Tensor, "runs batch *steps heads slots"]
    """Non-negative, sums to 1 over slots."""


def read_entities(
    queries: Float[Tensor, "runs batch steps key"],
    keys: Float[Tensor, "runs slots key"],
    values: Float[Tensor, "runs slots dim"],
    num_heads: int,
    control: Control = "on",
) -> EntityRead:
    """softmax(q Kᵀ) V of every head, side by side    [Vaswani et al. 2017, eq. 1, without the scale].

    Args:
        queries: q, heads side by side.
        keys: K of all slots, heads side by side.
        values: V of all slots, heads side by side.
        num_heads: H, a divisor of both sizes.
        control: ``off``: the vector is zero; ``shuffled``: it is the one that the neighbour in the batch has read.
    """
    by_head = queries.unflatten(-1, (num_heads, -1)).permute(0, 3, 1, 2, 4).flatten(2, 3)
    keys, values = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (keys, values))
    weights = product(by_head, keys.transpose(2, 3)).softmax(-1)
    vectors, weights = (
        part.unflatten(2, queries.shape[1:3]).permute(0, 2, 3, 1, 4) for part in (product(weights, values), weights)
    )
    return EntityRead(silence_reads(shuffle_memory(vectors.flatten(3), control), control), weights)
