"""Temporal memory: at once as step by step, a reach for each scale, and reads that ask for a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory import temporal
from palimpsest.memory.control import CONTROLS
from palimpsest.memory.temporal import TemporalMemory

RUNS, BATCH, FEATURES = 2, 3, 4


def made(num_slots: int = 5, num_scales: int = 3, dtype: torch.dtype = torch.float64) -> TemporalMemory:
    cell = TemporalMemory(RUNS, FEATURES, 6, num_slots, 3, num_scales).to(dtype)
    reset_parameters(cell, [torch.Generator().manual_seed(run) for run in range(RUNS)])
    return cell


def inputs(time: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(RUNS, BATCH, time, FEATURES, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("num_slots", [1, 5, 40])
def test_a_sequence_at_once_is_the_sequence_step_by_step(control: str, num_slots: int) -> None:
    cell, xs = made(num_slots), inputs(13)
    at_once, after = cell.unroll(xs, cell.initial_state(BATCH), control)
    state, outputs = cell.initial_state(BATCH), []
    for x in xs.unbind(2):
        y, state = cell.step(x, state, control)
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 2), at_once)
    for part in ("slots", "read_weights", "write_weights"):
        torch.testing.assert_close(getattr(state, part), getattr(after, part))
    for one, other in zip(state.scales, after.scales, strict=True):
        assert torch.equal(one.steps, other.steps)
        assert torch.equal(one.mass, other.mass)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 12), st.sampled_from(CONTROLS))
def test_parts_of_a_sequence_are_the_whole_with_the_state_carried(
    parts: list[int], num_slots: int, control: str
) -> None:
    cell, xs = made(num_slots), inputs(sum(parts))
    whole, last = cell.unroll(xs, cell.initial_state(BATCH), control)
    state, outputs = cell.initial_state(BATCH), []
    for part in xs.split(parts, 2):
        y, state = cell.unroll(part, state, control)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 2), whole)
    torch.testing.assert_close(state.slots, last.slots)


def test_the_gradient_at_once_is_that_step_by_step() -> None:
    cell, xs = made(), inputs(9)
    cell.unroll(xs, cell.initial_state(BATCH))[0].square().sum().backward()
    found = {name: parameter.grad.clone() for name, parameter in cell.named_parameters()}  # type: ignore[union-attr]
    cell.zero_grad()
    state, total = cell.initial_state(BATCH), torch.zeros((), dtype=torch.float64)
    for x in xs.unbind(2):
        y, state = cell.step(x, state)
        total = total + y.square().sum()
    total.backward()
    for name, parameter in cell.named_parameters():
        assert found[name].any(), name
        torch.testing.assert_close(parameter.grad, found[name], msg=name)


def test_reads_are_what_the_equations_say() -> None:
    """One scale of one run and example, entry by entry in NumPy."""
    cell, xs = made(4, 1), inputs(9)
    _, final = cell.unroll(xs, cell.initial_state(BATCH))
    memory = cell.memories[0]
    weight, bias = (part[0].detach().numpy() for part in (memory.project.weight, memory.project.bias))
    hidden, state = [], cell.initial_state(BATCH).encoder
    for x in xs.unbind(2):
        h, state = cell.encoder.step(x, state)
        hidden.append(h[0, 0].detach().numpy())
    stored = []
    weights = np.zeros(4)
    for step, h in enumerate(hidden):
        hands = [2 * math.pi * step / period for period in (4, 8)]
        timed = np.concatenate([h, np.sin(hands), np.cos(hands)])
        value, _, key, strength, _ = np.split(timed @ weight + bias, [3, 4, 7, 8])
        stored.append(value)
        entries = stored[-4:]
        similarity = [key @ entry / np.linalg.norm(key) / np.linalg.norm(entry) for entry in entries]
        scores = np.exp((1 + math.log1p(math.exp(strength.item()))) * np.array(similarity))
        weights = scores / scores.sum()
    for age, entry in enumerate(range(8, 4, -1)):  # entry number 8 is the last one
        found = final.read_weights[0, 0, 0, entry % 4].item()
        assert found == pytest.approx(weights[3 - age])


def test_each_scale_forgets_what_lies_behind_its_own_slots() -> None:
    """The last read of scale k depends on the input N_k - 1 steps ago, and not on that of N_k steps ago."""
    cell = made(8, 3)
    cell.encoder.of_hidden.weight.data.zero_()  # nothing is carried by the encoder but through its gate
    cell.encoder.of_input.bias.data[:, 6:12] = -50.0
    for scale, slots in enumerate((2, 4, 8)):
        for ago, seen in ((slots - 1, True), (slots, False)):
            xs = inputs(20)
            other = xs.clone()
            other[:, :, 19 - ago] += 1
            memory = cell.memories[scale]
            reads = []
            for each in (xs, other):
                hidden = torch.stack(
                    [cell.encoder.step(x, cell.initial_state(BATCH).encoder)[0] for x in each.unbind(2)], 2
                )
                steps = torch.arange(20).expand(RUNS, BATCH, -1)
                timed = torch.cat([hidden, temporal.clock(steps, slots, torch.float64)], -1)
                out, _ = temporal.all_at_once(memory, timed, memory.initial_state(BATCH), "on")
                reads.append(out[:, :, -1])
            assert torch.allclose(*reads, rtol=0, atol=1e-12) is not seen


@given(st.integers(1, 70), st.integers(1, 8))
def test_a_scale_has_half_as_many_slots_as_the_next_rounded_up(num_slots: int, num_scales: int) -> None:
    sizes = temporal.slots_of_scales(num_slots, num_scales)
    assert len(sizes) == num_scales
    assert sizes[-1] == num_slots
    assert all(small == -(-large // 2) for small, large in itertools.pairwise(sizes))


@given(st.integers(1, 70), st.integers(0, 10**12))
def test_a_clock_tells_the_steps_of_a_memory_apart_at_any_time(num_slots: int, start: int) -> None:
    hands = temporal.clock(start + torch.arange(num_slots), num_slots, torch.float64)
    distance = torch.cdist(hands, hands, compute_mode="donot_use_mm_for_euclid_dist") + 9 * torch.eye(num_slots)
    assert distance.min() > 0.9  # a quarter of the fastest hand's way round is 2 sin(45°) apart
    period = temporal.periods(num_slots)[-1]
    later = temporal.clock(start + period + torch.arange(num_slots), num_slots, torch.float64)
    torch.testing.assert_close(hands, later)


def test_weights_stand_beside_each_other_by_scale() -> None:
    cell = made(4, 2)
    _, state = cell.unroll(inputs(7), cell.initial_state(BATCH))
    assert state.slots.shape == (RUNS, BATCH, 6, 3)
    for weights in (state.read_weights, state.write_weights):
        assert weights.shape == (RUNS, BATCH, 2, 6)
        assert not weights[:, :, 0, 2:].any()
        assert not weights[:, :, 1, :2].any()
        torch.testing.assert_close(weights.sum(-1), torch.ones(RUNS, BATCH, 2, dtype=torch.float64))


@pytest.mark.parametrize("size", ["runs", "d_in", "d_hidden", "num_slots", "slot_dim", "num_scales"])
def test_sizes_below_one_are_refused_in_one_line(size: str) -> None:
    sizes = dict.fromkeys(("runs", "d_in", "d_hidden", "num_slots", "slot_dim", "num_scales"), 2)
    with pytest.raises(ParameterError, match=f"^{size}: 0 is too small; allowed: 1 or more$"):
        TemporalMemory(**{**sizes, size: 0})
