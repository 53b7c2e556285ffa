"""A tournament tree that finds the row used least recently: an update of m rows costs m log N, a query is free.

The leaves are keys, one for each row. Every inner node is the smallest of its ``BRANCHES`` children. A key is
time · N + row, so no two keys are equal, and the row can be read from the smallest key.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from palimpsest.memory.versioned import Version

BRANCHES = 128
"""Children of a node: the tree of a million rows has three levels above the leaves."""
COLUMN = "recency"
_NEVER = torch.iinfo(torch.int64).max

Index = Int[Tensor, "runs batch touched"]


def _levels(num_rows: int) -> list[int]:
    """Return the number of nodes of each level, from leaves to root; all but the root are multiples of BRANCHES."""
    sizes = []
    while num_rows > 1 or not sizes:
        parents = -(-num_rows // BRANCHES)
        sizes.append(parents * BRANCHES)
        num_rows = parents
    return [*sizes, 1]


def never_used(runs: int, batch: int, num_rows: int, device: torch.device) -> Int[Tensor, "runs batch nodes"]:
    """Return a tree in which no row was ever used, so that the first row wins; it is one column of a version."""
    sizes = _levels(num_rows)
    keys, nodes = torch.arange(num_rows, device=device), []
    for size in sizes:
        nodes.append(torch.cat([keys, torch.full((size - len(keys),), _NEVER, device=device)]))
        keys = nodes[-1].view(-1, min(size, BRANCHES)).amin(-1)
    return torch.cat(nodes).repeat(runs, batch, 1)


def least_recent(version: Version, num_rows: int) -> Int[Tensor, "runs batch"]:
    """Return the row used least recently; of rows never used, the first."""
    return version.whole(COLUMN)[..., -1] % num_rows


def last_used(version: Version, index: Index) -> Index:
    """Return the keys of rows; a row used later has a larger key."""
    return version.gather(COLUMN, index)


def use(version: Version, index: Index, used: Tensor, time: int, num_rows: int) -> Version:
    """Record the use of rows.

    Args:
        version: before the use.
        index: rows.
        used: (R, B, m), False for a row that was not used; entries of the same row must be equal.
        time: number of the step, at least 1.
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
