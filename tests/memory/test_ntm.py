"""The Neural Turing Machine, step by step against loops in NumPy; its two forms against each other; its invariants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.addressing import read
from palimpsest.memory.ntm import CONSTANT, NTMCell, NTMState
from tests.memory import addressing_oracle as oracle

D_IN, HIDDEN, NUM_SLOTS, DIM = 3, 5, 6, 4
SETTINGS: dict[str, dict[str, Any]] = {
    "paper": {},
    "many_heads": {"num_read_heads": 2, "num_write_heads": 3},
    "many_readers": {"num_read_heads": 3, "max_shift": 2},
    "no_shift": {"max_shift": 0},
    "gru": {"controller": "gru", "num_read_heads": 2},
    "feedforward": {"controller": "feedforward", "memory": "learned"},
    "learned": {"memory": "learned", "weights": "learned"},
    "random": {"memory": "random"},
    "dot": {"similarity": "dot", "weights": "learned"},
}
EVERY = pytest.mark.parametrize("name", list(SETTINGS))
few = settings(max_examples=4)


def drawn(name: str, runs: int = 2, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> NTMCell:
    """A cell with its weights drawn; all but the first memory ``scale`` times as large as they start."""
    cell = NTMCell(runs, D_IN, HIDDEN, NUM_SLOTS, DIM, **SETTINGS[name])
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    with torch.no_grad():
        for key, parameter in cell.named_parameters():
            parameter.mul_(1.0 if key in ("memory", "places") else scale)
    return cell.to(dtype)


def inputs(runs: int = 2, batch: int = 3, time: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """(R, B, T, d_in) normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(runs, batch, time, D_IN, generator=generator, dtype=torch.float64).to(dtype)


def stepped(cell: NTMCell, xs: Tensor, state: NTMState | None = None, control: str = "on") -> tuple[Tensor, NTMState]:
    """What :meth:`NTMCell.unroll` says, one step after the other."""
    state, outputs = cell.initial_state(xs.shape[1]) if state is None else state, []
    for x in xs.unbind(2):
        y, state = cell.step(x, state, control)
        outputs.append(y)
    return torch.stack(outputs, 2), state


def tensors(state: NTMState) -> list[Tensor]:
    """All tensors of a state."""
    return [*state.controller, *state[1:]]


class Naive:
    """One run's NTM on one sequence, from the equations of Graves 2014, Section 3."""

    def __init__(self, cell: NTMCell, run: int, name: str) -> None:
        self.options = {"num_read_heads": 1, "num_write_heads": 1, "max_shift": 1, "similarity": "cosine"}
        self.options |= {"controller": "lstm", "memory": "constant", "weights": "first"} | SETTINGS[name]
        self.values = {key: value[run].numpy() for key, value in cell.state_dict().items()}
        heads = self.options["num_read_heads"] + self.options["num_write_heads"]
        self.h, self.c = np.zeros(HIDDEN), np.zeros(HIDDEN)
        self.reads = [np.zeros(DIM) for _ in range(self.options["num_read_heads"])]
        first = np.eye(NUM_SLOTS)[0]
        learned = self.options["weights"] == "learned"
        self.weights = [oracle.softmax(self.values["places"][head]) if learned else first for head in range(heads)]
        stored = {"learned": "memory", "random": "fixed"}.get(self.options["memory"])
        self.slots = np.full((NUM_SLOTS, DIM), 1e-6) if stored is None else self.values[stored]

    def linear(self, layer: str, x: np.ndarray) -> np.ndarray:
        return x @ self.values[f"{layer}.weight"] + self.values[f"{layer}.bias"]

    def control(self, x: np.ndarray) -> None:
        """The controller's step on [x; reads]."""
        before = self.linear("controller.of_input", np.concatenate([x, *self.reads]))

        def sigma(a: np.ndarray) -> np.ndarray:
            return 1 / (1 + np.exp(-a))

        if self.options["controller"] == "feedforward":
            self.h = np.tanh(before)
        elif self.options["controller"] == "gru":
            (r, z, n), (of_r, of_z, of_n) = (
                part.reshape(3, HIDDEN) for part in (before, self.linear("controller.of_hidden", self.h))
            )
            new = np.tanh(n + sigma(r + of_r) * of_n)
            keep = sigma(z + of_z)
            self.h = (1 - keep) * new + keep * self.h
        else:
            i, f, o, g = (before + self.h @ self.values["controller.recurrent"]).reshape(4, HIDDEN)
            self.c = sigma(f) * self.c + sigma(i) * np.tanh(g)
            self.h = sigma(o) * np.tanh(self.c)

    def step(self, x: np.ndarray) -> np.ndarray:
        """[h; reads] after one step."""
        self.control(x)
        readers, writers, most = (self.options[key] for key in ("num_read_heads", "num_write_heads", "max_shift"))
        heads, shifts = readers + writers, 2 * most + 1
        projected = list(self.linear("heads", self.h))

        def take(count: int) -> np.ndarray:
            part = np.array(projected[:count])
            del projected[:count]
            return part

        keys, add = take(heads * DIM).reshape(heads, DIM), take(writers * DIM).reshape(writers, DIM)
        kernels = [oracle.softmax(take(shifts)) for _ in range(heads)]
        strengths, sharpness = np.log1p(np.exp(take(heads))), 1 + np.log1p(np.exp(take(heads)))
        gates, erase = 1 / (1 + np.exp(-take(heads))), 1 / (1 + np.exp(-take(writers * DIM).reshape(writers, DIM)))
        assert not projected
        self.weights = [
            oracle.hybrid(
                keys[head],
                self.slots,
                strengths[head],
                self.weights[head],
                gates[head],
                kernels[head],
                sharpness[head],
                self.options["similarity"],
            )
            for head in range(heads)
        ]
        self.reads = [oracle.read(self.slots, weights) for weights in self.weights[:readers]]
        self.slots = oracle.written(self.slots, np.array(self.weights[readers:]), erase, add)
        return np.concatenate([self.h, *self.reads])


