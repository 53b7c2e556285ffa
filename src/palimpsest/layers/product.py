"""The batched matrix product on which everything rests, with the same bits for a pack of any size."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def product(
    a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"], bias: Float[Tensor, "*batch n"] | None = None
) -> Float[Tensor, "*batch m n"]:
    """A b for every element of the batch, with a bias on every row.

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
    if bias is None:
        y = torch.bmm(left, right)
    else:
        row = (F.pad(bias, (0, 1)) if n == 1 else bias).reshape(-1, 1, right.shape[-1])
        y = torch.baddbmm(row, left, right)
    y = y.view(*a.shape[:-2], *y.shape[-2:])
    return y if y.shape[-2:] == (m, n) else y[..., :m, :n]  # a slice that takes all would cost a copy going back
