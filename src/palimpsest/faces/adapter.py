"""A cell for packs of runs as a plain PyTorch module: (batch, time, features) in and out, the state handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Generator, Tensor, nn

from palimpsest.faces.states import check_state, copied_to, stored_type
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.layers.transformer import reset_parameters
from palimpsest.memory.control import CONTROLS, Control
from palimpsest.memory.persistence import load_state, save_state


class Record(NamedTuple):
    """What a memory did over a sequence; ``None`` where it has no such thing. Without gradients."""

    outputs: Tensor
    """(batch, time, features)."""
    slots: Tensor | None
    """(batch, time, slots, dim): what the memory held after each step."""
    read_weights: Tensor | None
    """(batch, time, heads, slots): where it was read, non-negative, at most 1 in sum."""
    write_weights: Tensor | None
    """(batch, time, heads, slots): where it was written, non-negative, at most 1 in sum."""
    usage: Tensor | None
    """(batch, time, slots), in [0, 1]."""
    state: Any
    """After the last step."""


class CellModule(nn.Module):
    """Any cell as a module of its own, whose parameters are drawn when it is made.

    As of every module of PyTorch, ``torch.manual_seed`` decides what is drawn, ``to`` moves it, ``state_dict`` has its
    parameters, and any optimiser of ``torch.optim`` trains it. It keeps nothing between two calls: the state is given
    and returned. A state is the cell's own named tuple, whose tensors begin with an axis of length 1 for the only run.

    Args:
        cell: for packs of one run.
        in_features: of the inputs.
        out_features: of a linear map behind the cell; ``None``: what the cell says is what comes out.
        before: module that the inputs go through first.
        residual: whether the inputs are added to what comes out; both then have the same features.
    """

    def __init__(
        self,
        cell: Any,
        in_features: int,
        out_features: int | None = None,
        *,
        before: nn.Module | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if out_features is not None and out_features < 1:
            raise ParameterError(f"output_size: {out_features} is too small; allowed: 1 or more")
        self.cell = cell
        device = next(cell.parameters()).device
        seed = int(torch.randint(2**62, ()))
        reset_parameters(cell, [Generator(device).manual_seed(seed)])
        self.before = nn.Identity() if before is None else before
        self.after = nn.Identity() if out_features is None else nn.Linear(cell.d_out, out_features)
        self.in_features, self.residual = in_features, residual
        self.out_features: int = cell.d_out if out_features is None else out_features

    @overload
    def forward(
        self, x: Tensor, state: Any = None, *, return_state: Literal[False] = False, control: Control = "on"
    ) -> Tensor: ...

    @overload
    def forward(
        self, x: Tensor, state: Any = None, *, return_state: Literal[True], control: Control = "on"
    ) -> tuple[Tensor, Any]: ...

    def forward(
        self, x: Tensor, state: Any = None, *, return_state: bool = False, control: Control = "on"
    ) -> Tensor | tuple[Tensor, Any]:
        """What is said at every step.

        Args:
            x: (batch, time, features).
            state: that a call returned for the steps before; ``None``: these are the first.
            return_state: whether the state after the last step is wanted, too. It has gradients: see :meth:`detached`.
            control: ``off`` silences all reads, ``shuffled`` swaps memories within the batch; ``on`` is as it is.

        Returns:
            (batch, time, ``out_features``), or that and the state.

        Raises:
            ParameterError: ``x`` or ``state`` is of another shape or type, or there is no such control.
        """
        self._check(x, state, control)
        before = self.cell.initial_state(len(x)) if state is None else state
        said, after = self._over_time(self.before(x)[None], before, control)
        outputs = self.after(said[0])
        outputs = x + outputs if self.residual else outputs
        return (outputs, after) if return_state else outputs

    def _over_time(self, xs: Tensor, state: Any, control: Control) -> tuple[Tensor, Any]:
        """The cell over a sequence, in the precision of its parameters: what is rounded in a memory stays there."""
        kind = xs.device.type
        if not torch.is_autocast_enabled(kind):
            return over_time(self.cell, xs, state, control)
        with torch.autocast(kind, enabled=False):
            return over_time(self.cell, xs.to(self._dtype()), state, control)

    def _dtype(self) -> torch.dtype:
        return next(self.cell.parameters()).dtype

    def _check(self, x: Tensor, state: Any, control: Control) -> None:
        if x.dim() != 3 or x.shape[1] < 1 or x.shape[2] != self.in_features:
            raise ParameterError(f"x: shape {tuple(x.shape)}; allowed: (batch, time, {self.in_features}), time from 1")
        rounded = x.is_floating_point() and torch.is_autocast_enabled(x.device.type)
        if x.dtype != self._dtype() and not rounded:
            raise ParameterError(f"x: {x.dtype}; allowed: {self._dtype()}, as the parameters")
        if control not in CONTROLS:
            raise ParameterError(f"control: {control!r} is no control; allowed: {', '.join(CONTROLS)}")
        if state is not None:
            check_state(state, self.cell.initial_state(0), batch=len(x))

    @torch.no_grad()
    def record(self, x: Tensor, state: Any = None) -> Record:
        """What a memory does over a sequence, step by step; slower than a call, and of the size of all its states.

        Args:
            x: (batch, time, features).
            state: after the steps before; ``None``: these are the first.

        Raises:
            ParameterError: ``x`` or ``state`` is of another shape or type.
        """
        self._check(x, state, "on")
        said: list[Tensor] = []
        seen: dict[str, list[Tensor]] = {"slots": [], "read_weights": [], "write_weights": [], "usage": []}
        for now in x.split(1, 1):
            outputs, state = self(now, state, return_state=True)
            said.append(outputs)
            for name, steps in seen.items():
                part = self._seen(name, state)
                if part is not None:
                    steps.append(part[0])
        parts = {name: torch.stack(steps, 1) if steps else None for name, steps in seen.items()}
        return Record(torch.cat(said, 1), state=state, **parts)

    def _seen(self, name: str, state: Any) -> Tensor | None:
        """Part of a state by name; a cell that keeps it in another form has a method of this name."""
        made = getattr(self.cell, name, None)
        found: Any = made(state) if callable(made) else getattr(state, name, None)
        return found

    def initial_state(self, batch: int) -> Any:
        """The state before the first step of ``batch`` sequences.

        Raises:
            ParameterError: ``batch`` is below one.
        """
        if batch < 1:
            raise ParameterError(f"batch: {batch} is too small; allowed: 1 or more")
        return self.cell.initial_state(batch)

    def save(self, path: str | Path, state: Any) -> None:
        """Write a state, so that :meth:`load` gives the same bits back; parameters are in ``state_dict``.

        Args:
            path: of a safetensors file.
            state: that a call returned.

        Raises:
            ParameterError: ``state`` is none of this module.
            DataError: the file cannot be written.
        """
        check_state(state, self.cell.initial_state(0))
        save_state(Path(path), state)

    def load(self, path: str | Path) -> Any:
        """The state that :meth:`save` wrote, on the device of the parameters.

        Raises:
            DataError: the file is missing, corrupt, or holds a state of another module or of other sizes.
        """
        pattern = self.cell.initial_state(0)
        state = load_state(Path(path), stored_type(pattern))
        state = copied_to(state, pattern, next(self.parameters()).device)
        try:
            check_state(state, pattern)
        except ParameterError as error:
            raise DataError(f"{path}: {error}") from None
        return state

    def extra_repr(self) -> str:
        """Features in and out."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


def over_time(cell: Any, xs: Tensor, state: Any, control: Control) -> tuple[Tensor, Any]:
    """What a cell says over a whole sequence, (R, B, T, d_out), and its state after it."""
    if hasattr(cell, "unroll"):
        return cell.unroll(xs, state, control)
    said = []
    for x in xs.unbind(2):
        y, state = cell.step(x, state, control)
        said.append(y)
    return torch.stack(said, 2), state
