"""What an evaluation does to a memory, so that it shows whether a model answers from it."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Control = Literal["on", "off", "shuffled", "random_writes"]
"""Nothing; every read zeroed; memories swapped between the examples of the batch; as many writes as the model made, but
at random positions, which leaves a memory alone that has no hard writes."""
CONTROLS: tuple[Control, ...] = ("on", "off", "shuffled", "random_writes")


def seen(slots: Shaped[Tensor, "runs batch *rest"], control: Control) -> Shaped[Tensor, "runs batch *rest"]:
    """What a read sees of a memory: under ``shuffled`` that of the neighbour in the batch."""
    return slots.roll(1, 1) if control == "shuffled" else slots


def heard(reads: Float[Tensor, "runs batch *rest"], control: Control) -> Float[Tensor, "runs batch *rest"]:
    """What a network hears of a read: under ``off`` nothing."""
    return torch.zeros_like(reads) if control == "off" else reads
