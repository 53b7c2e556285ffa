"""The DNC, step by step against its equations in NumPy, on what always holds, and on what breaks careless ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.control import Control
from palimpsest.memory.dnc import (
    DNCCell,
    DNCState,
    access,
    interface_size,
    next_link,
    next_precedence,
    next_sparse_link,
    split_interface,
)

Array = np.ndarray[Any, Any]
Form = Callable[..., tuple[Tensor, DNCState]]
"""A sequence step by step, or at once."""
ROUNDING = 1e-5
SIZES = [(5, 3, 2), (7, 4, 1), (4, 1, 3), (1, 3, 2), (1, 1, 1), (16, 16, 4)]
"""(N, W, H)."""


def sigma(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    shifted = np.exp(x - x.max())
    return shifted / shifted.sum()


class Oracle:
    """A DNC's memory, one sequence, written from [Graves et al. 2016, Methods] with a loop for every index."""

    def __init__(self, num_slots: int, slot_dim: int, heads: int, kept: int | None = None) -> None:
        self.N, self.W, self.R, self.K = num_slots, slot_dim, heads, kept
        self.M = np.zeros((num_slots, slot_dim))
        self.u, self.p, self.ww = np.zeros(num_slots), np.zeros(num_slots), np.zeros(num_slots)
        self.L = np.zeros((num_slots, num_slots))
        self.L_columns = np.zeros((num_slots, num_slots))
        self.wr = np.zeros((heads, num_slots))
        self.r = np.zeros((heads, slot_dim))

    def content(self, key: Array, strength: float) -> Array:
        cosines = [0.0] * self.N
        for i in range(self.N):
            norms = np.linalg.norm(key) * np.linalg.norm(self.M[i])
            cosines[i] = key @ self.M[i] / norms if norms > 0 else 0.0
        return softmax(strength * np.array(cosines))

    def free(self, gates: Array) -> None:
        for i in range(self.N):
            retention = np.prod([1 - gates[head] * self.wr[head, i] for head in range(self.R)])
            self.u[i] = (self.u[i] + self.ww[i] - self.u[i] * self.ww[i]) * retention

    def allocation(self) -> Array:
        phi = sorted(range(self.N), key=lambda i: (self.u[i], i))
        a = np.zeros(self.N)
        for j in range(self.N):
            a[phi[j]] = (1 - self.u[phi[j]]) * np.prod([self.u[phi[i]] for i in range(j)])
        return a

    def link(self) -> None:
        old, w, p = (self.L, self.L_columns), self.ww, self.p
        few_p, few_w = largest(p, self.K), largest(w, self.K)
        self.L, self.L_columns = np.zeros((self.N, self.N)), np.zeros((self.N, self.N))
        for i in range(self.N):
            for j in range(self.N):
                if i != j:
                    self.L[i, j] = (1 - w[i] - w[j]) * old[0][i, j] + w[i] * few_p[j]
                    self.L_columns[i, j] = (1 - w[i] - w[j]) * old[1][i, j] + few_w[i] * p[j]
        self.L = np.stack([largest(row, self.K) for row in self.L])
        self.L_columns = np.stack([largest(column, self.K) for column in self.L_columns.T]).T
        self.p = (1 - w.sum()) * p + w

    def step(self, xi: Array) -> Array:
        R, W = self.R, self.W
        parts = np.split(xi, np.cumsum([R * W, W, W, 3 * R, R, 1, W, R, 1]))
        read_keys, write_key, v, modes, read_beta, write_beta, e, f, g_a, g_w = parts
        read_beta, write_beta = 1 + np.log1p(np.exp(read_beta)), 1 + np.log1p(np.exp(write_beta))
        e, f, g_a, g_w = sigma(e), sigma(f), sigma(g_a)[0], sigma(g_w)[0]
        self.free(f)
        self.ww = g_w * (g_a * self.allocation() + (1 - g_a) * self.content(write_key, write_beta[0]))
        for i in range(self.N):
            self.M[i] = self.M[i] * (1 - self.ww[i] * e) + self.ww[i] * v
        self.link()
        for head in range(R):
            backward, forward = self.L_columns.T @ self.wr[head], self.L @ self.wr[head]
            content = self.content(read_keys.reshape(R, W)[head], read_beta[head])
            pi = softmax(modes.reshape(R, 3)[head])
            self.wr[head] = pi[0] * backward + pi[1] * content + pi[2] * forward
            self.r[head] = self.wr[head] @ self.M
        return self.r.copy()

    def state(self, *, sparse: bool) -> dict[str, Array]:
        """By the names of :class:`DNCState`."""
        parts = {"slots": self.M, "usage": self.u, "precedence": self.p, "read_weights": self.wr, "reads": self.r}
        return {**parts, "write_weights": self.ww[None], **({} if sparse else {"link": self.L})}


