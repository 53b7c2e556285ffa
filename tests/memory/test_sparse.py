"""Sparse memory against a dense one that is written slot by slot from the paper, and what a step touches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory import neighbours
from palimpsest.memory.persistence import load_state, save_state
from palimpsest.memory.sparse import SparseMemory, SparseState
from tests.memory.cells import D_IN, inputs, unroll

SLOTS, DIM, HEADS, KEPT = 5, 4, 2, 2


def made(num_slots: int = SLOTS, runs: int = 2, **changes: Any) -> SparseMemory:
    settings: dict[str, Any] = {"num_read_heads": HEADS, "top_k": KEPT, "search": "exact"} | changes
    cell = SparseMemory(runs, D_IN, num_slots, DIM, **settings)
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return cell.double()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm().clamp_min(1e-3) * b.norm().clamp_min(1e-3))


def dense_sam(cell: Any, xs: Tensor, run: int, example: int, forget_before: int = 0) -> Tensor:
    """One example, one slot at a time, with autograd through the whole memory    [Rae et al. 2016, eqs. 3 to 6]."""
    num_slots = cell.num_slots
    memory = [torch.zeros(DIM, dtype=torch.float64) for _ in range(num_slots)]
    accessed, written = [0] * num_slots, [False] * num_slots
    previous = torch.zeros(HEADS, num_slots, dtype=torch.float64)
    outputs = []
    for t, x in enumerate(xs[run, example]):
        if t == forget_before:
            memory, previous = [slot.detach() for slot in memory], previous.detach()
        projected = x @ cell.project.weight[run] + cell.project.bias[run]
        keys, add, strengths, gates = projected.split([HEADS * DIM, DIM, HEADS, 2])
        alpha, gamma = torch.sigmoid(gates)
        u = min(range(num_slots), key=lambda slot: (accessed[slot], slot))
        written[u] = True
        write = [alpha * (gamma * previous[:, i].mean() + (1 - gamma) * (i == u)) for i in range(num_slots)]
        memory = [memory[i] * (i != u) + write[i] * add for i in range(num_slots)]
        there = [i for i in range(num_slots) if written[i]]
        rows, weights = [], []
        for h in range(HEADS):
            key, beta = keys[h * DIM : (h + 1) * DIM], 1 + torch.log(1 + torch.exp(strengths[h]))
            alike = {i: cosine(key, memory[i]) for i in there}
            chosen = sorted(there, key=lambda i: (-float(alike[i].detach()), i))[:KEPT]
            shares = torch.softmax(torch.stack([beta * alike[i] for i in chosen]), 0)
            weights.append(
                sum(
                    share * torch.eye(num_slots, dtype=torch.float64)[i]
                    for i, share in zip(chosen, shares, strict=True)
                )
            )
            rows.append(sum(share * memory[i] for i, share in zip(chosen, shares, strict=True)))
        previous = torch.stack(weights)
        for i in range(num_slots):
            if float((previous[:, i].sum() + write[i]).detach()) > 0.005:
                accessed[i] = t + 1
        outputs.append(torch.cat(rows))
    return torch.stack(outputs)


@pytest.mark.parametrize("search", ["exact", "hashed"])
@settings(max_examples=3)
@given(seed=st.integers(0, 1000))
def test_values_and_gradients_are_those_of_a_dense_memory(search: str, seed: int) -> None:
    cell = made(search=search)  # five slots fit into every bucket, so that hashing finds them all
    xs = inputs(batch=2, time=12, seed=seed, dtype=torch.float64).requires_grad_()
    outputs, _ = unroll(cell, xs)
    expected = torch.stack([torch.stack([dense_sam(cell, xs, r, b) for b in range(2)]) for r in range(2)])
    torch.testing.assert_close(outputs, expected)
    scale = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    wanted = (xs, *cell.parameters())
    for mine, theirs in zip(
        torch.autograd.grad((outputs * scale).sum(), wanted),
        torch.autograd.grad((expected * scale).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_steps_taken_without_gradient_are_constants_to_those_after_them() -> None:
    cell = made()
    xs = inputs(batch=2, time=9, dtype=torch.float64).requires_grad_()
    with torch.no_grad():
        state = unroll(cell, xs[:, :, :5])[1][-1]
    outputs, _ = unroll(cell, xs[:, :, 5:], state)
    expected = torch.stack([torch.stack([dense_sam(cell, xs, r, b, 5)[5:] for b in range(2)]) for r in range(2)])
    torch.testing.assert_close(outputs, expected)
    wanted = (xs, *cell.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(outputs.square().sum(), wanted),
        torch.autograd.grad(expected.square().sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_two_ways_on_from_one_state_have_the_gradient_of_both() -> None:
    cell = made(num_slots=12)
    start, one, other = (inputs(batch=2, time=4, seed=seed, dtype=torch.float64) for seed in range(3))

    def losses(which: str) -> tuple[Tensor, ...]:
        state = unroll(cell, start)[1][-1]
        total = torch.zeros((), dtype=torch.float64)
        parts = {"one": one, "other": other}
        if which == "both":  # their steps take turns, so that versions go back and forth
            states = dict.fromkeys(parts, state)
            for t in range(4):
                for name, xs in parts.items():
                    outputs, states[name] = cell.step(xs[:, :, t], states[name])
                    total = total + outputs.square().sum()
        else:
            total = unroll(cell, parts[which], state)[0].square().sum()
        return torch.autograd.grad(total, tuple(cell.parameters()))

    for both, first, second in zip(losses("both"), losses("one"), losses("other"), strict=True):
        torch.testing.assert_close(both, first + second)


def test_an_initial_state_serves_every_sequence() -> None:
    cell = made(num_slots=9, search="hashed", bucket_size=4)
    start = cell.initial_state(3)
    for seed in range(3):
        xs = inputs(time=12, seed=seed, dtype=torch.float64)
        assert torch.equal(unroll(cell, xs, start)[0], unroll(cell, xs)[0])


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes; views and changes in place make none."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it and look."""
        out = func(*args, **(kwargs or {}))
        flat = torch.utils._pytree.tree_leaves((args, kwargs))
        known = {part.untyped_storage().data_ptr() for part in flat if isinstance(part, Tensor)}
        for part in torch.utils._pytree.tree_leaves(out):
            if isinstance(part, Tensor) and part.untyped_storage().data_ptr() not in known:
                self.numbers = max(self.numbers, part.numel())
        return out


