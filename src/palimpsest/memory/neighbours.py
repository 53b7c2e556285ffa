"""Which rows may be near a key, found in buckets of random signs: the cost does not depend on the number of rows.

Table l hashes a vector to the signs of its products with P random vectors; two vectors at an angle θ agree in all of
them with probability (1 − θ/π)^P [Charikar 2002]. A bucket holds the numbers of at most C rows. A row is found if it
shares a bucket with the key in any of L tables, or with the key after one of its least certain signs was turned [Lv et
al. 2007, multi-probe]. What is found is exact; what is near may be missed, or have been crowded out of a full bucket,
where rows that have moved elsewhere make room first, then those used least recently.
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
"""The random vectors are the same for every run and every memory."""


class Hashing(NamedTuple):
    """Sizes of an index."""

    num_rows: int
    num_tables: int
    """L."""
    bucket_size: int
    """C."""
    num_probes: int
    """Signs turned, one at a time."""

    @property
    def num_signs(self) -> int:
        """P: so many that a bucket is half full on average once every row is in use."""
        return max(0, math.ceil(math.log2(2 * self.num_rows / self.bucket_size)))

    @property
    def buckets(self) -> int:
        """Places in all buckets of all tables."""
        return self.num_tables * 2**self.num_signs * self.bucket_size


class Hash(NamedTuple):
    """Where vectors belong; axes R runs, B batch, m vectors, L tables."""

    code: Int[Tensor, "runs batch vectors tables"]
    """Bucket in [0, 2^P)."""
    near: Int[Tensor, "runs batch vectors probes tables"]
    """That bucket and those of the signs turned."""


def directions(dim: int, hashing: Hashing) -> Float[Tensor, "dim signs"]:
    """L · P random vectors side by side, normal numbers."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randn(dim, hashing.num_tables * hashing.num_signs, generator=generator, device="cpu")
    return drawn.to(torch.get_default_device())


def empty_columns(runs: int, batch: int, hashing: Hashing, device: torch.device) -> dict[str, Tensor]:
    """Columns of a version in which no row is in any bucket; the last place is for what is to be lost."""
    return {
        "code": torch.full((runs, batch, hashing.num_rows * hashing.num_tables), -1, device=device),
        "bucket": torch.full((runs, batch, hashing.buckets + 1), -1, device=device),
    }


@torch.no_grad()
def hash_of(
    vectors: Float[Tensor, "runs batch vectors dim"], directions: Float[Tensor, "dim signs"], hashing: Hashing
) -> Hash:
    """Signs of every vector, as numbers; a product of 0 counts as negative."""
    runs, batch, count, dim = vectors.shape
    tables, signs = hashing.num_tables, hashing.num_signs
    if signs == 0:
        code = torch.zeros(runs, batch, count, tables, dtype=torch.int64, device=vectors.device)
        return Hash(code, code[:, :, :, None])
    flat = vectors.reshape(runs, batch * count, dim)
    projected = product(flat, directions.expand(runs, -1, -1)).view(runs, batch, count, tables, signs)
    bit = 2 ** torch.arange(signs, device=vectors.device)
    code = ((projected > 0) * bit).sum(-1)
    doubtful = projected.abs().sort(dim=-1, stable=True).indices[..., : hashing.num_probes]
    turned = code[..., None] ^ bit[doubtful]
    return Hash(code, torch.cat([code[..., None], turned], -1).transpose(-1, -2))


def _places(code: Int[Tensor, "*shape tables"], hashing: Hashing) -> Int[Tensor, "*shape tables size"]:
    """Numbers of the places of a bucket in every table."""
    table = torch.arange(hashing.num_tables, device=code.device)
    first = (table * 2**hashing.num_signs + code) * hashing.bucket_size
    return first[..., None] + torch.arange(hashing.bucket_size, device=code.device)


@torch.no_grad()
def candidates(version: Version, hashed: Hash, hashing: Hashing) -> Int[Tensor, "runs batch vectors found"]:
    """Rows in the buckets of each vector, −1 at places that are free; a row may come more than once."""
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
    """Put rows into the buckets of what they hold now; where they were before, they count as moved away.

    Args:
        version: before.
        index: rows.
        first: False for a row that is named a second time.
        code: of what each row holds.
        hashing: sizes.
    """
    tables = torch.arange(hashing.num_tables, device=index.device)
    version = version.replace("code", (index[..., None] * hashing.num_tables + tables).flatten(2), code.flatten(2))
    places = _places(code, hashing)
    held = version.gather("bucket", places.flatten(2)).view(places.shape)
    inside = (held == index[..., None, None]).any(-1)
    new = first[..., None] & ~inside
    known = held.clamp_min(0)
    now = version.gather("code", (known * hashing.num_tables + tables[:, None]).flatten(2)).view(held.shape)
    gone = (held < 0) | (now != code[..., None])
    worth = last_used(version, known.flatten(2)).view(held.shape).masked_fill(gone, -1)
    # of several rows that go into one bucket in one step each has a place of its own
    same = (code[:, :, :, None] == code[:, :, None]) & new[:, :, None]
    rank = (same * _earlier(index.shape[-1], index.device)[..., None]).sum(3) % hashing.bucket_size
    place = worth.sort(dim=-1, stable=True).indices.gather(-1, rank[..., None])
    target = torch.where(new, places.gather(-1, place).squeeze(-1), hashing.buckets)
    return version.replace("bucket", target.flatten(2), index[..., None].expand_as(target).flatten(2))


def _earlier(count: int, device: torch.device) -> Bool[Tensor, "count count"]:
    """True where the column comes before the row."""
    return torch.ones(count, count, dtype=torch.bool, device=device).tril(-1)