def largest(x: Array, kept: int | None) -> Array:
    """X with all but its ``kept`` largest entries zeroed."""
    if kept is None:
        return x
    kept_entries = np.zeros_like(x)
    for i in np.argsort(-x, kind="stable")[:kept]:
        kept_entries[i] = x[i]
    return kept_entries


def make_cell(runs: int = 2, size: tuple[int, int, int] = (5, 3, 2), d_in: int = 3, **options: Any) -> DNCCell:
    """A cell with its weights drawn, larger than usual so that gates and strengths leave the middle."""
    cell = DNCCell(runs, d_in, 6, size[0], size[1], size[2], **options).double()
    reset_parameters(cell, [torch.Generator().manual_seed(run) for run in range(runs)])
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(3)
    return cell


def begun(cell: DNCCell, batch: int = 3) -> DNCState:
    """A memory that holds something: in an empty one many usages are equal but for rounding, which then decides."""
    generator, state = torch.Generator().manual_seed(11), cell.initial_state(batch)
    slots = torch.randn(state.slots.shape, generator=generator, dtype=torch.float64)
    usage = torch.rand(state.usage.shape, generator=generator, dtype=torch.float64)
    return state._replace(slots=slots.to(state.slots.dtype), usage=usage.to(state.usage.dtype))