def test_no_operation_of_a_step_or_of_its_gradient_makes_as_many_numbers_as_there_are_slots() -> None:
    cell = made(num_slots=20_000, runs=1, search="hashed", num_read_heads=1)
    xs = inputs(runs=1, batch=1, time=6, dtype=torch.float64)
    state = cell.initial_state(1)
    with Largest() as largest:
        outputs, _ = unroll(cell, xs, state)
        outputs.square().sum().backward()
    assert 0 < largest.numbers < 4000


def storing(num_slots: int) -> SparseMemory:
    """A cell that writes its input to a slot of its own, and reads what is most like the input."""
    cell = SparseMemory(1, DIM, num_slots, DIM, 1, top_k=1)
    with torch.no_grad():
        cell.project.weight.zero_()
        cell.project.weight[0, :, :DIM] = cell.project.weight[0, :, DIM : 2 * DIM] = torch.eye(DIM)
        cell.project.bias.zero_()
        cell.project.bias[0, -2:] = torch.tensor([40.0, -40.0])  # write all of it, to the slot accessed least recently
    return cell


@pytest.mark.parametrize(("noise", "least"), [(0.0, 40), (0.1, 36)])
def test_a_large_memory_finds_old_content(noise: float, least: int) -> None:
    cell = storing(num_slots=300)
    generator = torch.Generator().manual_seed(0)
    vectors = nn.functional.normalize(torch.randn(1, 1, 200, DIM, generator=generator), dim=-1)
    with torch.no_grad():
        state = unroll(cell, vectors)[1][-1]
        assert torch.equal(cell.slots(state)[:, :, :200], vectors)
        assert not cell.slots(state)[:, :, 200:].any()
        queries = vectors[:, :, :40] + noise * torch.randn(1, 1, 40, DIM, generator=generator)
        hashed = neighbours.hash_of(queries, cell.directions, cell.hashing)
        near = neighbours.candidates(state.memory, hashed, cell.hashing)
        best = (nn.functional.normalize(queries, dim=-1) @ vectors.transpose(-1, -2)).argmax(-1)
    assert (near == best[..., None]).any(-1).sum() >= least


