"""The batched matrix product on which everything rests, with the same bits for a pack of any size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor


def product(a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
    """A b for every element of the batch.

    The result of one element does not depend on how many others there are. BLAS breaks that where a factor has a
    side of length one: a batch of one then becomes a matrix-vector product, summed in another order. Such a row or
    column is taken twice; where the side is summed over, nothing is summed.
    """
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    left, right = (a, b) if a.dim() == 3 else (a.reshape(-1, m, k), b.reshape(-1, k, n))
    if _low:
        left, right = left.to(_low[-1]), right.to(_low[-1])
    if k == 1:
        y = left * right
    else:
        left = torch.cat([left, left], 1) if m == 1 else left
        right = torch.cat([right, right], 2) if n == 1 else right
        y = torch.bmm(left, right)
        if m == 1 or n == 1:
            y = y[:, :m, :n]
    if _low:
        y = y.to(a.dtype)
    return y if a.dim() == 3 else y.view(*a.shape[:-1], n)


_low: list[torch.dtype] = []
"""The type to which factors are rounded, last. One for the process: gradients on a GPU have a thread of their own."""


@contextmanager
def rounding(precision: str, device: torch.device) -> Iterator[None]:
    """Mixed precision: how the products of a block, and of gradients that are taken within it, are computed.

    Everything but the products stays in float32, parameters and optimiser included.

    Args:
        precision: ``float32``; ``tf32``: factors with 10 bits of mantissa, on GPUs that have it; ``bfloat16``: factors
            and product with 7 bits, summed in float32.
        device: where.
    """
    if precision == "bfloat16":
        _low.append(torch.bfloat16)
    elif device.type == "cuda":
        torch.backends.cuda.matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        if precision == "bfloat16":
            _low.pop()
