"""Controls of a memory: changes that an evaluation makes to see whether a model answers from its memory."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Control = Literal["on", "off", "shuffled", "random_writes"]
"""``on`` changes nothing. ``off`` sets every read to zero. ``shuffled`` swaps memories between the examples of a batch.
``random_writes`` makes as many writes as the model made, but at random positions; it has no effect on a memory without
hard writes."""
CONTROLS: tuple[Control, ...] = ("on", "off", "shuffled", "random_writes")


def shuffle_memory(slots: Shaped[Tensor, "runs batch *rest"], control: Control) -> Shaped[Tensor, "runs batch *rest"]:
    """Return the memory that a read sees: under ``shuffled`` that of the neighbour in the batch, else its own."""
    return slots.roll(1, 1) if control == "shuffled" else slots


def silence_reads(reads: Float[Tensor, "runs batch *rest"], control: Control) -> Float[Tensor, "runs batch *rest"]:
    """Return the reads that a network receives: under ``off`` zeros, else the reads themselves."""
    return torch.zeros_like(reads) if control == "off" else reads
