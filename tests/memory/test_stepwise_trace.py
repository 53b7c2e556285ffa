"""What is measured of memories that are read and written softly, in plain loops; records and their traces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.memory.segments import SegmentRecord
from palimpsest.memory.stepwise import StepwiseRecord
from palimpsest.memory.stepwise_trace import Look, look, measure, slots_written
from palimpsest.memory.trace import MemoryTrace, measures_of, module_beside, trace_of

RUNS, SIZE, SLOTS = 2, 3, 4


def weighting(seed: int, heads: int = 2, steps: int = 5) -> torch.Tensor:
    """(R, B, T, H, N), non-negative, sums to at most 1; sharp, so that slots are written or not."""
    generator = torch.Generator().manual_seed(seed)
    weights = (4 * torch.randn(RUNS, SIZE, steps, heads, SLOTS, generator=generator, dtype=torch.float64)).softmax(-1)
    return weights * torch.rand(RUNS, SIZE, steps, heads, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("heads", [1, 3])
def test_a_slot_is_written_if_it_has_more_likely_than_not_been_written_once(seed: int, heads: int) -> None:
    weights = weighting(seed, heads)
    found = slots_written(weights)
    assert found.shape == (RUNS, SIZE, SLOTS)
    for index in np.ndindex(RUNS, SIZE, SLOTS):
        run, example, slot = index
        untouched = 1.0
        for step in range(5):
            for head in range(heads):
                untouched *= 1 - float(weights[run, example, step, head, slot])
        assert bool(found[index]) == (untouched < 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_soft_memories_have_means_of_slots_written_and_of_the_largest_weights_read(seed: int) -> None:
    writes, reads = weighting(seed, 1), weighting(seed + 10, 2)
    means = measure(MemoryTrace(read_weighting=reads.float(), write_weighting=writes.float()))
    assert means.keys() == {"slots_written", "read_focus"}
    for run in range(RUNS):
        written = [
            float(1 - np.prod(1 - writes[run, b, :, 0, n].numpy())) > 0.5 for b in range(SIZE) for n in range(SLOTS)
        ]
        focus = [max(reads[run, b, t, h].tolist()) for b in range(SIZE) for t in range(5) for h in range(2)]
        assert means["slots_written"][run].item() == pytest.approx(np.mean(written))
        assert means["read_focus"][run].item() == pytest.approx(np.mean(focus), rel=1e-6)
        assert means["read_focus"].dtype == means["slots_written"].dtype == torch.float64


def test_slots_that_are_hardly_written_are_not_and_one_that_is_surely_written_is() -> None:
    weights = torch.zeros(1, 1, 4, 1, 3)
    weights[..., 1] = 0.15  # 1 - .85⁴ = .48
    weights[:, :, 2, :, 2] = 1
    assert slots_written(weights).tolist() == [[[False, False, True]]]


def test_what_was_seen_after_each_step_is_stacked_over_time() -> None:
    reads = weighting(0, 2)
    record = StepwiseRecord([Look(step, None, None) for step in reads.unbind(2)], None)
    trace = trace_of(record)
    assert set(trace.present()) == {"read_weighting"}
    assert torch.equal(trace.read_weighting, reads)
    assert set(measures_of(record)) == {"read_focus"}


def test_a_memory_that_shows_nothing_is_not_watched() -> None:
    assert look(object()) is None
    assert look(StepwiseRecord([], None)) is None


def test_no_record_is_an_empty_trace_without_measures() -> None:
    assert trace_of(None).present() == {}
    assert measures_of(None) == {}


def test_the_module_of_a_record_names_the_module_of_its_trace() -> None:
    assert module_beside("palimpsest.memory.lifecycle_log") == "palimpsest.memory.lifecycle_trace"
    assert module_beside("palimpsest.memory.stepwise") == "palimpsest.memory.stepwise_trace"
    weights = weighting(0, 1)
    assert torch.equal(trace_of(SegmentRecord(weights)).read_weighting, weights)
