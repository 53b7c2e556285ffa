"""Approximate search for rows near a key, by random-sign hashing; its cost does not depend on the number of rows.

Table l hashes a vector to the signs of its products with P random vectors. All signs of two vectors at an angle θ agree
with probability (1 − θ/π)^P [Charikar 2002]. A bucket holds the numbers of at most C rows. A row is found if it is in
the key's bucket in any of L tables, or in a bucket of the key with one of its least certain signs flipped [Lv et al.
2007, multi-probe]. The found rows are exact, but a near row may be missed: it may hash elsewhere, or a full bucket may
have dropped it. A full bucket first drops rows whose content has moved to another bucket, then the rows used least
recently.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from palimpsest.layers.product import product
from palimpsest.memory.recency import last_used
from palimpsest.memory.versioned import Version

SEED = 1
"""Seed of the random vectors, which are the same for every run and every memory."""


class Hashing(NamedTuple):
    """Sizes of the index."""

    num_rows: int
    num_tables: int
    """L."""
    bucket_size: int
    """C."""
    num_probes: int
    """Number of signs that are flipped, one at a time."""

    @property
    def num_signs(self) -> int:
        """P, chosen so that a bucket is half full on average when every row is in use."""
        return max(0, math.ceil(math.log2(2 * self.num_rows / self.bucket_size)))

    @property
    def buckets(self) -> int:
        """Number of places in all buckets of all tables."""
        return self.num_tables * 2**self.num_signs * self.bucket_size


class Hash(NamedTuple):
    """Buckets of vectors; axes R runs, B batch, m vectors, L tables."""

    code: Int[Tensor, "runs batch vectors tables"]
    """Bucket in [0, 2^P)."""
    near: Int[Tensor, "runs batch vectors probes tables"]
    """That bucket, and those with one sign flipped."""


def directions(dim: int, hashing: Hashing) -> Float[Tensor, "dim signs"]:
    """Return L · P normally distributed random vectors, side by side."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randn(dim, hashing.num_tables * hashing.num_signs, generator=generator, device="cpu")
    return drawn.to(torch.get_default_device())


def empty_columns(runs: int, batch: int, hashing: Hashing, device: torch.device) -> dict[str, Tensor]:
    """Return columns in which no bucket holds a row; the last place receives writes that must have no effect."""
    return {
        "code": torch.full((runs, batch, hashing.num_rows * hashing.num_tables), -1, device=device),
        "bucket": torch.full((runs, batch, hashing.buckets + 1), -1, device=device),
    }


@torch.no_grad()
def hash_of(
    vectors: Float[Tensor, "runs batch vectors dim"], directions: Float[Tensor, "dim signs"], hashing: Hashing
) -> Hash:
    """Return the signs of every vector as numbers; a product of 0 counts as negative."""
    runs, batch, count, dim = vectors.shape
    tables, signs = hashing.num_tables, hashing.num_signs
    if signs == 0:
        code = torch.zeros(runs, batch, count, tables, dtype=torch.int64, device=vectors.device)
        return Hash(code, code[:, :, :, None])
    flat = vectors.reshape(runs, batch * count, dim)
    projected = product(flat, directions.expand(runs, -1, -1)).view(runs, batch, count, tables, signs)
    bit = 2 ** torch.arange(signs, device=vectors.device)
    code = ((projected > 0) * bit).sum(-1)
    least_certain = projected.abs().sort(dim=-1, stable=True).indices[..., : hashing.num_probes]
    flipped = code[..., None] ^ bit[least_certain]
    return Hash(code, torch.cat([code[..., None], flipped], -1).transpose(-1, -2))


def _places(code: Int[Tensor, "*shape tables"], hashing: Hashing) -> Int[Tensor, "*shape tables size"]:
    """Return the numbers of the places of a bucket in every table."""
    table = torch.arange(hashing.num_tables, device=code.device)
    first = (table * 2**hashing.num_signs + code) * hashing.bucket_size
    return first[..., None] + torch.arange(hashing.bucket_size, device=code.device)


@torch.no_grad()
def candidates(version: Version, hashed: Hash, hashing: Hashing) -> Int[Tensor, "runs batch vectors found"]:
    """Return the rows in the buckets of each vector, −1 at free places; a row may appear more than once."""
    places = _places(hashed.near, hashing)
    return version.gather("bucket", places.flatten(2)).view(*places.shape[:3], -1)


@torch.no_grad()
def insert(
    version: Version,
    index: Int[Tensor, "runs batch touched"],
    first: Bool[Tensor, "runs batch touched"],
    code: Int[Tensor, "runs batch touched tables"],
    hashing: Hashing,
) -> Version:
    """Put rows into the buckets of their current content; their old places then count as free.

    Args:
        version: before the insertion.
        index: rows.
        first: False where ``index`` names a row again.
        code: hash of each row's content.
        hashing: sizes.
    """
    tables = torch.arange(hashing.num_tables, device=index.device)
    version = version.replace("code", (index[..., None] * hashing.num_tables + tables).flatten(2), code.flatten(2))
    places = _places(code, hashing)
    held = version.gather("bucket", places.flatten(2)).view(places.shape)
    inside = (held == index[..., None, None]).any(-1)
    new = first[..., None] & ~inside
    known = held.clamp_min(0)
    current = version.gather("code", (known * hashing.num_tables + tables[:, None]).flatten(2)).view(held.shape)
    free = (held < 0) | (current != code[..., None])
    worth = last_used(version, known.flatten(2)).view(held.shape).masked_fill(free, -1)
    # Several rows may enter one bucket in one step: each gets its own place.
    same = (code[:, :, :, None] == code[:, :, None]) & new[:, :, None]
    rank = (same * _earlier(index.shape[-1], index.device)[..., None]).sum(3) % hashing.bucket_size
    place = worth.sort(dim=-1, stable=True).indices.gather(-1, rank[..., None])
    target = torch.where(new, places.gather(-1, place).squeeze(-1), hashing.buckets)
    return version.replace("bucket", target.flatten(2), index[..., None].expand_as(target).flatten(2))


def _earlier(count: int, device: torch.device) -> Bool[Tensor, "count count"]:
    """Return True where the column's number is below the row's."""
    return torch.ones(count, count, dtype=torch.bool, device=device).tril(-1)
