"""Versioned tables: every version can be read, but only one is stored; writing m rows costs m rows.

An immutable state with a large table would have to copy the table in every step. Here a write changes the table in
place and records the old content of the changed rows in the version before it. Reading an older version first restores
these records [persistent arrays: Baker 1991, "Shallow binding makes functional arrays fast"]. For the caller, versions
never change. This is the sparse rollback of [Rae et al. 2016, Section 3.4], for any version in any order.

Axes: R runs, B batch, N rows, m rows touched, E rows written so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable


class Version:
    """One version of several columns, each (R, B, N, …) with its own N.

    Reading the newest version costs nothing extra. Reading a version that lies s writes back, or on another branch,
    costs s small copies, once. A version without references leaves no record. The class is not safe for several
    threads.

    Args:
        columns: tensors by name; the version owns them from now on.
    """

    __slots__ = ("_change", "_columns", "_next")

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self._columns = dict(columns)
        self._next: Version | None = None
        self._change: tuple[str, Tensor, Tensor] | None = None

    def gather(self, name: str, index: Int[Tensor, "runs batch touched"]) -> Tensor:
        """Return a copy of rows of a column, (R, B, m, …)."""
        column = self.whole(name)
        return column.detach().gather(2, _over_features(index, column))

    def whole(self, name: str) -> Tensor:
        """Return a column itself, for immediate use: reading or writing another version changes its content."""
        self._restore()
        return self._columns[name]

    @torch.no_grad()
    def replace(self, name: str, index: Int[Tensor, "runs batch touched"], rows: Tensor) -> Version:
        """Return the version in which some rows of a column are replaced.

        Args:
            name: name of the column.
            index: rows; if it names a row twice, both must have equal content, or the row must never be read.
            rows: (R, B, m, …), their new content.
        """
        before = self.gather(name, index)
        column = self._columns[name]
        column.scatter_(2, _over_features(index, column), rows.detach().to(column.dtype))
        after = Version({})
        after._columns = self._columns
        self._next, self._change = after, (name, index, before)
        return after

    @torch.no_grad()
    def _restore(self) -> None:
        """Restore this version in the columns; the records of the other versions then lead here."""
        path: list[Version] = [self]
        while path[-1]._next is not None:
            path.append(path[-1]._next)
        for version, after in zip(path[-2::-1], path[:0:-1], strict=True):
            assert version._change is not None
            name, index, before = version._change
            column = self._columns[name]
            rows = _over_features(index, column)
            after._next, after._change = version, (name, index, column.gather(2, rows))
            column.scatter_(2, rows, before)
            version._next = version._change = None

    def to_tensors(self) -> dict[str, Tensor]:
        """Return a copy of every column."""
        self._restore()
        return {name: column.clone() for name, column in self._columns.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Version:
        """Return a version with the content that :meth:`to_tensors` returned."""
        return cls(tensors)


def _over_features(index: Tensor, column: Tensor) -> Tensor:
    """Return the index of rows as an index of their elements."""
    features = column.shape[3:]
    return index.view(*index.shape, *[1] * len(features)).expand(*index.shape, *features)


Log = Float[Tensor, "runs batch events dim"]
"""Represents all rows written so far, in order, without storing them: it is one zero, expanded to E rows.

Autograd passes the gradients of written rows along the log. A written row is never changed, only replaced by a later
one. So its gradient is the sum over its reads, in any order, and all gradients take only as much memory as the written
rows. A step touches N rows neither in the forward nor in the backward pass.
"""


def empty_log(like: Float[Tensor, "*shape"], runs: int, batch: int, dim: int) -> Log:
    """Return a log without rows."""
    return like.new_zeros(()).expand(runs, batch, 0, dim)


def read_rows(
    version: Version, log: Log, index: Int[Tensor, "runs batch touched"], event: Int[Tensor, "runs batch touched"]
) -> tuple[Float[Tensor, "runs batch touched dim"], Log]:
    """Return rows of the column ``rows``, with a gradient for those in the log.

    Args:
        version: the version to read.
        log: the log before the read.
        index: rows.
        event: number of each row in the log; negative for a row without gradient.

    Returns:
        The rows, and the log for the next operation.
    """
    return _ReadRows.apply(log, version, index, event)  # pyright: ignore[reportReturnType]


def write_rows(log: Log, rows: Float[Tensor, "runs batch touched dim"]) -> Float[Tensor, "runs batch more dim"]:
    """Return the log with further rows, numbered from E on."""
    return _WriteRows.apply(log, rows)  # pyright: ignore[reportReturnType]


class _ReadRows(torch.autograd.Function):
    """Gather rows. The backward pass adds to the gradient of the log in place, because nothing else refers to it."""

    @staticmethod
    def forward(ctx: Any, log: Tensor, version: Version, index: Tensor, event: Tensor) -> tuple[Tensor, Tensor]:
        """See :func:`read_rows`."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(event)
        ctx.shape = log.shape
        return version.gather("rows", index), log.new_zeros(()).expand(log.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rows: Tensor | None, grad_log: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradient of the log."""
        (event,) = ctx.saved_tensors
        if grad_rows is not None:
            grad_log = grad_rows.new_zeros(ctx.shape) if grad_log is None else grad_log
            known = grad_rows * (event >= 0)[..., None]
            grad_log.scatter_add_(2, event.clamp_min(0)[..., None].expand_as(known), known)
        return grad_log, None, None, None


class _WriteRows(torch.autograd.Function):
    """Append rows. In the backward pass, the end of the log's gradient is the gradient of the rows."""

    @staticmethod
    def forward(ctx: Any, log: Tensor, rows: Tensor) -> Tensor:
        """See :func:`write_rows`."""
        ctx.set_materialize_grads(False)
        ctx.before = log.shape[2]
        return log.new_zeros(()).expand(*log.shape[:2], log.shape[2] + rows.shape[2], log.shape[3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_log: Tensor | None) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of the log before, and of the rows."""
        if grad_log is None:
            return None, None
        return grad_log[:, :, : ctx.before] if ctx.needs_input_grad[0] else None, grad_log[:, :, ctx.before :]
