"""Recurrent cells against PyTorch's own, run by run, and with the same bits in packs of any size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from palimpsest.layers.cells import FeedForwardCell, GRUCell, LSTMCell
from palimpsest.layers.initialisation import reset_parameters

CELLS = {"lstm": LSTMCell, "gru": GRUCell, "feedforward": FeedForwardCell}
EVERY = pytest.mark.parametrize("name", list(CELLS))


def drawn(name: str, runs: int = 2, d_in: int = 3, d_hidden: int = 5, dtype: torch.dtype = torch.float32) -> Any:
    """A cell with its weights drawn."""
    cell = CELLS[name](runs, d_in, d_hidden)
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return cell.to(dtype)


def inputs(
    runs: int = 2, batch: int = 3, time: int = 4, d_in: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """(T, R, B, d_in) normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(time, runs, batch, d_in, generator=generator, dtype=torch.float64).to(dtype)


def unrolled(cell: Any, xs: Tensor) -> Tensor:
    """The output of a cell after each step."""
    state, outputs = cell.initial_state(xs.shape[2]), []
    for x in xs:
        y, state = cell.step(x, state)
        outputs.append(y)
    return torch.stack(outputs)


def pytorch_cell(name: str, cell: Any, run: int) -> nn.Module:
    """PyTorch's cell with the weights of one run; its gates lie in the order i, f, g, o."""
    size = cell.d_out
    if name == "gru":
        other: nn.Module = nn.GRUCell(cell.d_in, size)
        weights = [cell.of_input.weight[run].T, cell.of_hidden.weight[run].T, cell.of_input.bias[run]]
        bias = cell.of_hidden.bias[run]
    else:
        other = nn.LSTMCell(cell.d_in, size)
        order = torch.cat([torch.arange(2 * size), torch.arange(3 * size, 4 * size), torch.arange(2 * size, 3 * size)])
        weights = [cell.of_input.weight[run].T[order], cell.recurrent[run].T[order], cell.of_input.bias[run][order]]
        bias = torch.zeros(4 * size)
    with torch.no_grad():
        for theirs, ours in zip(other.parameters(), [*weights, bias], strict=True):
            theirs.copy_(ours)
    return other


@pytest.mark.parametrize("name", ["lstm", "gru"])
@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 20), st.integers(0, 99))
def test_cells_equal_pytorchs_for_every_run(
    name: str, runs: int, batch: int, d_in: int, d_hidden: int, seed: int
) -> None:
    cell = drawn(name, runs, d_in, d_hidden)
    xs = inputs(runs, batch, 4, d_in, seed)
    outputs = unrolled(cell, xs)
    for run in range(runs):
        other, state = pytorch_cell(name, cell, run), None
        for step in range(4):
            state = other(xs[step, run], state)
            torch.testing.assert_close(outputs[step, run], state[0] if name == "lstm" else state, rtol=1e-5, atol=1e-6)


def test_a_feed_forward_cell_is_one_layer_that_remembers_nothing() -> None:
    cell, xs = drawn("feedforward"), inputs()
    for run in range(2):
        expected = torch.tanh(nn.functional.linear(xs[:, run], cell.of_input.weight[run].T, cell.of_input.bias[run]))
        torch.testing.assert_close(unrolled(cell, xs)[:, run], expected)
    assert cell.initial_state(3) == ()


@EVERY
@settings(max_examples=15)
@given(st.integers(1, 4), st.sampled_from([1, 5, 16, 21]), st.integers(0, 99))
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(name: str, batch: int, d_hidden: int, seed: int) -> None:
    pack, xs = drawn(name, 3, d_hidden=d_hidden), inputs(3, batch, seed=seed)
    outputs = unrolled(pack, xs)
    gradients = torch.autograd.grad(outputs.square().sum(), list(pack.parameters()))
    for run in range(3):
        alone = CELLS[name](1, 3, d_hidden)
        alone.load_state_dict({key: value[run : run + 1] for key, value in pack.state_dict().items()})
        mine = unrolled(alone, xs[:, run : run + 1])
        assert torch.equal(mine[:, 0], outputs[:, run])
        of_mine = torch.autograd.grad(mine.square().sum(), list(alone.parameters()))
        for gradient, others in zip(of_mine, gradients, strict=True):
            assert torch.equal(gradient[0], others[run])


@EVERY
def test_a_run_is_drawn_the_same_in_any_pack(name: str) -> None:
    pack = drawn(name, 3).state_dict()
    alone = CELLS[name](1, 3, 5)
    reset_parameters(alone, [torch.Generator().manual_seed(2)])
    for key, value in alone.state_dict().items():
        assert torch.equal(value[0], pack[key][2])
        assert value.abs().max() <= (3 if name == "feedforward" else 5) ** -0.5
        assert value.unique().numel() == value.numel()


@EVERY
def test_the_inputs_part_of_the_gates_can_be_computed_for_the_whole_sequence(name: str) -> None:
    cell, xs = drawn(name, dtype=torch.float64), inputs(dtype=torch.float64)
    of_inputs = cell.of_input(xs.transpose(0, 1)).transpose(0, 1)
    state, outputs = cell.initial_state(3), unrolled(cell, xs)
    for step in range(4):
        y, state = cell.advance(of_inputs[step], state)
        torch.testing.assert_close(y, outputs[step])


@EVERY
def test_gradients_agree_with_finite_differences(name: str) -> None:
    cell = drawn(name, 1, d_hidden=3, dtype=torch.float64)
    xs = inputs(1, 2, 2, dtype=torch.float64).requires_grad_()
    names, parameters = zip(*cell.named_parameters(), strict=True)

    def run(xs: Tensor, *values: Tensor) -> Tensor:
        outputs, state = [], cell.initial_state(2)
        for x in xs:
            y, state = torch.func.functional_call(cell, dict(zip(names, values, strict=True)), (x, state))
            outputs.append(y)
        return torch.stack([*outputs, *state])

    cell.forward = cell.step
    assert torch.autograd.gradcheck(run, (xs, *parameters))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_outputs_stay_bounded_and_gradients_finite_over_many_steps(name: str, dtype: torch.dtype, scale: float) -> None:
    cell, xs = drawn(name, dtype=dtype), scale * inputs(time=60, dtype=dtype)
    outputs = unrolled(cell, xs)
    assert outputs.dtype == dtype
    assert (outputs.abs() <= 1).all()
    outputs.float().square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in cell.parameters())


@EVERY
def test_a_step_changes_neither_the_state_nor_the_input(name: str) -> None:
    cell, xs = drawn(name), inputs()
    _, state = cell.step(xs[0], cell.initial_state(3))
    before, x = [part.clone() for part in state], xs[1].clone()
    first, _ = cell.step(xs[1], state)
    again, _ = cell.step(xs[1], state, "shuffled")
    assert torch.equal(first, again)
    assert torch.equal(xs[1], x)
    assert all(torch.equal(part, earlier) for part, earlier in zip(state, before, strict=True))
