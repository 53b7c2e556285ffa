"""What recurrent models of sequences have in common: a cell goes over the tokens and says something at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.encoding import SequenceConfig, TokenInput
from palimpsest.layers.linear import Linear
from palimpsest.memory.control import Control
from palimpsest.memory.trace import MemoryTrace
from palimpsest.models import Batch, ModelOutput


class Cell(Protocol):
    """A network with a state: what is said at a step depends on that step's input and on the state.

    One that is faster over many steps at once has a method ``unroll`` besides, from (R, B, T, features) to (R, B, T,
    d_out) and the state after the last; training takes that.
    """

    d_out: int
    """Features of what a step says."""

    def initial_state(self, batch: int) -> Any:
        """State before the first step, every tensor (R, B, …)."""
        ...

    def step(self, x: Tensor, state: Any, control: Control = "on") -> tuple[Tensor, Any]:
        """One step: (R, B, features) in, (R, B, d_out) and the next state out."""
        ...


class Look(NamedTuple):
    """What can be seen of a memory after a step; ``None`` where it has no such thing."""

    read_weights: Tensor | None
    write_weights: Tensor | None
    usage: Tensor | None


class RecurrentModel(nn.Module):
    """Tokens → cell → logits at every step; subclasses say which cell.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: SequenceConfig, runs: int) -> None:
        super().__init__()
        self.config = config
        self.input = TokenInput(runs, config)
        self.cell = self.make_cell(runs, self.input.d_out)
        self.head = Linear(runs, self.cell.d_out, config.num_outputs)

    def make_cell(self, runs: int, d_in: int) -> Any:
        """The cell (:class:`Cell`, an ``nn.Module``) for inputs of ``d_in`` features."""
        raise NotImplementedError(f"{type(self).__module__}: a recurrent model says which cell it has")

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Any = None) -> ModelOutput:
        """Logits (R, B, T, O) after every token.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: after the tokens before; ``None``: at the beginning.
        """
        del hyper
        carried = self.cell.initial_state(batch.inputs.shape[1]) if state is None else state
        said: list[Tensor] = []
        seen: list[Look] = []
        features: Float[Tensor, "runs batch time features"] = self.input(batch.inputs)
        unroll = getattr(self.cell, "unroll", None)
        if self.training and unroll is not None:
            outputs, carried = unroll(features, carried, batch.control)
            return ModelOutput(self.head(outputs), {}, MemoryTrace(), carried)
        for x in features.unbind(2):
            y, carried = self.cell.step(x, carried, batch.control)
            said.append(y)
            if not self.training:  # what a memory did is looked at in evaluation; training has no time for it
                seen.append(Look(*(_detached(getattr(carried, name, None)) for name in Look._fields)))
        return ModelOutput(self.head(torch.stack(said, 2)), {}, _trace(seen, carried), carried)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile a step where the cell can; as one program, a whole sequence would take minutes to compile."""
        if hasattr(self.cell, "compiled"):
            self.cell.compiled = True
        else:
            super().compile(*args, **kwargs)

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """Output under each control; nothing is written at random here, so that ``random_writes`` is ``on``."""
        said: dict[Control, ModelOutput] = {}
        for control in states:
            does: Control = "on" if control == "random_writes" else control
            if does not in said:
                said[does] = self(batch._replace(control=does), hyper, states[control])
        return [said["on" if control == "random_writes" else control] for control in states]


def _detached(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach()


def _trace(seen: list[Look], state: Any) -> MemoryTrace:
    """What was seen, stacked over time."""
    if not seen:
        return MemoryTrace()

    def stacked(of: Callable[[Look], Tensor | None]) -> Tensor | None:
        parts = [part for part in map(of, seen) if part is not None]
        return torch.stack(parts, 2) if parts else None

    return MemoryTrace(
        read_weighting=stacked(lambda look: look.read_weights),
        write_weighting=stacked(lambda look: look.write_weights),
        usage_steps=stacked(lambda look: look.usage),
        link=_detached(getattr(state, "link", None)),
    )
