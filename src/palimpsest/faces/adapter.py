"""Adapter that turns a cell for packs of runs into a plain PyTorch module with axes (batch, time, features)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, overload, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from palimpsest.faces.states import check_state, copied_to, stored_type
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.product import rounding
from palimpsest.memory.control import CONTROLS, Control
from palimpsest.memory.observable import ObservablePart, observable
from palimpsest.memory.persistence import load_state, save_state
from palimpsest.memory.sizes import at_least_one

Result = TypeVar("Result")
PARTS: tuple[ObservablePart, ...] = ("slots", "read_weights", "write_weights", "usage")
"""What a :class:`Record` has of a memory."""


class Record(NamedTuple):
    """Record of a memory over a sequence, without gradients; a part that the memory does not have is ``None``."""

    outputs: Tensor
    """(batch, time, features)."""
    slots: Tensor | None
    """(batch, time, slots, dim): content of the slots after each step."""
    read_weights: Tensor | None
    """(batch, time, heads, slots): non-negative, sums to at most 1 over slots."""
    write_weights: Tensor | None
    """(batch, time, heads, slots): non-negative, sums to at most 1 over slots."""
    usage: Tensor | None
    """(batch, time, slots), in [0, 1]."""
    state: Any
    """The state after the last step."""


@runtime_checkable
class Unrolls(Protocol):
    """A cell with a faster pass over a whole sequence; other cells take one step after the other."""

    def unroll(self, xs: Tensor, state: Any, control: Control) -> tuple[Tensor, Any]:
        """Return the outputs of all steps, (R, B, T, d_out), and the state after the last step."""
        ...


@runtime_checkable
class ComputesSlots(Protocol):
    """A cell that computes its slots from a state; the states of other cells have a field ``slots``, or no slots."""

    def slots(self, state: Any) -> Tensor:
        """Return the slots of a state, (R, B, N, W)."""
        ...


@runtime_checkable
class Observes(Protocol):
    """A cell whose states do not hold what the last step read and wrote; it computes this when it is asked."""

    def observe(self, x: Tensor, state: Any) -> Mapping[ObservablePart, Tensor]:
        """Return the parts of the memory, each (R, B, …), after one more step.

        Args:
            x: (R, B, 1, …), the step's input.
            state: before the step.
        """
        ...


@runtime_checkable
class MixesPrecision(Protocol):
    """A cell that may run with rounded factors of matrix products; its state stays in the type of its parameters."""

    mixes_precision: bool
    """True of every cell that has this attribute."""


@runtime_checkable
class ChecksStates(Protocol):
    """A cell whose states have to fit in more than shapes and types."""

    def check_state(self, state: Any) -> None:
        """Check a state whose shapes and types fit.

        Raises:
            ParameterError: the state is of a cell with other parameters.
        """
        ...


class CellModule(nn.Module):
    """A cell as a PyTorch module, whose parameters are drawn when the module is created.

    It behaves like every PyTorch module: ``torch.manual_seed`` sets the drawn parameters, ``to`` moves them,
    ``state_dict`` contains them, and any optimiser of ``torch.optim`` trains them. It stores nothing between two calls:
    a call takes the state and returns the next one. A state is the cell's own named tuple. Its tensors begin with an
    axis of length 1, for the single run.

    Args:
        cell: a cell for packs of one run.
        in_features: number of input features.
        out_features: outputs of a linear map behind the cell; ``None``: no map, the cell's outputs are returned.
        before: module that is applied to the inputs first; ``None``: no module.
        residual: whether the inputs are added to the outputs; both must then have the same number of features.
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
        """Compute the outputs of all steps.

        Args:
            x: (batch, time, features).
            state: the state that the previous call returned; ``None``: the sequences start here.
            return_state: whether to return the state after the last step, too. It has gradients; see
                :func:`palimpsest.faces.states.detached`.
            control: ``on``: no change; ``off``: all reads are zero; ``shuffled``: memories are swapped within the
                batch.

        Returns:
            The outputs, (batch, time, ``out_features``); with ``return_state`` the outputs and the state.

        Raises:
            ParameterError: ``x`` or ``state`` has another shape or type, or ``control`` is unknown.
        """
        self._check(x, state, control)
        before = self.cell.initial_state(len(x)) if state is None else state
        cell_outputs, after = self._over_time(self.before(x)[None], before, control)
        outputs = self.after(cell_outputs[0])
        outputs = x + outputs if self.residual else outputs
        return (outputs, after) if return_state else outputs

    def _over_time(self, xs: Tensor, state: Any, control: Control) -> tuple[Tensor, Any]:
        return self._in_its_precision(lambda exact: over_time(self.cell, exact, state, control), xs)

    def _in_its_precision(self, run: Callable[[Tensor], Result], xs: Tensor) -> Result:
        """Run the cell in the precision of its parameters, because rounding errors in a memory accumulate.

        Under autocast to bfloat16 the products of a cell that :class:`MixesPrecision` are rounded, and nothing else.
        """
        kind = xs.device.type
        if not torch.is_autocast_enabled(kind):
            return run(xs)
        rounds = isinstance(self.cell, MixesPrecision) and torch.get_autocast_dtype(kind) == torch.bfloat16
        with torch.autocast(kind, enabled=False), rounding("bfloat16", xs.device) if rounds else nullcontext():
            return run(xs.to(self._dtype()) if xs.is_floating_point() else xs)

    def _dtype(self) -> torch.dtype:
        return next(self.cell.parameters()).dtype

    def _check(self, x: Tensor, state: Any, control: Control) -> None:
        self._check_inputs(x)
        if control not in CONTROLS:
            raise ParameterError(f"control: {control!r} is unknown; allowed: {', '.join(CONTROLS)}")
        if state is not None:
            self.check_state(state, batch=len(x))

    def check_state(self, state: Any, batch: int | None = None) -> None:
        """Check that a state is one of this module.

        Args:
            state: given by the user.
            batch: number of sequences that the state must have; ``None``: any number.

        Raises:
            ParameterError: it is not; one line with the part and what is allowed.
        """
        check_state(state, self.cell.initial_state(0), batch)
        if isinstance(self.cell, ChecksStates):
            self.cell.check_state(state)

    def _check_inputs(self, x: Tensor) -> None:
        if x.dim() != 3 or x.shape[1] < 1 or x.shape[2] != self.in_features:
            raise ParameterError(f"x: shape {tuple(x.shape)}; allowed: (batch, time, {self.in_features}), time from 1")
        autocast = x.is_floating_point() and torch.is_autocast_enabled(x.device.type)
        if x.dtype != self._dtype() and not autocast:
            raise ParameterError(f"x: {x.dtype}; allowed: {self._dtype()}, as the parameters")

    @torch.no_grad()
    def record(self, x: Tensor, state: Any = None) -> Record:
        """Record a memory over a sequence; this is slower than a call, and needs memory for the states of all steps.

        Args:
            x: (batch, time, features).
            state: the state before the first step; ``None``: the sequences start here.

        Raises:
            ParameterError: ``x`` or ``state`` has another shape or type.
        """
        self._check(x, state, "on")
        state = self.initial_state(len(x)) if state is None else state
        outputs: list[Tensor] = []
        observed: dict[ObservablePart, list[Tensor]] = {name: [] for name in PARTS}
        for step in x.split(1, 1):
            before = state
            y, state = self(step, before, return_state=True)
            outputs.append(y)
            for name, part in self._observed(step, before, state).items():
                observed[name].append(part[0])
        parts = {name: torch.stack(steps, 1) if steps else None for name, steps in observed.items()}
        return Record(torch.cat(outputs, 1), state=state, **parts)

    def _observed(self, step: Tensor, before: Any, after: Any) -> Mapping[ObservablePart, Tensor]:
        """Return the parts of the memory after a step, each (1, batch, …), by name; those that it has."""
        cell = self.cell
        if isinstance(cell, Observes):
            return self._in_its_precision(lambda exact: cell.observe(exact, before), self.before(step)[None])
        found: dict[ObservablePart, Tensor] = {}
        for name in PARTS:
            part = observable(after, name)
            if part is not None:
                found[name] = part
        if isinstance(cell, ComputesSlots):
            found["slots"] = cell.slots(after)
        return found

    def initial_state(self, batch: int) -> Any:
        """Return the state before the first step of ``batch`` sequences.

        Raises:
            ParameterError: ``batch`` is below one.
        """
        if batch < 1:
            raise ParameterError(f"batch: {batch} is too small; allowed: 1 or more")
        return self.cell.initial_state(batch)

    def save(self, path: str | Path, state: Any) -> None:
        """Write a state; :meth:`load` returns the same bits. The parameters are in ``state_dict``.

        Args:
            path: a safetensors file.
            state: a state that a call returned.

        Raises:
            ParameterError: ``state`` is not a state of this module.
            DataError: the file cannot be written.
        """
        self.check_state(state)
        save_state(Path(path), state)

    def load(self, path: str | Path) -> Any:
        """Return the state that :meth:`save` wrote, on the device of the parameters.

        Raises:
            DataError: the file is missing or corrupt, or holds a state of another module or of other sizes.
        """
        pattern = self.cell.initial_state(0)
        state = load_state(Path(path), stored_type(pattern))
        state = copied_to(state, pattern, next(self.parameters()).device)
        try:
            self.check_state(state)
        except ParameterError as error:
            raise DataError(f"{path}: {error}") from None
        return state

    def extra_repr(self) -> str:
        """Return the numbers of input and output features."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


class TokenModule(CellModule):
    """A :class:`CellModule` whose inputs are tokens, int64 numbers (batch, time), and not features.

    Args:
        cell: a cell for packs of one run, which takes tokens (1, batch, time) and unrolls.
        vocabulary: number of different tokens.
    """

    def __init__(self, cell: Any, vocabulary: int) -> None:
        at_least_one(vocabulary=vocabulary)
        super().__init__(cell, 1)
        self.vocabulary = vocabulary

    def _check_inputs(self, x: Tensor) -> None:
        if x.dim() != 2 or x.shape[1] < 1:
            raise ParameterError(f"x: shape {tuple(x.shape)}; allowed: (batch, time), time from 1")
        if x.dtype != torch.int64:
            raise ParameterError(f"x: {x.dtype}; allowed: torch.int64, tokens")
        if x.numel():
            least, most = int(x.min()), int(x.max())
            if least < 0 or most >= self.vocabulary:
                wrong = least if least < 0 else most
                raise ParameterError(f"x: token {wrong}; allowed: 0 to {self.vocabulary - 1}")

    def extra_repr(self) -> str:
        """Return the number of tokens and of output features."""
        return f"vocabulary={self.vocabulary}, out_features={self.out_features}"


def over_time(cell: Any, xs: Tensor, state: Any, control: Control) -> tuple[Tensor, Any]:
    """Return a cell's outputs over a sequence, (R, B, T, d_out), and its state after the last step."""
    if isinstance(cell, Unrolls):
        return cell.unroll(xs, state, control)
    outputs = []
    for x in xs.unbind(2):
        y, state = cell.step(x, state, control)
        outputs.append(y)
    return torch.stack(outputs, 2), state
