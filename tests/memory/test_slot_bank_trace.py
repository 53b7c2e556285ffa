"""What is seen and measured of a slot bank, in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.memory.slot_bank import BankRecord
from palimpsest.memory.slot_bank_trace import heads_apart, retained, swapped
from palimpsest.memory.trace import measures_of, trace_of

RUNS, SIZE, TIME, HEADS, SLOTS = 2, 3, 4, 2, 5


def record(seed: int) -> BankRecord:
    generator = torch.Generator().manual_seed(seed)
    shape = (RUNS, SIZE, TIME, HEADS, SLOTS)
    reads, writes = (3 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)).softmax(-1)
    gate = torch.rand(*shape[:-1], 1, generator=generator, dtype=torch.float64)
    return BankRecord(reads, gate * writes, torch.rand(shape, generator=generator, dtype=torch.float64))


def test_heads_stand_side_by_side_each_with_its_own_slots() -> None:
    made = record(0)
    trace = trace_of(made)
    assert trace.read_weighting is not None
    assert trace.usage_steps is not None
    assert trace.read_weighting.shape == (RUNS, SIZE, TIME, HEADS, HEADS * SLOTS)
    for h in range(HEADS):
        own = slice(h * SLOTS, (h + 1) * SLOTS)
        assert torch.equal(trace.read_weighting[:, :, :, h, own], made.read_weights[:, :, :, h])
        assert torch.equal(trace.usage_steps[..., own], made.usage[:, :, :, h])
        assert trace.read_weighting[:, :, :, h].sum().item() == pytest.approx(
            made.read_weights[:, :, :, h].sum().item()
        )


def divergence(gates: np.ndarray) -> float:
    """Jensen-Shannon divergence by way of relative entropies, as a share of log H."""
    profiles = [gates[:, :, h].sum(0) / gates[:, :, h].sum() for h in range(HEADS)]
    mean = sum(profiles) / HEADS
    return float(np.mean([sum(p * np.log(p / mean)) for p in profiles]) / math.log(HEADS))


@pytest.mark.parametrize("seed", range(3))
def test_measures_are_those_of_the_naive_version(seed: int) -> None:
    made = record(seed)
    found = measures_of(made)
    assert found.keys() == {
        *("slots_written", "read_focus", "slots_read", "write_ratio"),
        *("heads_apart", "heads_apart_swapped", "retained"),
    }
    for run in range(RUNS):
        reads, writes = made.read_weights[run].numpy(), made.write_weights[run].numpy()
        used = []
        for h in range(HEADS):
            mean = reads[:, :, h].mean((0, 1))
            used.append(math.exp(-sum(p * math.log(p) for p in mean)) / SLOTS)
        touched = [1 - np.prod(1 - writes[b, :, h, n]) > 0.5 for b, h, n in np.ndindex(SIZE, HEADS, SLOTS)]
        assert found["slots_read"][run].item() == pytest.approx(np.mean(used))
        assert found["slots_written"][run].item() == pytest.approx(np.mean(touched))
        assert found["read_focus"][run].item() == pytest.approx(reads.max(-1).mean())
        assert found["write_ratio"][run].item() == pytest.approx(writes.sum(-1).mean())
        gates = writes.sum(-1)  # examples, steps, heads
        other = np.stack([np.roll(gates[b], -b, axis=-1) for b in range(SIZE)])
        assert found["heads_apart"][run].item() == pytest.approx(divergence(gates))
        assert found["heads_apart_swapped"][run].item() == pytest.approx(divergence(other))
        held = made.usage[run, :, -1].numpy().sum() / gates.sum()
        assert found["retained"][run].item() == pytest.approx(min(1, held))


def test_reads_of_one_slot_use_one_and_reads_of_all_alike_use_all() -> None:
    one = torch.zeros(1, 2, 3, 1, 4)
    one[..., 2] = 1
    for reads, expected in ((one, 0.25), (torch.full_like(one, 0.25), 1.0)):
        assert measures_of(BankRecord(reads, one, one))["slots_read"].tolist() == pytest.approx([expected])


def roles(examples: int) -> torch.Tensor:
    """Gates of two heads, of which the first writes in the first half and the other in the second."""
    gates = torch.zeros(1, examples, 4, 2, dtype=torch.float64)
    gates[:, :, :2, 0] = gates[:, :, 2:, 1] = 1
    return gates


def test_heads_with_roles_are_as_far_apart_as_can_be_and_swapping_them_takes_that_away() -> None:
    assert heads_apart(roles(6)).tolist() == pytest.approx([1.0])
    assert heads_apart(swapped(roles(6))).tolist() == pytest.approx([0.0])
    assert heads_apart(torch.zeros_like(roles(6))).tolist() == [0.0]
    assert heads_apart(roles(6)[..., :1]).tolist() == [0.0]


@given(st.integers(0, 2**31), st.integers(1, 4))
def test_what_is_retained_is_what_no_later_write_or_decay_took(seed: int, steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    writes = torch.rand(1, 2, steps, 1, SLOTS, generator=generator, dtype=torch.float64) / SLOTS
    decay = torch.rand(1, 2, steps, 1, SLOTS, generator=generator, dtype=torch.float64)
    usage, kept = torch.zeros(1, 2, 1, SLOTS, dtype=torch.float64), torch.zeros(1, 2, 1, SLOTS, dtype=torch.float64)
    for t in range(steps):
        usage = (1 - decay[:, :, t]) * usage
        usage = 1 - (1 - usage) * (1 - writes[:, :, t])
        kept = kept * (1 - decay[:, :, t]) * (1 - writes[:, :, t]) + writes[:, :, t]
    found = retained(writes.sum(-1), usage[:, :, None].flatten(3).expand(-1, -1, steps, -1))
    assert found.item() == pytest.approx((kept.sum() / writes.sum()).item())
