"""Tables of which every version can be read, though only one lies in memory: writing m rows costs m rows.

An immutable state that holds a large table would have to copy it in every step. Here a write changes the one table in
place and leaves a note in the version before it, what the changed rows held; whoever reads an older version rolls the
notes back first [persistent arrays: Baker 1991, "Shallow binding makes functional arrays fast"]. Seen from outside,
versions never change. This is the sparse rollback of [Rae et al. 2016, Section 3.4], for any version in any order.

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
    """One version of some columns, each (R, B, N, …), each with an N of its own.

    Reading the version that was made last costs nothing; reading one that lies s writes back (or on another branch)
    costs s small copies, once. A version that nobody holds any more leaves no note. Not for several threads.

    Args:
        columns: by name; they belong to the version from now on.
    """

    __slots__ = ("_change", "_columns", "_next")

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self._columns = dict(columns)
        self._next: Version | None = None
        self._change: tuple[str, Tensor, Tensor] | None = None

    def gather(self, name: str, index: Int[Tensor, "runs batch touched"]) -> Tensor:
        """Rows of a column, (R, B, m, …); a copy."""
        column = self.whole(name)
        return column.detach().gather(2, _over_features(index, column))

    def whole(self, name: str) -> Tensor:
        """A column itself, to be looked at at once: it holds this version until another is read or written."""
        self._bring_back()
        return self._columns[name]

    @torch.no_grad()
    def replace(self, name: str, index: Int[Tensor, "runs batch touched"], rows: Tensor) -> Version:
        """The version in which some rows of a column are others.

        Args:
            name: of the column.
            index: which rows; where one is named twice, both have to say the same, or nobody may read it.
            rows: (R, B, m, …), what they hold.
        """
        before = self.gather(name, index)
        column = self._columns[name]
        column.scatter_(2, _over_features(index, column), rows.detach().to(column.dtype))
        after = Version({})
        after._columns = self._columns
        self._next, self._change = after, (name, index, before)
        return after

    @torch.no_grad()
    def _bring_back(self) -> None:
        """Make the columns hold this version; the notes then point here."""
        path: list[Version] = [self]
        while path[-1]._next is not None:
            path.append(path[-1]._next)
        for version, after in zip(path[-2::-1], path[:0:-1], strict=True):
            assert version._change is not None
            name, index, before = version._change
            column = self._columns[name]
            there = _over_features(index, column)
            after._next, after._change = version, (name, index, column.gather(2, there))
            column.scatter_(2, there, before)
            version._next = version._change = None

    def to_tensors(self) -> dict[str, Tensor]:
        """A copy of every column."""
        self._bring_back()
        return {name: column.clone() for name, column in self._columns.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Version:
        """The version that :meth:`to_tensors` was asked for."""
        return cls(tensors)


def _over_features(index: Tensor, column: Tensor) -> Tensor:
    """The index of rows as an index of their numbers."""
    features = column.shape[3:]
    return index.view(*index.shape, *[1] * len(features)).expand(*index.shape, *features)


Log = Float[Tensor, "runs batch events dim"]
"""Stands for all rows written so far, one after the other, and holds none of them: a zero that is seen E times over.

Autograd carries the gradient of what was written along it. A row that was written is never written again, only
replaced by a later one; so its gradient is the sum over those who read it, whatever the order, and takes no more room
than the rows written: neither way does a step touch N rows.
"""


def empty_log(like: Float[Tensor, "*shape"], runs: int, batch: int, dim: int) -> Log:
    """Nothing written yet."""
    return like.new_zeros(()).expand(runs, batch, 0, dim)


def read_rows(
    version: Version, log: Log, index: Int[Tensor, "runs batch touched"], event: Int[Tensor, "runs batch touched"]
) -> tuple[Float[Tensor, "runs batch touched dim"], Log]:
    """Rows of the column ``rows``, with the gradient of those that the log knows.

    Args:
        version: what is read.
        log: as it is before the read.
        index: which rows.
        event: number of each row in the log; negative for a row that has no gradient.

    Returns:
        The rows, and the log for whoever comes next.
    """
    return _ReadRows.apply(log, version, index, event)  # pyright: ignore[reportReturnType]


def write_rows(log: Log, rows: Float[Tensor, "runs batch touched dim"]) -> Float[Tensor, "runs batch more dim"]:
    """The log with further rows, numbered from E on."""
    return _WriteRows.apply(log, rows)  # pyright: ignore[reportReturnType]


class _ReadRows(torch.autograd.Function):
    """Gather; going back, add to the gradient of the log in place, as nobody else holds it."""

    @staticmethod
    def forward(ctx: Any, log: Tensor, version: Version, index: Tensor, event: Tensor) -> tuple[Tensor, Tensor]:
        """See :func:`read_rows`."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(event)
        ctx.shape = log.shape
        return version.gather("rows", index), log.new_zeros(()).expand(log.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_rows: Tensor | None, of_log: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradient of the log."""
        (event,) = ctx.saved_tensors
        if of_rows is not None:
            of_log = of_rows.new_zeros(ctx.shape) if of_log is None else of_log
            known = of_rows * (event >= 0)[..., None]
            of_log.scatter_add_(2, event.clamp_min(0)[..., None].expand_as(known), known)
        return of_log, None, None, None


class _WriteRows(torch.autograd.Function):
    """Append; going back, the end of the log's gradient is that of the rows."""

    @staticmethod
    def forward(ctx: Any, log: Tensor, rows: Tensor) -> Tensor:
        """See :func:`write_rows`."""
        ctx.set_materialize_grads(False)
        ctx.before = log.shape[2]
        return log.new_zeros(()).expand(*log.shape[:2], log.shape[2] + rows.shape[2], log.shape[3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_log: Tensor | None) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradient of the log before, and of the rows."""
        if of_log is None:
            return None, None
        return of_log[:, :, : ctx.before] if ctx.needs_input_grad[0] else None, of_log[:, :, ctx.before :]
