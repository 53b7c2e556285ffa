"""Every random number of a run follows from its seed: a generator a purpose, none of them global."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Generator, Tensor


def generator(seed: int, *purpose: str | int) -> Generator:
    """A CPU generator for one purpose of one run; other purposes and other seeds give independent ones."""
    text = "/".join(map(str, (seed, *purpose)))
    return Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1)


def epoch_order(seeds: Sequence[int], epoch: int, examples: int) -> Int[Tensor, "runs examples"]:
    """In which order each run sees the examples of an epoch."""
    return torch.stack([torch.randperm(examples, generator=generator(seed, "order", epoch)) for seed in seeds])


def stream_order(seeds: Sequence[int], groups: Int[Tensor, " examples"]) -> Int[Tensor, "runs examples"]:
    """In which order each run sees a stream: as it is, but that the examples of a group change places with each other.

    Args:
        seeds: of the runs.
        groups: which group each example of the stream belongs to.
    """
    places = groups.argsort(stable=True)
    orders = []
    for seed in seeds:
        drawn = torch.randperm(len(groups), generator=generator(seed, "stream"))
        order = torch.empty_like(places)
        order[places] = drawn[groups[drawn].argsort(stable=True)]
        orders.append(order)
    return torch.stack(orders)


def noise_key(seeds: Int[Tensor, " runs"], step: int) -> Int[Tensor, " runs"]:
    """Key of a step's noise: the seed in the upper half, the step in the lower."""
    return (seeds << 32) | step
