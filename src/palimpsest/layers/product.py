"""The batched matrix product that all layers use, with the same bits in a pack of any size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor


def product(a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
    """Compute a b for every element of the batch.

    The result of one element does not depend on the number of elements. BLAS alone does not ensure this if a factor has
    a side of length one: a batch of one then becomes a matrix-vector product, which sums in another order. So such a
    row or column is duplicated. If the inner side has length one, there is no sum, and an elementwise product is
    enough.
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
"""The types to which factors are rounded, the current one last. The list is global to the process, because gradients on
a GPU are computed in another thread."""


@contextmanager
def rounding(precision: str, device: torch.device) -> Iterator[None]:
    """Compute all products inside the block, also those of gradients, in mixed precision.

    Everything else stays in float32, including parameters and optimiser.

    Args:
        precision: ``float32``; ``tf32``: factors with 10 bits of mantissa, on GPUs that support it; ``bfloat16``:
            factors and product with 7 bits, summed in float32.
        device: device of the products.
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
