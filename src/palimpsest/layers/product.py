"""The batched matrix product on which everything rests, with the same bits for a pack of any size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def product(a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
    """A b for every element of the batch.

    The result of one element does not depend on how many others there are. BLAS breaks that where a factor has a
    side of length one: a batch of one then becomes a matrix-vector product, summed in another order. Such a side is
    padded with zeros.
    """
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if m == 1 or k == 1:
        a = F.pad(a, (0, int(k == 1), 0, int(m == 1)))
    if k == 1 or n == 1:
        b = F.pad(b, (0, int(n == 1), 0, int(k == 1)))
    left, right = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
    y = torch.bmm(*_rounded(left, right)).to(a.dtype).view(*a.shape[:-2], a.shape[-2], b.shape[-1])
    return y if y.shape[-2:] == (m, n) else y[..., :m, :n]  # a slice that takes all would cost a copy going back


_low: list[torch.dtype] = []
"""The type to which factors are rounded, last. One for the process: gradients on a GPU have a thread of their own."""


def _rounded(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    return (left.to(_low[-1]), right.to(_low[-1])) if _low else (left, right)


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
