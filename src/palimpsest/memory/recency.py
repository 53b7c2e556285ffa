"""Which row was used least recently, kept by a tournament: an update of m rows costs m log N, the answer nothing.

The leaves are keys, one a row; every node above is the smallest of its ``BRANCHES`` children. A key is time · N + row,
so that no two are equal and the smallest says itself whose it is.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from palimpsest.memory.versioned import Version

BRANCHES = 128
"""Children of a node: a million rows have three levels above them."""
COLUMN = "recency"
_NEVER = torch.iinfo(torch.int64).max

Index = Int[Tensor, "runs batch touched"]


def _levels(num_rows: int) -> list[int]:
    """Nodes of each level from the leaves to the root, each but the root filled up to whole families."""
    sizes = []
    while num_rows > 1 or not sizes:
        parents = -(-num_rows // BRANCHES)
        sizes.append(parents * BRANCHES)
        num_rows = parents
    return [*sizes, 1]


def never_used(runs: int, batch: int, num_rows: int, device: torch.device) -> Int[Tensor, "runs batch nodes"]:
    """The tournament in which no row was ever used, so that the first is the one; one column of a version."""
    sizes = _levels(num_rows)
    keys, nodes = torch.arange(num_rows, device=device), []
    for size in sizes:
        nodes.append(torch.cat([keys, torch.full((size - len(keys),), _NEVER, device=device)]))
        keys = nodes[-1].view(-1, min(size, BRANCHES)).amin(-1)
    return torch.cat(nodes).repeat(runs, batch, 1)


def least_recent(version: Version, num_rows: int) -> Int[Tensor, "runs batch"]:
    """The row used least recently; of those never used, the first."""
    return version.whole(COLUMN)[..., -1] % num_rows


def last_used(version: Version, index: Index) -> Index:
    """Keys of rows: the larger, the later was one used."""
    return version.gather(COLUMN, index)


def use(version: Version, index: Index, used: Tensor, time: int, num_rows: int) -> Version:
    """Note that rows were used.

    Args:
        version: before.
        index: rows.
        used: (R, B, m), whether each really was; where a row is named twice, both say the same.
        time: at least 1.
        num_rows: N.
    """
    keys = torch.where(used, time * num_rows + index, last_used(version, index))
    sizes = _levels(num_rows)
    first = 0
    for size in sizes[:-1]:
        version = version.replace(COLUMN, first + index, keys)
        index = index // BRANCHES
        children = first + index[..., None] * BRANCHES + torch.arange(BRANCHES, device=index.device)
        keys = version.gather(COLUMN, children.flatten(2)).view(children.shape).amin(-1)
        first += size
    return version.replace(COLUMN, first + index, keys)
