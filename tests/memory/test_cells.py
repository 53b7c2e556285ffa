"""Every memory cell keeps the contract of cells: shapes, purity, packs, chunks, controls, gradients, no bad number."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.foundation.tree import leaves, with_leaves
from tests.memory.cells import CELLS, HARD, RECTIFIED, drawn, inputs, unroll

EVERY = pytest.mark.parametrize("name", sorted(CELLS))


def tensors_of(state: Any) -> dict[str, Tensor]:
    """The tensors of a state, also of states within it, by path."""
    return {path: part for path, part in leaves(state, "state").items() if isinstance(part, Tensor)}


def scored(cell: Any, xs: Tensor) -> Tensor:
    """Any smooth number that depends on all outputs of a cell."""
    return (unroll(cell, xs)[0] * torch.linspace(-1, 2, cell.d_out, dtype=xs.dtype)).square().sum()


@EVERY
def test_shapes_and_types_are_what_the_contract_says(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        cell = drawn(name, dtype=dtype)
        outputs, states = unroll(cell, inputs(dtype=dtype))
        assert outputs.shape == (2, 3, 6, cell.d_out)
        assert outputs.dtype == dtype
        for state in (cell.initial_state(3), *states):
            for field, part in tensors_of(state).items():
                assert part.shape[:2] == (2, 3), field
                assert part.dtype in (dtype, torch.int64), field


@EVERY
def test_weightings_are_non_negative_and_sum_to_at_most_one(name: str) -> None:
    cell = drawn(name)
    for state in unroll(cell, inputs(time=20, scale=3.0))[1]:
        for field in ("read_weights", "write_weights"):
            weights = getattr(state, field, None)
            if weights is not None:
                assert weights.dim() == 4, field
                assert (weights >= 0).all(), field
                assert (weights.sum(-1) <= 1 + 1e-5).all(), field
        usage = getattr(state, "usage", None)
        if usage is not None:
            assert usage.dim() == 3
            assert ((usage >= 0) & (usage <= 1 + 1e-6)).all()


@EVERY
def test_a_step_changes_nothing_that_was_there_before_it(name: str) -> None:
    cell = drawn(name)
    xs = inputs()
    _, states = unroll(cell, xs)
    before = {field: part.detach().clone() for field, part in tensors_of(states[-1]).items()}
    parameters = copy.deepcopy(cell.state_dict())
    first, _ = cell.step(xs[:, :, 0], states[-1])
    cell.step(xs[:, :, 1], states[-1])
    again, _ = cell.step(xs[:, :, 0], states[-1])
    assert torch.equal(first, again)
    for field, part in tensors_of(states[-1]).items():
        assert torch.equal(part, before[field]), field
    assert all(torch.equal(value, parameters[key]) for key, value in cell.state_dict().items())


@EVERY
@settings(max_examples=5)
@given(cut=st.integers(0, 6), seed=st.integers(0, 1000))
def test_a_whole_sequence_equals_its_chunks(name: str, cut: int, seed: int) -> None:
    cell = drawn(name)
    xs = inputs(seed=seed)
    whole, states = unroll(cell, xs)
    state = cell.initial_state(3) if cut == 0 else states[cut - 1]
    if cut < 6:
        rest, ends = unroll(cell, xs[:, :, cut:], state)
        assert torch.equal(rest, whole[:, :, cut:])
        for field, part in tensors_of(ends[-1]).items():
            assert torch.equal(part, tensors_of(states[-1])[field]), field


@EVERY
@pytest.mark.parametrize("position", [0, 1, 4])
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(name: str, position: int) -> None:
    pack, alone = drawn(name, runs=5), drawn(name, runs=1)
    with torch.no_grad():
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            mine.copy_(theirs[position : position + 1])
    xs = inputs(runs=5, time=9)
    together, single = (
        (cell, *unroll(cell, part)) for cell, part in ((pack, xs), (alone, xs[position : position + 1]))
    )
    assert torch.equal(together[1][position], single[1][0])
    for field, part in tensors_of(single[2][-1]).items():
        assert torch.equal(tensors_of(together[2][-1])[field][position], part[0]), field
    for _, outputs, _ in (together, single):
        outputs.square().sum((1, 2, 3)).sum().backward()
    for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
        assert torch.equal(mine.grad[0], theirs.grad[position])


@EVERY
def test_examples_of_a_batch_do_not_see_each_other(name: str) -> None:
    cell = drawn(name)
    xs = inputs(batch=4)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(unroll(cell, xs[:, order])[0], unroll(cell, xs)[0][:, order], rtol=1e-5, atol=1e-6)


@EVERY
def test_under_off_outputs_are_zero_but_the_memory_continues(name: str) -> None:
    cell = drawn(name)
    on, states = unroll(cell, inputs())
    off, silent = unroll(cell, inputs(), control="off")
    assert on.any()
    assert not off.any()
    for field, part in tensors_of(silent[-1]).items():
        assert torch.equal(part, tensors_of(states[-1])[field]), field


@EVERY
def test_under_shuffled_the_neighbours_memory_is_read(name: str) -> None:
    cell = drawn(name)
    xs = inputs()
    state = unroll(cell, xs)[1][-1]
    x = xs[:, :1, 0].expand(-1, 3, -1)
    on, _ = cell.step(x, state)
    shuffled, _ = cell.step(x, state, "shuffled")
    torch.testing.assert_close(shuffled, on.roll(1, 1), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(shuffled, on, atol=1e-5)


@EVERY
def test_outputs_depend_on_earlier_inputs(name: str) -> None:
    cell = drawn(name)
    xs = inputs()
    other = xs.clone()
    other[:, :, 2] += 1
    difference = (unroll(cell, xs)[0] - unroll(cell, other)[0]).abs()
    assert not difference[:, :, :2].any()
    assert (difference[:, :, 3:].amax((2, 3)) > 1e-4).all()


@EVERY
def test_a_loss_reaches_every_parameter_of_every_run(name: str) -> None:
    cell = drawn(name)
    unroll(cell, inputs(time=12))[0].square().sum().backward()
    for key, parameter in cell.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        if parameter.dim() == 2 or key in RECTIFIED:
            assert parameter.grad.flatten(1).any(-1).all(), key
        else:  # every gate and every feature of a projection, not only one of them
            assert parameter.grad.any(1).all(), key


@EVERY
def test_gradients_equal_differences(name: str) -> None:
    if name in HARD:
        pytest.skip(HARD[name])
    cell = drawn(name, runs=1, dtype=torch.float64)
    parameters = dict(cell.named_parameters())
    xs = inputs(runs=1, batch=2, time=5, dtype=torch.float64).requires_grad_()

    def of(x: Tensor, *values: Tensor) -> Tensor:
        def outputs(x: Tensor) -> Tensor:
            return scored(cell, x)

        with torch.nn.utils.stateless._reparametrize_module(cell, dict(zip(parameters, values, strict=True))):
            return outputs(x)

    values = tuple(value.detach().clone().requires_grad_() for value in parameters.values())
    assert torch.autograd.gradcheck(of, (xs, *values), eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", sorted(set(CELLS) - {"sparse_exact"}))  # that of hashed search, which is slow enough
def test_a_thousand_steps_and_their_gradient_are_finite(name: str) -> None:
    cell = drawn(name, runs=1)
    xs = inputs(runs=1, batch=3, time=1000)
    xs = (xs * torch.tensor([0.0, 1.0, 100.0])[:, None, None]).requires_grad_()
    outputs, states = unroll(cell, xs)
    assert torch.isfinite(outputs).all()
    for field, part in tensors_of(states[-1]).items():
        assert torch.isfinite(part).all(), field
    outputs.square().mean().backward()
    assert torch.isfinite(xs.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in cell.parameters())


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_no_bad_number(name: str, dtype: torch.dtype) -> None:
    cell = drawn(name, dtype=dtype)
    for scale in (0.0, 1.0, 10.0):
        outputs, _ = unroll(cell, inputs(time=20, dtype=dtype, scale=scale))
        assert torch.isfinite(outputs).all()
        if scale <= 1:  # float16 ends at 65504, gradients of large inputs do not
            outputs.float().square().mean().backward()
            assert all(torch.isfinite(parameter.grad).all() for parameter in cell.parameters())


@EVERY
def test_float32_is_float64_but_for_rounding(name: str) -> None:
    xs = inputs(dtype=torch.float64)
    exact, _ = unroll(drawn(name).double(), xs)
    torch.testing.assert_close(unroll(drawn(name), xs.float())[0].double(), exact, rtol=1e-4, atol=1e-5)


@EVERY
@pytest.mark.parametrize("value", [0.0, 1e-30, -1.0])
def test_memories_whose_slots_are_all_alike_give_no_bad_number(name: str, value: float) -> None:
    cell = drawn(name)
    state = unroll(cell, inputs())[1][-1]
    alike = {
        path: torch.full_like(part, value).requires_grad_() if path.endswith(".slots") else part
        for path, part in leaves(state, "state").items()
    }
    state = with_leaves(state, alike, "state")
    xs = inputs(seed=1)
    outputs, _ = unroll(cell, xs, state)
    assert torch.isfinite(outputs).all()
    outputs.square().sum().backward()
    for parameter in cell.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@EVERY
def test_parameters_follow_the_seed_of_their_run(name: str) -> None:
    first, second = drawn(name, runs=2), drawn(name, runs=1)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one[:1], other)
    weight = first.project.weight
    assert not torch.equal(weight[0], weight[1])
