"""The contract of a memory that a network can hold, and of what a memory may do besides."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from palimpsest.memory.control import Control


@runtime_checkable
class Cell(Protocol):
    """A network with a state: the output of a step depends on that step's input and on the state.

    Every cell is an ``nn.Module`` of R runs. A state is an immutable named tuple, perhaps of named tuples, whose
    tensors are (R, B, …).
    """

    d_out: int
    """Features of a step's output."""

    def initial_state(self, batch: int) -> Any:
        """Return the state before the first step."""
        ...

    def step(self, x: Tensor, state: Any, control: Control = "on") -> tuple[Tensor, Any]:
        """Take one step: from (R, B, features) to (R, B, d_out) and the next state."""
        ...


@runtime_checkable
class SequenceCell(Cell, Protocol):
    """A cell that is faster over many steps at once; :meth:`unroll` is used whenever nobody watches the memory."""

    def unroll(self, xs: Tensor, state: Any, control: Control = "on") -> tuple[Tensor, Any]:
        """Take T steps: from (R, B, T, features) to (R, B, T, d_out) and the state after the last."""
        ...


@runtime_checkable
class CompiledCell(Cell, Protocol):
    """A cell that can compile its step; as one program, a whole sequence would take minutes to compile."""

    compiled: bool
    """Whether steps are compiled."""
