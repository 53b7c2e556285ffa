"""Slots beside a network: a naive version, cuts, padding, sequences of a batch, and what changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.enhanced import EnhancedMemory, EnhancedState

RUNS, BATCH, TIME, D_IN, SEGMENT = 2, 3, 11, 6, 4


def memory(**config: float) -> EnhancedMemory:
    """A small memory whose gain does not hide what is read."""
    small = EnhancedMemory(RUNS, D_IN, 5, 4, 2, segment=SEGMENT, **config)  # pyright: ignore[reportArgumentType]
    reset_parameters(small, [torch.Generator().manual_seed(seed) for seed in (3, 4)])
    return small


def features(time: int = TIME, seed: int = 0) -> Tensor:
    """Features of R × B sequences."""
    return torch.randn(RUNS, BATCH, time, D_IN, generator=torch.Generator().manual_seed(seed))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def same_state(a: EnhancedState, b: EnhancedState) -> None:
    for one, other in zip(a, b, strict=True):
        close(one, other)


# A naive version of one sequence, with plain arrays and loops.


def _norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _attention(p: dict[str, np.ndarray], name: str, query: np.ndarray, context: list[np.ndarray]) -> np.ndarray:
    width, heads = len(query), 2
    q = query @ p[f"{name}.query.weight"] + p[f"{name}.query.bias"]
    both = [c @ p[f"{name}.key_value.weight"] + p[f"{name}.key_value.bias"] for c in context]
    parts = []
    for head in range(heads):
        own = slice(head * width // heads, (head + 1) * width // heads)
        scores = np.array([q[own] @ kv[:width][own] for kv in both]) / np.sqrt(width / heads)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        parts.append(sum(w * kv[width:][own] for w, kv in zip(weights, both, strict=True)))
    return np.concatenate(parts) @ p[f"{name}.project_out.weight"] + p[f"{name}.project_out.bias"]


def _gru(p: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray) -> np.ndarray:
    k = len(h)
    a = x @ p["update.of_input.weight"] + p["update.of_input.bias"]
    b = h @ p["update.of_hidden.weight"] + p["update.of_hidden.bias"]
    reset, keep = _sigmoid(a[:k] + b[:k]), _sigmoid(a[k : 2 * k] + b[k : 2 * k])
    return (1 - keep) * np.tanh(a[2 * k :] + reset * b[2 * k :]) + keep * h


def _linear(p: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def naive(small: EnhancedMemory, run: int, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and slots of one sequence."""
    p = {name: value[run].double().numpy() for name, value in small.state_dict().items()}
    slots, segment, out, written = np.zeros((small.num_slots, small.slot_dim)), [], [], 0

    def addressed() -> list[np.ndarray]:
        scale, shift = p["norm_slots.weight"], p["norm_slots.bias"]
        return [_norm(m, scale, shift) + a for m, a in zip(slots, p["address"], strict=True)]

    for h in tokens.astype(float):
        question = _linear(p, "ask", _norm(h, p["norm_read.weight"], p["norm_read.bias"]))
        found = _attention(p, "find", question, addressed())
        gate = _sigmoid(_linear(p, "gate", np.concatenate([question, found])))
        enhanced = h + small.feedback * p["gain"] * _linear(p, "project_out", gate * found)
        out.append((1 - small.blend) * h + small.blend * enhanced if written else h)
        segment.append(h)
        if len(segment) == small.segment:
            context = [_linear(p, "embed", _norm(x, p["norm_write.weight"], p["norm_write.bias"])) for x in segment]
            new = []
            for m, asks in zip(slots, addressed(), strict=True):
                c = _attention(p, "gather", asks, context)
                w = _sigmoid(_linear(p, "choose", np.concatenate([c, m])))
                new.append(m + small.update_rate * w * (_gru(p, c, m) - m))
            slots, segment, written = np.array(new), [], written + 1
    return np.array(out), slots


