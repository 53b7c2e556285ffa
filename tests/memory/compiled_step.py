"""Prints how far a compiled step is from the step itself; a process of its own, as nothing else may watch its calls."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.dnc import DNCCell
from palimpsest.memory.ntm import NTMCell

RUNS, BATCH, TIME, D_IN = 2, 3, 4, 3


def cell_of(name: str) -> NTMCell | DNCCell:
    """A small cell with parameters."""
    cell = NTMCell(RUNS, D_IN, 5, 7, 4) if name == "ntm" else DNCCell(RUNS, D_IN, 5, 6, 4, 2)
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(RUNS)])
    return cell


def parts(state: object) -> list[Tensor]:
    """All tensors of a state."""
    if isinstance(state, Tensor):
        return [state]
    return [found for part in state for found in parts(part)] if isinstance(state, tuple) else []


def outcome(cell: Any) -> list[Tensor]:
    """Outputs of a sequence, its last state, and the gradients of all of it."""
    xs = torch.randn(RUNS, BATCH, TIME, D_IN, generator=torch.Generator().manual_seed(9)).requires_grad_()
    outputs, state = cell.unroll(xs, cell.initial_state(BATCH))
    everything, generator = [outputs, *parts(state)], torch.Generator().manual_seed(1)
    scores = [(part * torch.randn(part.shape, generator=generator)).sum() for part in everything]
    return [*everything, *torch.autograd.grad(scores, [xs, *cell.parameters()])]


if __name__ == "__main__":
    cell, graphs = cell_of(sys.argv[1]), torch._dynamo.utils.counters["stats"]
    eager, before = outcome(cell), graphs["unique_graphs"]
    cell.compiled = True
    fast = outcome(cell)
    worst = max(((a - b).abs() / (1 + b.abs())).max().item() for a, b in zip(fast, eager, strict=True))
    print(before, graphs["unique_graphs"], worst)
