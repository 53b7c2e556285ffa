"""Cost of a sparse memory's step, forward and backward, against the number of its slots, all of which are full."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bench.clock import cpu_time, interleaved, wall_time
from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory import neighbours, recency
from palimpsest.memory.sparse import SparseMemory, SparseState
from palimpsest.rendering import bench_columns
from palimpsest.runtime import machine

COLUMNS = bench_columns.COLUMNS["sparse_memory"]
D_IN, SLOT_DIM, HEADS, TOP_K = 16, 32, 4, 4
STEPS = 20
"""Steps of the timed sequence; each sequence starts with the full memory."""
AT_ONCE = 250
"""Number of slots that are filled together."""
KINDS = ("forward", "step")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    sizes = [10**3, 10**4, 10**5, 10**6]
    parser.add_argument("--slots", type=int, nargs="+", default=sizes, help="slots N (1000 10000 100000 1000000)")
    parser.add_argument("--batch", type=int, default=1, help="batch size (1)")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved rounds, of which the median is taken (7)")


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a step for each number of slots, in turn.

    Raises:
        ParameterError: an option is out of range.
    """
    if min([options.batch, options.repeats]) < 1 or min(options.slots) < TOP_K or len(set(options.slots)) < 2:
        raise ParameterError(
            f"--slots {options.slots} --batch {options.batch} --repeats {options.repeats}; "
            f"allowed: two numbers of slots or more, each at least {TOP_K}; at least 1 of the others"
        )
    machine.prepare(options.device)
    with torch.device(options.device):
        timed: dict[tuple[str, int], Callable[[], None]] = {}
        for num_slots in options.slots:
            cell, state = filled(num_slots, options.batch)
            xs = torch.randn(STEPS, 1, options.batch, D_IN)
            timed["forward", num_slots] = _sequence(cell, state, xs, backward=False)
            timed["step", num_slots] = _sequence(cell, state, xs, backward=True)
    clock = cpu_time if options.device == "cpu" else wall_time
    return rows(options, interleaved(timed, options.repeats, "sparse memory", options.device, clock=clock))


@torch.no_grad()
def filled(num_slots: int, batch: int) -> tuple[SparseMemory, SparseState]:
    """Return a cell and a state in which every slot is filled and used, as after as many writes."""
    cell = SparseMemory(1, D_IN, num_slots, SLOT_DIM, HEADS, top_k=TOP_K)
    reset_parameters(cell, [torch.Generator().manual_seed(0)])
    assert cell.hashing is not None
    generator, state = torch.Generator().manual_seed(0), cell.initial_state(batch)
    memory, device = state.memory, cell.project.weight.device
    for slots in torch.arange(num_slots).split(AT_ONCE):
        index = slots.expand(1, batch, -1)
        content = torch.randn(*index.shape, SLOT_DIM, generator=generator, device="cpu").to(device)
        every = torch.ones_like(index, dtype=torch.bool)
        code = neighbours.hash_of(content, cell.directions, cell.hashing).code
        memory = memory.replace("rows", index, content).replace("event", index, torch.zeros_like(index))
        memory = neighbours.insert(memory, index, every, code, cell.hashing)
        memory = recency.use(memory, index, every, 1, num_slots)
    return cell, state._replace(memory=memory, steps=1)


def _sequence(cell: SparseMemory, state: SparseState, xs: torch.Tensor, *, backward: bool) -> Callable[[], None]:
    def run_sequence() -> None:
        with torch.set_grad_enabled(backward):
            outputs, after = [], state
            for x in xs:
                y, after = cell.step(x, after)
                outputs.append(y)
            loss = torch.stack(outputs).square().sum()
        if backward:
            cell.zero_grad()
            loss.backward()

    return run_sequence


def rows(options: argparse.Namespace, seconds: dict[tuple[str, int], float]) -> list[dict[str, Any]]:
    """Return a row for each number of slots, from the seconds of :data:`STEPS` steps by kind and slots."""
    exponents = {
        f"exponent_{kind}": exponent(options.slots, [seconds[kind, slots] for slots in options.slots]) for kind in KINDS
    }
    sizes = {"slot_dim": SLOT_DIM, "num_read_heads": HEADS, "top_k": TOP_K}
    return [
        {
            "device": options.device,
            "batch": options.batch,
            "num_slots": slots,
            **sizes,
            **{f"{kind}_ms": 1e3 * seconds[kind, slots] / STEPS for kind in KINDS},
            **exponents,
        }
        for slots in options.slots
    ]


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return p of seconds ∝ sizes^p, by least squares on logarithms.

    >>> round(exponent([10, 100, 1000], [3.0, 6.0, 12.0]), 3)
    0.301
    """
    return float(np.polyfit([math.log(size) for size in sizes], [math.log(time) for time in seconds], 1)[0])