def inputs(steps: int, runs: int = 2, batch: int = 3, d_in: int = 3) -> Tensor:
    return torch.randn(steps, runs, batch, d_in, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def lstm(cell: DNCCell, run: int, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """The controller's step; gates in the order i, f, o, g."""
    weight, bias = (parameter[run].detach().numpy() for parameter in cell.controller.of_input.parameters())
    z = x @ weight + bias + h @ cell.controller.recurrent[run].detach().numpy()
    i, f, o, g = np.split(z, 4)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_a_cell_is_its_equations_step_by_step(size: tuple[int, int, int], sparse: bool) -> None:
    kept = max(1, size[0] // 2) if sparse else None
    cell = make_cell(size=size, d_out=4, sparse_links=kept)
    x, first = inputs(9), begun(cell)
    steps = [(torch.empty(0), first)]
    with torch.no_grad():
        for now in x:
            steps.append(cell.step(now, steps[-1][1]))
    for run, example in np.ndindex(2, 3):
        oracle, h, c = Oracle(*size, kept=kept), np.zeros(6), np.zeros(6)
        oracle.M, oracle.u = first.slots[run, example].numpy().copy(), first.usage[run, example].numpy().copy()
        (weight, bias), (output, offset) = (
            (layer.weight[run].detach().numpy(), layer.bias[run].detach().numpy())
            for layer in (cell.interface, cell.output)
            if layer is not None
        )
        for now, (y, state) in zip(x, steps[1:], strict=True):
            h, c = lstm(cell, run, np.concatenate([now[run, example].numpy(), oracle.r.ravel()]), h, c)
            oracle.step(h @ weight + bias)
            expected = np.concatenate([h, oracle.r.ravel()]) @ output + offset
            np.testing.assert_allclose(y[run, example].numpy(), expected, rtol=1e-4, atol=1e-4)
            for name, value in oracle.state(sparse=sparse).items():
                ours = getattr(state, name)[run, example].numpy()
                np.testing.assert_allclose(ours, value, rtol=1e-4, atol=2e-5, err_msg=name)
            for kept_link, of_columns in ((oracle.L, False), (oracle.L_columns, True)):
                link = matrix(state, of_columns=of_columns)[run, example].numpy()
                np.testing.assert_allclose(link, kept_link, rtol=1e-4, atol=2e-5)


def tensors(state: DNCState) -> list[Tensor]:
    """Every floating tensor of a state."""
    parts = [*state._replace(sparse_link=None, controller=None), *state.controller, *(state.sparse_link or [])]  # type: ignore[arg-type]
    return [part for part in parts if part is not None and part.is_floating_point()]


def stepwise(cell: DNCCell, x: Tensor, state: DNCState, control: Control = "on") -> tuple[Tensor, DNCState]:
    """A sequence by :meth:`DNCCell.step`."""
    outputs = []
    for now in x.unbind(2):
        y, state = cell.step(now, state, control)
        outputs.append(y)
    return torch.stack(outputs, 2), state


def weighed(outputs: Tensor, state: DNCState) -> Tensor:
    """A loss that depends on all outputs and the whole state."""
    generator = torch.Generator().manual_seed(5)
    parts = [outputs, *tensors(state)]
    weights = [torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part.dtype) for part in parts]
    return torch.stack([(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]).sum()


@pytest.mark.parametrize("d_out", [None, 4])
@pytest.mark.parametrize("size", SIZES)
def test_a_sequence_equals_its_steps_and_so_does_its_gradient(size: tuple[int, int, int], d_out: int | None) -> None:
    cell = make_cell(size=size, d_out=d_out)
    results = []
    for form in (stepwise, DNCCell.unroll):
        x, first = inputs(5).permute(1, 2, 0, 3).requires_grad_(), begun(cell)
        for part in tensors(first):
            part.requires_grad_()
        outputs, last = form(cell, x, first)
        wanted = [x, *cell.parameters(), *tensors(first)]
        results.append((outputs, *tensors(last), *torch.autograd.grad(weighed(outputs, last), wanted)))
    for by_step, at_once in zip(*results, strict=True):
        torch.testing.assert_close(at_once, by_step, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kept", [None, 2])
@pytest.mark.parametrize("form", [stepwise, DNCCell.unroll])
def test_gradients_are_those_of_finite_differences(form: Form, kept: int | None) -> None:
    cell = make_cell(size=(4, 2, 2), sparse_links=kept)
    x, first = inputs(3, batch=1).permute(1, 2, 0, 3), begun(cell, 1)
    for parameter in cell.parameters():
        parameter.requires_grad_(False)

    def loss(x: Tensor, slots: Tensor, usage: Tensor, bias: Tensor) -> Tensor:
        with nn.utils.stateless._reparametrize_module(cell, {"interface.bias": bias}):  # type: ignore[attr-defined]
            return weighed(*form(cell, x, first._replace(slots=slots, usage=usage)))

    wanted = [part.clone().requires_grad_() for part in (x, first.slots, first.usage, cell.interface.bias)]
    assert torch.autograd.gradcheck(loss, wanted, eps=1e-6, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("size", SIZES)
def test_sparse_links_to_all_slots_are_dense_ones(size: tuple[int, int, int]) -> None:
    dense, sparse = make_cell(size=size), make_cell(size=size, sparse_links=size[0])
    x = inputs(8).permute(1, 2, 0, 3)
    results = []
    for cell in (dense, sparse):
        outputs, last = stepwise(cell, x, begun(cell))
        of_said = torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))
        results.append((outputs, last.read_weights, last.usage, last.precedence, *of_said))
        results[-1] = (*results[-1], matrix(last, of_columns=False), matrix(last, of_columns=True))
    for of_dense, of_sparse in zip(*results, strict=True):
        torch.testing.assert_close(of_sparse, of_dense, rtol=1e-9, atol=1e-12)


def matrix(state: DNCState, *, of_columns: bool) -> Tensor:
    """The link matrix, whether it is kept densely, as its rows or as its columns."""
    if state.link is not None:
        return state.link
    assert state.sparse_link is not None
    neighbour, value = (part[:, :, int(of_columns)] for part in state.sparse_link)
    rows = value.new_zeros(*value.shape[:-1], value.shape[-2]).scatter(-1, neighbour, value)
    return rows.mT if of_columns else rows


def test_a_sparse_link_is_at_most_the_dense_one_and_has_no_neighbour_twice() -> None:
    generator = torch.Generator().manual_seed(3)
    writes = (3 * torch.randn(20, 2, 3, 1, 9, generator=generator, dtype=torch.float64)).softmax(-1)
    state = make_cell(size=(9, 3, 2), sparse_links=3).initial_state(3)
    precedence, link, sparse_link = state.precedence, torch.zeros(2, 3, 9, 9, dtype=torch.float64), state.sparse_link
    for write_weights in writes:
        assert sparse_link is not None
        link = next_link(link, precedence, write_weights)
        sparse_link = next_sparse_link(sparse_link, precedence, write_weights)
        precedence = next_precedence(precedence, write_weights)
        state = state._replace(sparse_link=sparse_link)
        for of_columns in (False, True):
            assert (matrix(state, of_columns=of_columns) <= link + 1e-12).all()
        assert (sparse_link.neighbour.sort(-1).values.diff(dim=-1) > 0).all()
    assert (matrix(state, of_columns=False) < link - 1e-3).any(), "something was left out"


class Life(NamedTuple):
    """A cell of any size with extreme interfaces, from an empty memory or one in which all slots are tied."""

    num_slots: int
    slot_dim: int
    heads: int
    sparse: bool
    dtype: torch.dtype
    gain: float
    offset: float
    usage: float
    seed: int

    def begin(self, steps: int) -> tuple[DNCCell, Tensor, DNCState]:
        """Return the cell, its inputs, and its first state."""
        kept = 1 + self.seed % self.num_slots if self.sparse else None
        cell = make_cell(size=(self.num_slots, self.slot_dim, self.heads), sparse_links=kept).to(self.dtype)
        with torch.no_grad():
            cell.interface.weight.mul_(self.gain)
            cell.interface.bias.mul_(self.offset)
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.randn(2, 2, steps, 3, generator=generator, dtype=torch.float64).to(self.dtype)
        state = cell.initial_state(2)
        return cell, x, state._replace(usage=torch.full_like(state.usage, self.usage))


LIVES = st.builds(
    Life,
    num_slots=st.integers(1, 9),
    slot_dim=st.integers(1, 5),
    heads=st.integers(1, 4),
    sparse=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    gain=st.sampled_from([0.0, 1.0, 30.0]),
    offset=st.sampled_from([0.0, 1.0, 30.0]),
    usage=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)


@given(LIVES)
@settings(max_examples=30)
def test_weights_usage_and_links_stay_within_their_bounds(life: Life) -> None:
    cell, x, state = life.begin(8)
    for now in x.unbind(2):
        with torch.no_grad():
            _, state = cell.step(now, state)
        for weighting in (state.read_weights, state.write_weights, state.precedence[:, :, None]):
            assert (weighting >= -ROUNDING).all()
            assert (weighting.sum(-1) <= 1 + ROUNDING).all()
        assert ((state.usage >= 0) & (state.usage <= 1 + ROUNDING)).all()
        for link in (matrix(state, of_columns=False), matrix(state, of_columns=True)):
            assert (link >= -ROUNDING).all()
            assert (link.sum(-1) <= 1 + ROUNDING).all()
            assert (link.sum(-2) <= 1 + ROUNDING).all()
            assert not link.diagonal(dim1=-2, dim2=-1).any()


@given(LIVES, st.sampled_from([stepwise, DNCCell.unroll]))
@settings(max_examples=30)
def test_extreme_interfaces_empty_memories_and_ties_have_finite_gradients(life: Life, form: Form) -> None:
    cell, x, first = life.begin(6)
    outputs, last = form(cell, x, first)
    assert all(torch.isfinite(part).all() for part in (outputs, *tensors(last)))
    gradients = torch.autograd.grad(weighed(outputs, last), list(cell.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("form", [stepwise, DNCCell.unroll])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kept", [None, 3])
def test_half_precision_has_no_nan_and_stays_near_float64(dtype: torch.dtype, form: Form, kept: int | None) -> None:
    exact = make_cell(size=(6, 4, 2), sparse_links=kept)
    with torch.no_grad():
        for parameter in exact.parameters():
            parameter.copy_(parameter.to(dtype).double())  # the same numbers in both
    rough = make_cell(size=(6, 4, 2), sparse_links=kept).to(dtype)
    rough.load_state_dict(exact.state_dict())
    x = inputs(6).permute(1, 2, 0, 3).to(dtype)
    expected, _ = stepwise(exact, x.double(), begun(exact))
    outputs, last = form(rough, x, begun(rough))
    assert outputs.dtype == dtype
    assert (outputs.double() - expected)[:, :, 0].abs().max() < 0.1
    assert all(torch.isfinite(part).all() for part in (outputs, *tensors(last)))
    for first in (begun(rough), rough.initial_state(3)):
        gradients = torch.autograd.grad(weighed(*form(rough, x, first)), list(rough.parameters()))
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("kept", [None, 2])
def test_a_thousand_steps_have_neither_nan_nor_a_weight_out_of_bounds(
    kept: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # shapes of ten steps are checked everywhere else
    cell = make_cell(runs=1, size=(6, 4, 2), sparse_links=kept).float()
    x = inputs(1000, runs=1, batch=2).permute(1, 2, 0, 3).float()
    outputs, last = cell.unroll(x, cell.initial_state(2))
    gradients = torch.autograd.grad(outputs.square().mean(), list(cell.parameters()))
    assert all(torch.isfinite(part).all() for part in (outputs, *tensors(last), *gradients))
    assert (last.read_weights.sum(-1) <= 1 + 1e-4).all()
    assert (last.usage <= 1 + 1e-4).all()


def test_of_tied_slots_the_first_is_written() -> None:
    cell = make_cell(runs=1, size=(6, 4, 1))
    with torch.no_grad():
        cell.interface.weight.zero_()
        cell.interface.bias.zero_()
        cell.interface.bias[:, -2:] = 40.0  # the gates of allocation and of writing
    for usage, chosen in (([0.0] * 6, 0), ([0.7, 0.2, 0.0, 0.0, 0.7, 0.0], 2)):
        state = cell.initial_state(1)
        state = state._replace(usage=torch.tensor(usage, dtype=torch.float64).expand_as(state.usage))
        _, state = cell.step(torch.zeros(1, 1, 3, dtype=torch.float64), state)
        assert state.write_weights[0, 0, 0, chosen] > 0.999
        assert state.write_weights.sum() <= 1 + 1e-6


@pytest.mark.parametrize("kept", [None, 2])
@pytest.mark.parametrize("form", [stepwise, DNCCell.unroll])
@pytest.mark.parametrize(("size", "batch"), [((5, 3, 2), 1), ((5, 3, 2), 3), ((7, 5, 1), 2), ((16, 16, 4), 1)])
def test_a_run_alone_has_the_bits_of_the_run_in_a_pack(
    size: tuple[int, int, int], batch: int, form: Form, kept: int | None
) -> None:
    x = inputs(10, runs=5, batch=batch).permute(1, 2, 0, 3).float()
    pack = make_cell(runs=5, size=size, sparse_links=kept).float()
    together = _everything(pack, x, form)
    for run in range(5):
        alone = make_cell(runs=1, size=size, sparse_links=kept).float()
        alone.load_state_dict({name: value[run : run + 1] for name, value in pack.state_dict().items()})
        for part, of_pack in zip(_everything(alone, x[run : run + 1], form), together, strict=True):
            assert torch.equal(part[0], of_pack[run])


def _everything(cell: DNCCell, x: Tensor, form: Form) -> list[Tensor]:
    outputs, last = form(cell, x, cell.initial_state(x.shape[1]))
    return [outputs, *tensors(last), *torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))]


@pytest.mark.parametrize("form", [stepwise, DNCCell.unroll])
def test_a_loss_on_the_last_output_alone_reaches_every_parameter(form: Form) -> None:
    cell = make_cell(d_out=4)
    outputs, _ = form(cell, inputs(6).permute(1, 2, 0, 3), cell.initial_state(3))
    gradients = torch.autograd.grad(outputs[:, :, -1].square().sum(), list(cell.parameters()))
    assert all((gradient != 0).flatten(1).any(-1).all() for gradient in gradients)
    interface = dict(zip([name for name, _ in cell.named_parameters()], gradients, strict=True))["interface.bias"]
    assert (interface.abs().amax(0) > 0).all(), "every gate, key, strength and mode"


@pytest.mark.parametrize("form", [stepwise, DNCCell.unroll])
def test_the_controller_takes_the_reads_of_the_step_before(form: Form) -> None:
    cell = make_cell()
    x = inputs(2).permute(1, 2, 0, 3)
    first = begun(cell)
    first = first._replace(reads=first.reads + 0.3)
    first.reads.requires_grad_()
    outputs, last = form(cell, x, first)
    hidden = outputs[..., :6]
    assert torch.autograd.grad(hidden[:, :, 0].sum(), first.reads, retain_graph=True)[0].all()
    silent, _ = form(cell, x, first._replace(reads=torch.zeros_like(first.reads)))
    assert not torch.isclose(silent[:, :, 0, :6], hidden[:, :, 0]).all(-1).any()
    # The first step's read reaches the second step's controller: the rows of W that hear reads have a gradient.
    weight = cell.controller.of_input.weight
    assert torch.autograd.grad(hidden[:, :, 1].sum(), weight)[0][:, 3:].all()
    torch.testing.assert_close(last.reads.flatten(2), outputs[:, :, -1, 6:])


@pytest.mark.parametrize("kept", [None, 2])
@pytest.mark.parametrize("cut", [1, 3])
def test_a_sequence_is_its_parts_with_the_state_carried(cut: int, kept: int | None) -> None:
    cell = make_cell(sparse_links=kept)
    x = inputs(5).permute(1, 2, 0, 3)
    whole, last = cell.unroll(x, begun(cell))
    before, state = cell.unroll(x[:, :, :cut], begun(cell))
    after, state = cell.unroll(x[:, :, cut:], state)
    for part, of_whole in zip([torch.cat([before, after], 2), *tensors(state)], [whole, *tensors(last)], strict=True):
        torch.testing.assert_close(part, of_whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kept", [None, 2])
def test_a_step_does_not_change_its_arguments(kept: int | None) -> None:
    cell = make_cell(sparse_links=kept)
    x, state = inputs(2).permute(1, 2, 0, 3), begun(cell)
    _, state = stepwise(cell, x, state)
    before = [part.detach().clone() for part in tensors(state)]
    once, twice = cell.step(x[:, :, 0], state), cell.step(x[:, :, 0], state)
    cell.unroll(x, state)[0].sum().backward()
    assert all(torch.equal(part, was) for part, was in zip(tensors(state), before, strict=True))
    assert torch.equal(once[0], twice[0])


@pytest.mark.parametrize("kept", [None, 2])
@pytest.mark.parametrize("form", [stepwise, DNCCell.unroll])
def test_controls_silence_a_memory_and_swap_it_with_the_neighbours(form: Form, kept: int | None) -> None:
    cell = make_cell(sparse_links=kept)
    x, first = inputs(6).permute(1, 2, 0, 3), begun(cell)
    outputs, _ = form(cell, x, first)
    off, state = form(cell, x, first, "off")
    assert not off[..., 6:].any()
    assert not state.reads.any()
    assert state.read_weights.any()
    same, _ = form(cell, x, first, "random_writes")
    assert torch.equal(same, outputs)
    shuffled, _ = form(cell, x[:, :, :1], first, "shuffled")
    _, own = form(cell, x[:, :, :1], first)
    assert torch.equal(shuffled[..., :6], outputs[:, :, :1, :6])
    _, swapped = form(cell, x[:, :, :1], first, "shuffled")
    neighbour = product_of(swapped.read_weights, own.slots.roll(1, 1))
    torch.testing.assert_close(swapped.reads, neighbour)
    assert not torch.isclose(swapped.reads, own.reads).all(-1).any()


def test_under_off_a_whole_sequence_equals_its_steps_with_the_same_gradient() -> None:
    cell = make_cell()
    x, found = inputs(6).permute(1, 2, 0, 3), []
    for form in (stepwise, DNCCell.unroll):
        outputs, state = form(cell, x, begun(cell), "off")
        loss = outputs.square().sum() + state.slots.square().sum() + state.read_weights.square().sum()
        found.append((outputs, *tensors(state), *torch.autograd.grad(loss, list(cell.parameters()))))
    for expected, part in zip(*found, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-9, atol=1e-12)


def product_of(weights: Tensor, slots: Tensor) -> Tensor:
    return (weights[..., None] * slots[:, :, None]).sum(3)


def test_under_shuffled_links_are_the_neighbours_too() -> None:
    cell = make_cell()
    x = inputs(3).permute(1, 2, 0, 3)
    _, state = stepwise(cell, x, begun(cell))
    projected = split_interface(cell.interface(torch.zeros(2, 3, 6, dtype=torch.float64)), 2, 3)
    forward = projected._replace(read_modes=torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(2, 3, 2, 3))
    own, swapped = access(forward, state), access(forward, state, "shuffled")
    assert own.link is not None
    expected = torch.einsum("rbij,rbhj->rbhi", own.link.roll(1, 1), state.read_weights)
    torch.testing.assert_close(swapped.read_weights, expected)


def test_interface_parts_have_their_ranges_and_use_every_feature_once() -> None:
    vector = torch.randn(2, 3, interface_size(3, 4), generator=torch.Generator().manual_seed(1)) * 20
    projected = split_interface(vector, 3, 4)
    assert sum(part[0, 0].numel() for part in projected) == interface_size(3, 4) == 4 * 3 + 3 * 4 + 5 * 3 + 3
    assert all(
        ((part >= 0) & (part <= 1)).all() for part in (projected.erase, projected.free_gates, projected.read_modes)
    )
    assert all(((part >= 0) & (part <= 1)).all() for part in (projected.allocation_gate, projected.write_gate))
    assert (projected.read_strengths >= 1).all()
    assert (projected.write_strength >= 1).all()
    torch.testing.assert_close(projected.read_modes.sum(-1), torch.ones(2, 3, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_slots": 0}, "num_slots: 0 is too small; allowed: 1 or more"),
        ({"slot_dim": -1}, "slot_dim: -1 is too small; allowed: 1 or more"),
        ({"num_read_heads": 0}, "num_read_heads: 0 is too small; allowed: 1 or more"),
        ({"d_hidden": 0}, "d_hidden: 0 is too small; allowed: 1 or more"),
        ({"d_in": 0}, "d_in: 0 is too small; allowed: 1 or more"),
        ({"d_out": 0}, "d_out: 0 is too small; allowed: 1 or more"),
        ({"sparse_links": 6}, "sparse_links: 6 is out of range; allowed: 1 to 5"),
        ({"sparse_links": 0}, "sparse_links: 0 is out of range; allowed: 1 to 5"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(options: dict[str, int], message: str) -> None:
    sizes = {"runs": 1, "d_in": 3, "d_hidden": 6, "num_slots": 5, "slot_dim": 3, "num_read_heads": 2, **options}
    with pytest.raises(ParameterError) as refusal:
        DNCCell(**sizes)
    assert str(refusal.value) == message


@given(num_slots=st.integers(1, 24), steps=st.integers(1, 40), heads=st.integers(1, 3))
@settings(max_examples=20)
def test_every_step_is_allocated_a_free_slot_while_there_is_one(num_slots: int, steps: int, heads: int) -> None:
    """So the share of slots that a sequence writes follows from its length and the memory's size."""
    cell = make_cell(runs=1, size=(num_slots, 2, heads))
    with torch.no_grad():
        cell.interface.bias[:, -2 - heads : -2] = -40.0  # nothing is freed
        cell.interface.bias[:, -2:] = 40.0  # allocation alone, and every step writes
    state, most = cell.initial_state(1), torch.zeros(num_slots, dtype=torch.float64)
    inputs = torch.randn(steps, 3, generator=torch.Generator().manual_seed(steps), dtype=torch.float64)
    for x in inputs:
        with torch.no_grad():
            _, state = cell.step(x[None, None], state)
        most = torch.maximum(most, state.write_weights[0, 0, 0])
    assert (most > 0.5).sum() == min(steps, num_slots)