@EVERY
@pytest.mark.parametrize("form", ["step", "unroll"])
@few
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 4))
def test_every_step_equals_the_equations(name: str, form: str, seed: int, scale: float) -> None:
    cell, xs = drawn(name, scale=scale), inputs(batch=2, seed=seed)
    outputs, state = stepped(cell, xs) if form == "step" else cell.unroll(xs, cell.initial_state(2))
    readers = cell.num_read_heads
    for run, element in np.ndindex(2, 2):
        naive = Naive(cell, run, name)
        for step, x in enumerate(xs[run, element].numpy()):
            np.testing.assert_allclose(
                outputs[run, element, step].detach().numpy(), naive.step(x), rtol=1e-6, atol=1e-9
            )
        found = [part[run, element].detach().numpy() for part in state[1:4]]
        for part, expected in zip(found, (naive.slots, naive.weights[:readers], naive.weights[readers:]), strict=True):
            np.testing.assert_allclose(part, np.array(expected), rtol=1e-6, atol=1e-9)


@EVERY
def test_a_sequence_at_once_equals_its_steps_and_so_do_all_gradients(name: str) -> None:
    cell, xs = drawn(name, scale=2.0), inputs().requires_grad_()
    results = []
    for form in (stepped, lambda cell, xs: cell.unroll(xs, cell.initial_state(3))):
        outputs, state = form(cell, xs)
        everything = [outputs, *tensors(state)]
        generator = torch.Generator().manual_seed(1)
        score = sum(
            (part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in everything
        )
        results.append([*everything, *torch.autograd.grad(score, [xs, *cell.parameters()])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["paper", "many_heads", "learned", "dot"])
def test_gradients_agree_with_finite_differences(name: str) -> None:
    cell, xs = drawn(name, 1, scale=2.0), inputs(1, 2, 3).requires_grad_()
    slots = inputs(1, 2, NUM_SLOTS * DIM, 1)[..., 0].view(1, 2, NUM_SLOTS, DIM).requires_grad_()
    names, parameters = zip(*cell.named_parameters(), strict=True)

    def from_a_filled_memory(xs: Tensor, slots: Tensor) -> Tensor:
        state = cell.initial_state(2)
        outputs, after = cell.unroll(xs, state._replace(slots=state.slots + slots))
        return torch.cat([outputs.flatten(), *(part.flatten() for part in tensors(after))])

    def run(xs: Tensor, slots: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(cell, dict(zip(names, values, strict=True)), (xs, slots))

    cell.forward = from_a_filled_memory
    assert torch.autograd.gradcheck(run, (xs, slots, *parameters), fast_mode=True)


@EVERY
@few
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 30), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_weightings_are_weightings(name: str, seed: int, scale: float, dtype: torch.dtype) -> None:
    cell, xs = drawn(name, dtype=dtype, scale=scale), inputs(batch=2, time=6, seed=seed, dtype=dtype)
    for form in (stepped, lambda cell, xs: cell.unroll(xs, cell.initial_state(2))):
        _, state = form(cell, xs)
        for weights in (state.read_weights, state.write_weights):
            assert (weights >= 0).all()
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=1e-4, atol=1e-5)
        heads = cell.head_parameters(inputs(batch=2, time=HIDDEN, dtype=dtype)[..., 0])
        assert (heads.strength >= 0).all()
        assert (heads.sharpness >= 1).all()
        for part in (heads.gate, heads.erase):
            assert ((part >= 0) & (part <= 1)).all()
        torch.testing.assert_close(heads.kernel.sum(-1), torch.ones_like(heads.gate))


@EVERY
@few
@given(batch=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(name: str, batch: int, seed: int) -> None:
    pack, xs = drawn(name, 3, torch.float32), inputs(3, batch, 2, seed, torch.float32)
    for form in (stepped, lambda cell, xs: cell.unroll(xs, cell.initial_state(batch))):
        outputs, state = form(pack, xs)
        gradients = torch.autograd.grad(outputs.square().sum() + state.slots.sum(), list(pack.parameters()))
        for run in (0, 2):
            alone = NTMCell(1, D_IN, HIDDEN, NUM_SLOTS, DIM, **SETTINGS[name])
            alone.load_state_dict({key: value[run : run + 1] for key, value in pack.state_dict().items()})
            mine, after = form(alone, xs[run : run + 1])
            assert torch.equal(mine[0], outputs[run])
            for part, others in zip(tensors(after), tensors(state), strict=True):
                assert torch.equal(part[0], others[run])
            of_mine = torch.autograd.grad(mine.square().sum() + after.slots.sum(), list(alone.parameters()))
            for gradient, others in zip(of_mine, gradients, strict=True):
                assert torch.equal(gradient[0], others[run])


@EVERY
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(name: str, cut: int) -> None:
    cell, xs = drawn(name), inputs()
    whole, last = cell.unroll(xs, cell.initial_state(3))
    first, state = cell.unroll(xs[:, :, :cut], cell.initial_state(3))
    second, after = cell.unroll(xs[:, :, cut:], state)
    torch.testing.assert_close(torch.cat([first, second], 2), whole)
    for part, expected in zip(tensors(after), tensors(last), strict=True):
        torch.testing.assert_close(part, expected)
    for part, earlier in zip(
        tensors(state), tensors(cell.unroll(xs[:, :, :cut], cell.initial_state(3))[1]), strict=True
    ):
        assert torch.equal(part, earlier)  # going on changed nothing of where it went on from


@EVERY
def test_the_loss_at_the_last_step_reaches_every_parameter(name: str) -> None:
    cell, xs = drawn(name, scale=2.0), inputs(time=6)
    for outputs in (stepped(cell, xs)[0], cell.unroll(xs, cell.initial_state(3))[0]):
        cell.zero_grad()
        outputs[:, :, -1].square().sum().backward()
        for key, parameter in cell.named_parameters():
            gradient = parameter.grad
            if key == "heads.weight" or key == "heads.bias":  # a kernel of one shift has nothing to learn
                kernel = slice(sum(cell.parts[:2]), sum(cell.parts[:3]))
                gradient = gradient.clone()
                if name == "no_shift":
                    assert not gradient[..., kernel].any()
                    gradient[..., kernel] = 1
            assert (gradient != 0).all(), key


@pytest.mark.parametrize("name", ["paper", "many_heads", "learned", "random", "dot"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_numbers_are_finite_in_any_precision(name: str, dtype: torch.dtype) -> None:
    cell, xs = drawn(name, dtype=dtype), inputs(time=30, dtype=dtype)
    outputs, state = cell.unroll(xs, cell.initial_state(3))
    assert outputs.dtype == dtype
    outputs.float().square().mean().backward()
    assert all(torch.isfinite(part).all() for part in (outputs, *tensors(state)))
    assert all(torch.isfinite(parameter.grad).all() for parameter in cell.parameters())


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_no_bad_number_in_a_thousand_steps(scale: float) -> None:
    cell, xs = drawn("paper", dtype=torch.float32, scale=scale), inputs(time=1000, dtype=torch.float32)
    outputs, state = cell.unroll(xs, cell.initial_state(3))
    outputs[:, :, -1].square().mean().backward()
    assert all(torch.isfinite(part).all() for part in (outputs, *tensors(state)))
    assert all(torch.isfinite(parameter.grad).all() for parameter in cell.parameters())


@EVERY
def test_a_memory_of_zeros_has_finite_gradients(name: str) -> None:
    cell, xs = drawn(name, dtype=torch.float32), inputs(dtype=torch.float32)
    state = cell.initial_state(3)
    slots = torch.zeros_like(state.slots).requires_grad_()
    for outputs in (stepped(cell, xs, state._replace(slots=slots))[0], cell.unroll(xs, state._replace(slots=slots))[0]):
        cell.zero_grad()
        outputs.square().sum().backward(retain_graph=True)
        assert torch.isfinite(slots.grad).all()
        assert all(
            torch.isfinite(parameter.grad).all() for parameter in cell.parameters() if parameter.grad is not None
        )


def test_the_first_state_is_as_described() -> None:
    state = drawn("paper").initial_state(4)
    assert (state.slots == CONSTANT).all()
    assert torch.equal(state.read_weights[..., 0], torch.ones(2, 4, 1, dtype=torch.float64))
    assert not state.write_weights[..., 1:].any()
    assert not state.reads.any()
    learned = drawn("learned")
    state = learned.initial_state(4)
    assert torch.equal(state.slots, learned.memory[:, None].expand(2, 4, NUM_SLOTS, DIM))
    torch.testing.assert_close(state.write_weights, learned.places.softmax(-1)[:, None, 1:].expand(2, 4, 1, NUM_SLOTS))
    fixed = drawn("random")
    assert torch.equal(fixed.initial_state(4).slots, fixed.fixed[:, None].expand(2, 4, NUM_SLOTS, DIM))
    assert "fixed" not in dict(fixed.named_parameters())
    assert not torch.equal(fixed.fixed[0], fixed.fixed[1])


@EVERY
def test_under_off_outputs_do_not_depend_on_the_memory(name: str) -> None:
    cell, xs = drawn(name), inputs()
    outputs, state = cell.unroll(xs, cell.initial_state(3), "off")
    assert not outputs[..., HIDDEN:].any()
    assert not state.reads.any()
    full = cell.initial_state(3)
    other = cell.unroll(xs, full._replace(slots=full.slots + torch.randn_like(full.slots)), "off")[0]
    assert torch.equal(outputs, other)


@EVERY
def test_under_off_a_whole_sequence_equals_its_steps_with_the_same_gradient(name: str) -> None:
    cell, xs = drawn(name, scale=2.0), inputs()
    found = []
    for outputs, state in (stepped(cell, xs, control="off"), cell.unroll(xs, cell.initial_state(3), "off")):
        loss = outputs.square().sum() + state.slots.square().sum() + state.read_weights.square().sum()
        found.append((outputs, *tensors(state), *torch.autograd.grad(loss, list(cell.parameters()), allow_unused=True)))
    for expected, part in zip(*found, strict=True):
        torch.testing.assert_close(
            torch.zeros(()) if part is None else part, torch.zeros(()) if expected is None else expected
        )


@EVERY
def test_shuffled_heads_read_the_neighbours_memory_and_write_their_own(name: str) -> None:
    cell, xs = drawn(name), inputs()
    _, state = stepped(cell, xs)
    outputs, after = cell.step(xs[:, :, 0], state, "shuffled")
    expected = read(state.slots.roll(1, 1), after.read_weights).flatten(2)
    torch.testing.assert_close(outputs[..., HIDDEN:], expected)
    own = cell.step(xs[:, :, 0], state)[1]
    torch.testing.assert_close(after.write_weights, own.write_weights)
    torch.testing.assert_close(after.slots, own.slots)
    assert not torch.allclose(after.reads, own.reads)
    at_once = cell.unroll(xs[:, :, :1], state, "shuffled")[0]
    assert torch.equal(at_once.squeeze(2), outputs)
    assert torch.equal(cell.step(xs[:, :, 0], state, "random_writes")[0], cell.step(xs[:, :, 0], state)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_slots": 0}, "num_slots: 0"),
        ({"slot_dim": -1}, "slot_dim: -1"),
        ({"d_hidden": 0}, "d_hidden: 0"),
        ({"num_read_heads": 0}, "num_read_heads: 0"),
        ({"num_write_heads": 0}, "num_write_heads: 0"),
        ({"max_shift": 3}, "max_shift: 3"),
        ({"max_shift": -1}, "max_shift: -1"),
        ({"controller": "rnn"}, "controller: 'rnn' is unknown; allowed: lstm, gru, feedforward"),
        ({"memory": "zero"}, "memory: 'zero' is unknown; allowed: constant, learned, random"),
        ({"weights": "last"}, "weights: 'last' is unknown; allowed: first, learned"),
        ({"similarity": "l2"}, "similarity: 'l2' is unknown; allowed: cosine, dot"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    sizes = {"runs": 1, "d_in": 2, "d_hidden": 3, "num_slots": 6, "slot_dim": 4}
    with pytest.raises(ParameterError, match=rf"^{message}[^\n]*$"):
        NTMCell(**sizes | change)


def test_a_softmax_over_the_batch_shares_each_slot_among_the_sequences() -> None:
    cell = NTMCell(2, D_IN, HIDDEN, NUM_SLOTS, DIM, softmax_over="batch")
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(2)])
    cell = cell.double()
    state = cell.initial_state(3)._replace(slots=inputs(2, 3, NUM_SLOTS * DIM).mean(-1).view(2, 3, NUM_SLOTS, DIM))
    heads = cell.head_parameters(torch.randn(2, 3, HIDDEN, dtype=torch.float64))
    weights = cell.content(heads, state.slots)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 2, NUM_SLOTS, dtype=torch.float64))
    alone = cell.content(cell.head_parameters(torch.randn(2, 1, HIDDEN, dtype=torch.float64)), state.slots[:, :1])
    assert (alone == 1).all()
