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


def noise_key(seeds: Int[Tensor, " runs"], step: int) -> Int[Tensor, " runs"]:
    """Key of a step's noise: the seed in the upper half, the step in the lower."""
    return (seeds << 32) | step
