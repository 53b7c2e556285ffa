"""The parts of MemNet as cells for packs of runs: one token or more in, outputs and a state back (source 002).

A bank takes a memory step when ``chunk`` tokens have come. Tokens of a step that is not complete are *open*: they have
read but not written, and the state carries them, so that a sequence in parts equals the whole.

Axes: R runs, B batch, T time, H heads, N slots of each head, D features of a slot over all heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory import slot_bank
from palimpsest.memory.control import Control
from palimpsest.memory.observable import ObservablePart
from palimpsest.memory.slot_bank import BankRecord, BankState, Step, bank_record
from palimpsest.models import Batch, ModelOutput, memnet
from palimpsest.models.shared.window import TransformerController, WindowConfig

Features = Float[Tensor, "runs batch time features"]
Outputs = Float[Tensor, "runs batch time outputs"]
Tokens = Int[Tensor, "runs batch time"]


class BankCellState(NamedTuple):
    """The state of a :class:`BankCell` between two tokens."""

    bank: BankState
    open: Float[Tensor, "runs batch begun features"]
    """Inputs of the tokens of the memory step that is not complete."""
    seen: int
    """Tokens so far, since the episode began."""


class ControllerState(NamedTuple):
    """The state of a :class:`ControllerCell` between two tokens."""

    past: Float[Tensor, "runs batch layers seen features"]
    """Inputs of each layer, as far back as a window sees."""


class MemNetCellState(NamedTuple):
    """The state of a :class:`MemNetCell` between two tokens."""

    model: memnet.MemNetState
    seen: int
    """Tokens so far, since the episode began."""


def observed(record: BankRecord, bank: BankState) -> dict[ObservablePart, Tensor]:
    """Return the parts of a bank after a step; usage is the mean over heads, a slot has the features of all heads."""
    return {
        "slots": bank.slots.transpose(2, 3).flatten(3),
        "read_weights": record.read_weights[:, :, -1],
        "write_weights": record.write_weights[:, :, -1],
        "usage": bank.usage.mean(2),
    }


def check_open(name: str, seen: int, begun: int, chunk: int) -> None:
    """Check that the open tokens of a state are those that memory steps of ``chunk`` tokens leave.

    Raises:
        ParameterError: they are not.
    """
    if seen < 0 or begun != seen % chunk:
        raise ParameterError(f"{name}: {begun} open of {seen} tokens; allowed: {seen % chunk}, in steps of {chunk}")


class BankCell(nn.Module):
    """A bank of slots that takes its inputs as a controller's features.

    Args:
        bank: the bank and its maps to keys and gates.
        chunk: tokens of a memory step.
    """

    def __init__(self, bank: slot_bank.MultiHeadMemoryBank, chunk: int) -> None:
        super().__init__()
        self.bank, self.chunk, self.d_out = bank, chunk, bank.d_out

    def initial_state(self, batch: int) -> BankCellState:
        """Return an empty bank."""
        weight = self.bank.interface.weight
        open_ = weight.new_zeros(len(weight), batch, 0, weight.shape[1])
        return BankCellState(self.bank.initial_state(batch), open_, 0)

    def check_state(self, state: BankCellState) -> None:
        """See :class:`palimpsest.faces.adapter.ChecksStates`."""
        check_open("BankCellState.open", state.seen, state.open.shape[2], self.chunk)

    def next_episode(self, state: BankCellState) -> BankCellState:
        """Return the first state of new sequences that find the slots as ``state`` has them."""
        return BankCellState(state.bank, state.open[:, :, :0], 0)

    def unroll(self, xs: Features, state: BankCellState, control: Control = "on") -> tuple[Outputs, BankCellState]:
        """Return what every token reads, and the state after the last."""
        steps, after = self._steps(xs, state, control)
        return torch.cat([step.reads for step in steps], 2)[:, :, state.open.shape[2] :], after

    def observe(self, x: Features, state: BankCellState) -> Mapping[ObservablePart, Tensor]:
        """Return the parts of the memory after one more token; see :class:`palimpsest.faces.adapter.Observes`."""
        steps, after = self._steps(x, state, "on")
        return observed(bank_record(steps, state.open.shape[2]), after.bank)

    def _steps(self, xs: Features, state: BankCellState, control: Control) -> tuple[list[Step], BankCellState]:
        """Take memory steps over open and new tokens; the last one may be incomplete, and then changes no slot."""
        bank, steps = state.bank, []
        first = (state.seen - state.open.shape[2]) // self.chunk
        parts = torch.cat([state.open, xs], 2).split(self.chunk, 2)
        for number, part in enumerate(parts, first):
            step = self.bank.step(self.bank.wishes(part), bank, control, None, number)
            steps.append(step)
            bank = step.state if part.shape[2] == self.chunk else bank
        begun = parts[-1].shape[2] % self.chunk
        return steps, BankCellState(bank, parts[-1][:, :, :begun], state.seen + xs.shape[2])


class ControllerCell(nn.Module):
    """Causal encoder layers, each of which sees a window of tokens.

    Args:
        controller: the layers.
        config: their sizes.
    """

    mixes_precision: ClassVar[bool] = True

    def __init__(self, controller: TransformerController, config: WindowConfig) -> None:
        super().__init__()
        self.controller, self.config, self.d_out = controller, config, config.width
        self.part = max(64, 2 * (config.window or 0))
        """Tokens that are encoded at once: attention costs this times the sequence, not the sequence's square."""

    def initial_state(self, batch: int) -> ControllerState:
        """Return the state in which nothing has been seen."""
        weight = next(self.controller.parameters())
        return ControllerState(weight.new_zeros(len(weight), batch, self.config.num_layers, 0, self.config.width))

    def unroll(self, xs: Features, state: ControllerState, control: Control = "on") -> tuple[Features, ControllerState]:
        """Encode tokens; there is no memory that ``control`` could change."""
        del control
        past, outputs = state.past, []
        for part in xs.split(self.part, 2):
            hidden, inputs = self.controller(part, past)
            past = self.controller.needed(inputs)
            outputs.append(hidden)
        return torch.cat(outputs, 2), ControllerState(past)


