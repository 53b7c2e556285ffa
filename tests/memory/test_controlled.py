"""A controller and a memory exchange outputs as in the equations, whatever the memory is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.controlled import ControlledMemory
from palimpsest.memory.named import named_memory, names

EVERY = pytest.mark.parametrize("name", names())
D_IN, HIDDEN = 3, 5


def drawn(name: Any, runs: int = 2, dtype: torch.dtype = torch.float64) -> ControlledMemory:
    cell = ControlledMemory(runs, D_IN, HIDDEN, named_memory(name, runs, HIDDEN, 6, 4))
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return cell.to(dtype)


def inputs(time: int = 6) -> Tensor:
    return torch.randn(2, 3, time, D_IN, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def torchs(cell: ControlledMemory, run: int) -> nn.LSTMCell:
    """PyTorch's LSTM cell with one run's weights; its gates lie in the order i, f, g, o."""
    own = nn.LSTMCell(cell.controller.d_in, HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        for target, source in (
            (own.weight_ih, cell.controller.of_input.weight),
            (own.bias_ih, cell.controller.of_input.bias),
            (own.weight_hh, cell.controller.recurrent),
        ):
            i, f, o, g = source[run].split(HIDDEN, -1)
            target.copy_(torch.cat([i, f, g, o], -1).movedim(-1, 0))
        own.bias_hh.zero_()
    return own


@EVERY
def test_the_controller_takes_the_last_read_and_the_memory_takes_the_controllers_output(name: str) -> None:
    cell, xs = drawn(name), inputs()
    state, memory = cell.initial_state(3), cell.memory.initial_state(3)
    own = [torchs(cell, run) for run in range(2)]
    hidden = kept = torch.zeros(2, 3, HIDDEN, dtype=torch.float64)
    reads = torch.zeros(2, 3, cell.memory.d_out, dtype=torch.float64)
    for x in xs.unbind(2):
        outputs, state = cell.step(x, state)
        projected = torch.cat([x, reads], -1)
        of_runs = [lstm(projected[run], (hidden[run], kept[run])) for run, lstm in enumerate(own)]
        hidden, kept = (torch.stack(parts) for parts in zip(*of_runs, strict=True))
        reads, memory = cell.memory.step(hidden, memory)
        torch.testing.assert_close(outputs, torch.cat([hidden, reads], -1))
        torch.testing.assert_close(state.reads, reads)
    assert outputs.shape[-1] == cell.d_out


@EVERY
def test_the_state_has_the_observable_parts_of_the_memory(name: str) -> None:
    cell = drawn(name)
    _, state = cell.step(inputs()[:, :, 0], cell.initial_state(3))
    for field in ("slots", "read_weights", "write_weights", "usage"):
        seen, own = getattr(state, field), getattr(state.memory, field, None)
        assert seen is own or torch.equal(seen, own), field  # a sparse memory makes its weights when they are asked for


@EVERY
def test_under_off_the_controller_continues_alone(name: str) -> None:
    cell, xs = drawn(name), inputs()
    state, own = cell.initial_state(3), torchs(cell, 0)
    hidden = kept = torch.zeros(3, HIDDEN, dtype=torch.float64)
    for x in xs.unbind(2):
        outputs, state = cell.step(x, state, "off")
        hidden, kept = own(torch.cat([x[0], torch.zeros(3, cell.memory.d_out)], -1), (hidden, kept))
        torch.testing.assert_close(outputs[0, :, :HIDDEN], hidden)
        assert not outputs[:, :, HIDDEN:].any()


@pytest.mark.parametrize("name", ["runs", "d_in", "d_hidden"])
def test_sizes_below_one_are_refused_in_one_line(name: str) -> None:
    sizes = {"runs": 1, "d_in": D_IN, "d_hidden": HIDDEN, "memory": named_memory("cell", 1, HIDDEN, 6, 4)}
    with pytest.raises(ParameterError, match=f"^{name}: 0 is too small; allowed: 1 or more$"):
        ControlledMemory(**{**sizes, name: 0})
