"""A controller and a memory: the LSTM takes the last read as input, and the memory takes the LSTM's output."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.cells import LSTMCell, LSTMState
from palimpsest.memory.control import Control
from palimpsest.memory.observable import observable
from palimpsest.memory.sizes import at_least_one


class ControlledState(NamedTuple):
    """The state of a :class:`ControlledMemory` between two steps; it has the observable parts of its memory's state."""

    controller: LSTMState
    memory: Any
    """State of the memory."""
    reads: Float[Tensor, "runs batch reads"]
    """The reads, an input of the controller in the next step."""

    @property
    def slots(self) -> Tensor | None:
        """M of the memory, (R, B, N, W); ``None`` if its state has no slots."""
        return observable(self.memory, "slots")

    @property
    def read_weights(self) -> Tensor | None:
        """The memory's read weights, (R, B, H, N); ``None`` if its state has none."""
        return observable(self.memory, "read_weights")

    @property
    def write_weights(self) -> Tensor | None:
        """The memory's write weights, (R, B, H, N); ``None`` if its state has none."""
        return observable(self.memory, "write_weights")

    @property
    def usage(self) -> Tensor | None:
        """Usage of the memory's slots, (R, B, N); ``None`` if its state has none."""
        return observable(self.memory, "usage")


class ControlledMemory(nn.Module):
    """An LSTM and one external memory, each of which takes the other's output as input.

        h_t = LSTM([x_t; r_{t−1}])        r_t = memory(h_t)        output: [h_t; r_t]

    The connections are those of [Graves et al. 2014], [Graves et al. 2016] and [Santoro et al. 2016], for any memory.
    With :class:`palimpsest.memory.least_recently_used.LeastRecentlyUsedAccess` it is the network of [Santoro et al.].

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
        """Return the initial states of both, with reads of zero."""
        controller = self.controller.initial_state(batch)
        hidden = controller.hidden
        reads = hidden.new_zeros(*hidden.shape[:2], self.memory.d_out)
        return ControlledState(controller, self.memory.initial_state(batch), reads)

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: ControlledState, control: Control = "on"
    ) -> tuple[Float[Tensor, "runs batch d_out"], ControlledState]:
        """Step the controller, then the memory; the control applies to the reads, which the controller takes, too."""
        hidden, controller = self.controller.step(torch.cat([x, state.reads], -1), state.controller)
        reads, memory = self.memory.step(hidden, state.memory, control)
        return torch.cat([hidden, reads], -1), ControlledState(controller, memory, reads)
