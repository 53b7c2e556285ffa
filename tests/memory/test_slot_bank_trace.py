"""What is seen and measured of a slot bank, in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from palimpsest.memory.slot_bank import BankRecord
from palimpsest.memory.trace import measures_of, trace_of

RUNS, SIZE, TIME, HEADS, SLOTS = 2, 3, 4, 2, 5


def record(seed: int) -> BankRecord:
    generator = torch.Generator().manual_seed(seed)
    shape = (RUNS, SIZE, TIME, HEADS, SLOTS)
    reads, writes = (3 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)).softmax(-1)
    gate = torch.rand(*shape[:-1], 1, generator=generator, dtype=torch.float64)
    return BankRecord(reads, gate * writes, torch.rand(shape, generator=generator, dtype=torch.float64))


def test_heads_stand_side_by_side_each_with_its_own_slots() -> None:
    given = record(0)
    trace = trace_of(given)
    assert trace.read_weighting is not None
    assert trace.usage_steps is not None
    assert trace.read_weighting.shape == (RUNS, SIZE, TIME, HEADS, HEADS * SLOTS)
    for h in range(HEADS):
        own = slice(h * SLOTS, (h + 1) * SLOTS)
        assert torch.equal(trace.read_weighting[:, :, :, h, own], given.read_weights[:, :, :, h])
        assert torch.equal(trace.usage_steps[..., own], given.usage[:, :, :, h])
        assert trace.read_weighting[:, :, :, h].sum().item() == pytest.approx(
            given.read_weights[:, :, :, h].sum().item()
        )


@pytest.mark.parametrize("seed", range(3))
def test_measures_are_those_of_the_naive_version(seed: int) -> None:
    given = record(seed)
    found = measures_of(given)
    assert found.keys() == {"slots_written", "read_focus", "slots_read", "write_ratio"}
    for run in range(RUNS):
        reads, writes = given.read_weights[run].numpy(), given.write_weights[run].numpy()
        used = []
        for h in range(HEADS):
            mean = reads[:, :, h].mean((0, 1))
            used.append(math.exp(-sum(p * math.log(p) for p in mean)) / SLOTS)
        touched = [1 - np.prod(1 - writes[b, :, h, n]) > 0.5 for b, h, n in np.ndindex(SIZE, HEADS, SLOTS)]
        assert found["slots_read"][run].item() == pytest.approx(np.mean(used))
        assert found["slots_written"][run].item() == pytest.approx(np.mean(touched))
        assert found["read_focus"][run].item() == pytest.approx(reads.max(-1).mean())
        assert found["write_ratio"][run].item() == pytest.approx(writes.sum(-1).mean())


def test_reads_of_one_slot_use_one_and_reads_of_all_alike_use_all() -> None:
    one = torch.zeros(1, 2, 3, 1, 4)
    one[..., 2] = 1
    for reads, expected in ((one, 0.25), (torch.full_like(one, 0.25), 1.0)):
        assert measures_of(BankRecord(reads, one, one))["slots_read"].tolist() == pytest.approx([expected])
