"""Every memory cell in a small size, and what tests do with cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.adaptive import AdaptiveMemory
from palimpsest.memory.associative import AssociativeMemory
from palimpsest.memory.attention_memory import AttentionMemory
from palimpsest.memory.dynamic import DynamicMemory
from palimpsest.memory.gated import GatedMemory
from palimpsest.memory.hierarchical import HierarchicalMemory
from palimpsest.memory.least_recently_used import LeastRecentlyUsedAccess
from palimpsest.memory.lifecycle_memory import LifecycleMemory
from palimpsest.memory.memory_cell import MemoryCell
from palimpsest.memory.repeated_reads import RepeatedReads
from palimpsest.memory.selective_memory import SelectiveMemory
from palimpsest.memory.sparse import SparseMemory

D_IN, NUM_SLOTS, SLOT_DIM, HEADS = 3, 5, 4, 2

CELLS: dict[str, Callable[[int], Any]] = {
    "memory_cell": lambda runs: MemoryCell(runs, D_IN, NUM_SLOTS, SLOT_DIM),
    "memory_cell_of_one_slot": lambda runs: MemoryCell(runs, D_IN, 1, SLOT_DIM),
    "dynamic": lambda runs: DynamicMemory(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS),
    "dynamic_compacting": lambda runs: DynamicMemory(
        runs, D_IN, NUM_SLOTS, SLOT_DIM, 1, threshold=0.1, compaction=True
    ),
    "repeated_reads": lambda runs: RepeatedReads(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS, num_reads=2),
    "associative": lambda runs: AssociativeMemory(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS),
    "least_recently_used": lambda runs: LeastRecentlyUsedAccess(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS),
    "attention_circular": lambda runs: AttentionMemory(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS),
    "attention_first_free": lambda runs: AttentionMemory(
        runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS, placement="first_free"
    ),
    "hierarchical": lambda runs: HierarchicalMemory(runs, D_IN, (4, 3, 2), SLOT_DIM, HEADS, period=2),
    "adaptive": lambda runs: AdaptiveMemory(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS),
    "sparse_exact": lambda runs: SparseMemory(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS, top_k=2, search="exact"),
    "sparse_hashed": lambda runs: SparseMemory(runs, D_IN, 40, SLOT_DIM, HEADS, top_k=2, num_tables=2, bucket_size=4),
    "gated": lambda runs: GatedMemory(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS),
    "selective": lambda runs: SelectiveMemory(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS),
    "lifecycle": lambda runs: LifecycleMemory(runs, D_IN, NUM_SLOTS, SLOT_DIM, HEADS, offsets=(0.0, 0.0, 0.0)),
}
"""Each cell and each of its settings that changes the equations, by name, for a number of runs."""

HARD = {
    "selective": "a write is decided by a threshold, and its straight-through gradient is no derivative",
    "lifecycle": "operations are decided by rank, and their straight-through gradients are no derivatives",
}
"""Cells whose gradients no difference of outputs can equal, each with the reason."""
RECTIFIED = {f"controller.{name}.weight" for name in ("of_context", "of_slot", "hidden", "write_hidden")}
"""Weights whose outputs go through a ReLU: a unit that is zero in every step has no gradient."""


def drawn(name: str, runs: int = 2, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A cell whose parameters are drawn, run by run, from the seeds 0, 1 and so on."""
    cell = CELLS[name](runs)
    reset_parameters(cell, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return cell.to(dtype)


def inputs(
    runs: int = 2, batch: int = 3, time: int = 6, seed: int = 0, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Tensor:
    """(R, B, T, d_in) normal numbers, drawn in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(runs, batch, time, D_IN, generator=generator, dtype=torch.float64)).to(dtype)


def unroll(cell: Any, xs: Tensor, state: Any = None, control: str = "on") -> tuple[Tensor, list[Any]]:
    """Outputs (R, B, T, d_out) and the state after every step."""
    state = cell.initial_state(xs.shape[1]) if state is None else state
    outputs, states = [], []
    for x in xs.unbind(2):
        y, state = cell.step(x, state, control)
        outputs.append(y)
        states.append(state)
    return torch.stack(outputs, 2), states


def numpy_parameters(cell: nn.Module, run: int) -> dict[str, Any]:
    """Parameters of one run, as float64 arrays, by name."""
    return {name: value[run].detach().double().numpy() for name, value in cell.named_parameters()}