def test_what_is_found_is_read() -> None:
    cell = storing(num_slots=300)
    vectors = nn.functional.normalize(torch.randn(1, 1, 60, DIM, generator=torch.Generator().manual_seed(0)), dim=-1)
    with torch.no_grad():
        state = unroll(cell, vectors)[1][-1]
        for t in range(0, 60, 10):
            outputs, after = cell.step(vectors[:, :, t], state)  # the input is written once more, and both are alike
            torch.testing.assert_close(outputs, vectors[:, :, t])
            assert after.read_index.item() == t


def test_read_weights_over_all_slots_are_those_that_were_kept() -> None:
    cell = made(num_slots=9)
    state = unroll(cell, inputs(time=5, dtype=torch.float64))[1][-1]
    weights = state.read_weights
    assert weights.shape == (2, 3, HEADS, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, HEADS, dtype=torch.float64))
    assert ((weights > 0).sum(-1) == KEPT).all()
    assert torch.equal(weights.gather(-1, state.read_index), state.read_values)


def test_write_weights_over_all_slots_are_what_was_added_where() -> None:
    cell = made(num_slots=9)
    xs = inputs(time=30, dtype=torch.float64)
    with torch.no_grad():
        state = cell.initial_state(xs.shape[1])
        for t in range(30):
            before, add = cell.slots(state), cell.project(xs[:, :, t])[..., HEADS * DIM : (HEADS + 1) * DIM]
            state = cell.step(xs[:, :, t], state)[1]
            unused = nn.functional.one_hot(state.write_index[..., -1], 9)[..., None]
            (weights,) = state.write_weights.unbind(2)
            torch.testing.assert_close(cell.slots(state), (1 - unused) * before + weights[..., None] * add[:, :, None])
            assert (weights >= 0).all()
            assert (weights.sum(-1) <= 1 + 1e-12).all()
            assert ((weights > 0).sum(-1) <= cell.touched).all()


def test_a_sparse_memory_from_disk_continues_with_equal_results(tmp_path: Path) -> None:
    cell = made(num_slots=9, search="hashed", bucket_size=4)
    xs = inputs(time=12, dtype=torch.float64)
    with torch.no_grad():
        whole, states = unroll(cell, xs)
        save_state(tmp_path / "state.safetensors", states[5])
        again = load_state(tmp_path / "state.safetensors", SparseState)
        assert torch.equal(unroll(cell, xs[:, :, 6:], again)[0], whole[:, :, 6:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 6}, "top_k: 6 is out of range; allowed: 1 to 5"),
        ({"top_k": 0}, "top_k: 0 is out of range"),
        ({"num_tables": 0}, "num_tables: 0 is too small"),
        ({"bucket_size": 0}, "bucket_size: 0 is too small"),
        ({"num_probes": -1}, "num_probes: -1 is out of range"),
    ],
)
def test_bad_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        made(**changes)


def test_the_cost_of_a_search_does_not_depend_on_the_number_of_slots() -> None:
    for num_slots in (10**3, 10**6):
        hashing = SparseMemory(1, D_IN, num_slots, DIM).hashing
        assert hashing is not None
        assert hashing.num_tables * hashing.bucket_size * (1 + hashing.num_probes) == 128
        assert hashing.num_signs == math.ceil(math.log2(num_slots / 8))