class MemNetCell(nn.Module):
    """The whole model, whose inputs are tokens and whose outputs are logits at every step.

    Args:
        model: the model of the experiments.
    """

    mixes_precision: ClassVar[bool] = True

    def __init__(self, model: memnet.Model) -> None:
        super().__init__()
        self.model, self.d_out = model, model.config.num_outputs

    def initial_state(self, batch: int) -> MemNetCellState:
        """Return an empty bank, and nothing seen."""
        return MemNetCellState(self.model.initial_state(batch), 0)

    def check_state(self, state: MemNetCellState) -> None:
        """See :class:`palimpsest.faces.adapter.ChecksStates`."""
        chunk, window = self.model.config.chunk, self.model.config.window
        begun, known = state.model.open.shape[2], state.model.past.shape[3]
        check_open("MemNetCellState.model.open", state.seen, begun, chunk)
        complete = state.seen - begun
        needed = complete if window is None else min(complete, window - 1)
        if known != needed:
            where = "MemNetCellState.model.past"
            raise ParameterError(f"{where}: {known} tokens; allowed: {needed}, in a window of {window}")

    def next_episode(self, state: MemNetCellState) -> MemNetCellState:
        """Return the first state of new sequences that find the slots as ``state`` has them."""
        begun = self.model.initial_state(state.model.open.shape[1])
        return MemNetCellState(begun._replace(bank=state.model.bank), 0)

    def unroll(self, xs: Tokens, state: MemNetCellState, control: Control = "on") -> tuple[Outputs, MemNetCellState]:
        """Return the logits of every token, and the state after the last."""
        output, after = self.run(xs, state, control)
        return output.logits, after

    def observe(self, x: Tokens, state: MemNetCellState) -> Mapping[ObservablePart, Tensor]:
        """Return the parts of the memory after one more token; see :class:`palimpsest.faces.adapter.Observes`."""
        output, after = self.run(x, state, watched=True)
        return observed(output.record, after.model.bank)

    def run(
        self, xs: Tokens, state: MemNetCellState, control: Control = "on", *, watched: bool = False
    ) -> tuple[ModelOutput, MemNetCellState]:
        """Return all that the model returns, and the state after the last token."""
        key = torch.zeros(len(xs), dtype=torch.int64, device=xs.device)
        batch = Batch(xs, key, {}, control, state.seen, _look_at_nothing if watched else None)
        output = self.model(batch, {}, state.model)
        return output, MemNetCellState(output.state, state.seen + xs.shape[2])


def _look_at_nothing(state: Any) -> None:
    """A watch that asks the model for its record and looks at nothing else."""
    del state
