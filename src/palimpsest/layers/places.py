"""Position codes, for layers that cannot distinguish the positions of a sequence by themselves."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoids(time: int, width: int) -> Float[Tensor, "time width"]:
    """Return a code of every position [Vaswani et al. 2017, section 3.5].

    PE(t, 2i) = sin(t / 10000^(2i / width)),  PE(t, 2i + 1) = cos(t / 10000^(2i / width))

    Args:
        time: number of positions; they are 0 … time − 1.
        width: number of features.
    """
    pairs = -(-width // 2)
    angles = torch.arange(time).double()[:, None] / 10000 ** (2 * torch.arange(pairs).double() / width)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width].to(torch.get_default_dtype())
