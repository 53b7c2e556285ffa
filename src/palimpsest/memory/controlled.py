"""A controller beside a memory: an LSTM hears what was read in the step before, and the memory hears the LSTM."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.cells import LSTMCell, LSTMState
from palimpsest.memory.control import Control
from palimpsest.memory.sizes import at_least_one


class ControlledState(NamedTuple):
    """What a :class:`ControlledMemory` carries from step to step; what can be seen of the memory can be seen of it."""

    controller: LSTMState
    memory: Any
    """State of the memory."""
    reads: Float[Tensor, "runs batch reads"]
    """What was read, which the controller hears in the next step."""

    @property
    def slots(self) -> Tensor | None:
        """M of the memory, (R, B, N, W), where it has that."""
        return getattr(self.memory, "slots", None)

    @property
    def read_weights(self) -> Tensor | None:
        """Where the memory was read, (R, B, H, N), where it says so."""
        return getattr(self.memory, "read_weights", None)

    @property
    def write_weights(self) -> Tensor | None:
        """Where the memory was written, (R, B, H, N), where it says so."""
        return getattr(self.memory, "write_weights", None)

    @property
    def usage(self) -> Tensor | None:
        """Usage of its slots, (R, B, N), where it has that."""
        return getattr(self.memory, "usage", None)


class ControlledMemory(nn.Module):
    """An LSTM and one external memory, which hear each other.

        h_t = LSTM([x_t; r_{t−1}])        r_t = memory(h_t)        said: [h_t; r_t]

    The wiring of [Graves et al. 2014], [Graves et al. 2016] and [Santoro et al. 2016], around any memory: with
    :class:`palimpsest.memory.least_recently_used.LeastRecentlyUsedAccess` it is the last one's network.

    Args:
        runs: size R of the pack.
        d_in: features of x.
        d_hidden: units of the controller.
        memory: a cell for inputs of ``d_hidden`` features and ``runs`` runs.

    Raises:
        ParameterError: a size is below one.
    """

    def __init__(self, runs: int, d_in: int, d_hidden: int, memory: Any) -> None:
        super().__init__()
        at_least_one(runs=runs, d_in=d_in, d_hidden=d_hidden)
        self.controller = LSTMCell(runs, d_in + memory.d_out, d_hidden)
        self.memory = memory
        self.d_out = d_hidden + memory.d_out

    def initial_state(self, batch: int) -> ControlledState:
        """Both at their beginning; zeros were read."""
        controller = self.controller.initial_state(batch)
        hidden = controller.hidden
        reads = hidden.new_zeros(*hidden.shape[:2], self.memory.d_out)
        return ControlledState(controller, self.memory.initial_state(batch), reads)

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: ControlledState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], ControlledState]:
        """Hear, then write and read; a control is one of the memory, and the controller hears what it leaves."""
        hidden, controller = self.controller.step(torch.cat([x, state.reads], -1), state.controller)
        reads, memory = self.memory.step(hidden, state.memory, control)
        return torch.cat([hidden, reads], -1), ControlledState(controller, memory, reads)
