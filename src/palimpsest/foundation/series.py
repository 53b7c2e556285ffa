"""Series of numbers, the last axis of a tensor."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def slope_of_second_half(values: Float[Tensor, "*shape time"]) -> Float[Tensor, "*shape"]:
    """Slope of the least-squares line through the second half of a series, in units of the series per step of time.

    0 where that half is a single point.
    """
    half = values[..., values.shape[-1] // 2 :]
    time = torch.arange(half.shape[-1], dtype=half.dtype, device=half.device)
    time = time - time.mean()
    return (half * time).sum(-1) / time.square().sum().clamp_min(0.5)  # of two points it is 0.5, of one 0
