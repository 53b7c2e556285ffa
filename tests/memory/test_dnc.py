"""The DNC, step by step against its equations in NumPy, on what always holds, and on what breaks careless ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from palimpsest.layers.transformer import reset_parameters
from palimpsest.memory.dnc import (
    DNCCell,
    DNCState,
)

Array = np.ndarray[Any, Any]
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
    num_slots, slot_dim, heads = size
    kept = max(1, num_slots // 2) if sparse else None
    cell = make_cell(size=size, d_out=4, sparse_links=kept)
    assert cell.output is not None
    x, first = inputs(9), begun(cell)
    for run, example in np.ndindex(2, 3):
        oracle, h, c = Oracle(*size, kept=kept), np.zeros(6), np.zeros(6)
        oracle.M, oracle.u = first.slots[run, example].numpy().copy(), first.usage[run, example].numpy().copy()
        state = first
        for t in range(9):
            heard = np.concatenate([x[t, run, example].numpy(), oracle.r.ravel()])
            h, c = lstm(cell, run, heard, h, c)
            interface = cell.interface
            oracle.step(h @ interface.weight[run].detach().numpy() + interface.bias[run].detach().numpy())
            output, bias = cell.output.weight[run].detach().numpy(), cell.output.bias[run].detach().numpy()
            expected = h @ output[:6] + oracle.r.ravel() @ output[6:] + bias
            y, state = cell.step(x[t], state)
            for name, value in {
                "slots": oracle.M,
                "usage": oracle.u,
                "precedence": oracle.p,
                "read_weights": oracle.wr,
                "write_weights": oracle.ww[None],
                "reads": oracle.r,
            }.items():
                ours = getattr(state, name)[run, example].detach().numpy()
                np.testing.assert_allclose(ours, value, rtol=1e-4, atol=2e-5, err_msg=f"{name} at step {t}")
            if not sparse:
                assert state.link is not None
                np.testing.assert_allclose(state.link[run, example].detach().numpy(), oracle.L, atol=2e-5)
            np.testing.assert_allclose(y[run, example].detach().numpy(), expected, rtol=1e-4, atol=1e-4)