def test_it_equals_a_naive_version() -> None:
    small, x = memory(), features()
    with torch.no_grad():
        y, state, _ = small(x, small.initial_state(BATCH))
    for run in range(RUNS):
        for row in range(BATCH):
            outputs, slots = naive(small, run, x[run, row].numpy())
            np.testing.assert_allclose(y[run, row], outputs, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(state.slots[run, row], slots, rtol=1e-4, atol=1e-5)
    assert state.segments.unique().tolist() == [TIME // SEGMENT]
    assert state.begun.unique().tolist() == [TIME % SEGMENT]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_cuts_make_no_difference(cuts: list[int]) -> None:
    small, x = memory(), features(sum(cuts))
    with torch.no_grad():
        whole, end, record = small(x, small.initial_state(BATCH))
        state, parts, weights = small.initial_state(BATCH), [], []
        for part in x.split(cuts, 2):
            y, state, own = small(part, state)
            parts.append(y)
            weights.append(own.read_weights)
    close(torch.cat(parts, 2), whole)
    close(torch.cat(weights, 2), record.read_weights)
    same_state(state, end)


@given(st.lists(st.lists(st.booleans(), min_size=TIME, max_size=TIME), min_size=BATCH, max_size=BATCH))
def test_padding_stays_as_it_is_and_changes_nothing_else(mask: list[list[bool]]) -> None:
    small, x = memory(), features()
    valid = torch.tensor(mask).expand(RUNS, -1, -1)
    with torch.no_grad():
        y, state, record = small(x, small.initial_state(BATCH), valid)
        assert torch.equal(y[~valid], x[~valid])
        assert not record.read_weights[~valid].any()
        for row, own in enumerate(mask):
            if not any(own):
                continue
            alone = x[:, row : row + 1, torch.tensor(own)]
            expected, end, _ = small(alone, small.initial_state(1))
            close(y[:, row : row + 1, torch.tensor(own)], expected)
            same_state(EnhancedState(*(part[:, row : row + 1] for part in state)), end)


def test_sequences_of_a_batch_do_not_see_each_other() -> None:
    small, x = memory(), features()
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        y, state, _ = small(x, small.initial_state(BATCH))
        swapped, after, _ = small(x[:, order], small.initial_state(BATCH))
    assert torch.equal(swapped, y[:, order])
    assert torch.equal(after.slots, state.slots[:, order])


def test_a_run_in_a_pack_equals_the_run_alone() -> None:
    small, x = memory(), features()
    alone = EnhancedMemory(1, D_IN, 5, 4, 2, segment=SEGMENT)
    alone.load_state_dict({name: value[1:2] for name, value in small.state_dict().items()})
    with torch.no_grad():
        y, _, _ = small(x, small.initial_state(BATCH))
        own, _, _ = alone(x[1:2], alone.initial_state(BATCH))
    assert torch.equal(own[0], y[1])


@pytest.mark.parametrize("silent", [{"feedback": 0.0}, {"blend": 0.0}, {"initial_gain": 0.0}])
def test_without_feedback_features_come_back_bit_for_bit(silent: dict[str, float]) -> None:
    x = features()
    for kind in (torch.float32, torch.bfloat16):
        given_back, _, _ = memory(**silent).to(kind)(x.to(kind), memory(**silent).to(kind).initial_state(BATCH))
        assert torch.equal(given_back, x.to(kind))


def test_reads_can_be_zeroed_and_memories_swapped() -> None:
    small, x = memory(), features()
    with torch.no_grad():
        on, _, _ = small(x, small.initial_state(BATCH))
        off, after, _ = small(x, small.initial_state(BATCH), None, "off")
        shuffled, _, _ = small(x, small.initial_state(BATCH), None, "shuffled")
    assert torch.equal(off, x)
    assert torch.equal(on[:, :, :SEGMENT], x[:, :, :SEGMENT])
    assert not torch.equal(on, x)
    assert not torch.equal(shuffled[:, :, SEGMENT:], on[:, :, SEGMENT:])
    assert after.segments.unique().tolist() == [TIME // SEGMENT]


def test_a_gradient_reaches_every_parameter_and_earlier_segments() -> None:
    small = memory()
    first, second = features(2 * SEGMENT).requires_grad_(), features(SEGMENT, seed=1)
    _, state, _ = small(first, small.initial_state(BATCH))
    y, _, _ = small(second, state)
    y.square().sum().backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert [name for name, value in small.named_parameters() if value.grad is None or not value.grad.any()] == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_slots": 0}, "num_slots: 0 is too small; allowed: 1 or more"),
        ({"segment": 0}, "segment: 0 is too small; allowed: 1 or more"),
        ({"feedback": 1.5}, "feedback: 1.5 is out of range; allowed: 0 to 1"),
        ({"blend": float("nan")}, "blend: nan is out of range; allowed: 0 to 1"),
        ({"update_rate": -0.1}, "update_rate: -0.1 is out of range; allowed: 0 to 1"),
        ({"num_heads": 3}, "num_heads: 3 does not divide slot_dim 4; allowed: a divisor"),
    ],
)
def test_bad_input_is_one_line(wrong: dict[str, float], message: str) -> None:
    sizes = {"num_slots": 5, "slot_dim": 4, "num_heads": 2} | wrong
    with pytest.raises(ParameterError, match=message):
        EnhancedMemory(1, D_IN, **sizes)  # pyright: ignore[reportArgumentType]
