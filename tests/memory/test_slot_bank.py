"""The slot bank against a version in NumPy that goes over heads, tokens and slots one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory import slot_bank
from palimpsest.memory.addressing import content_weights
from palimpsest.memory.slot_bank import BankState, MultiHeadMemoryBank, Step
from tests.memory.cells import numpy_parameters

RUNS, BATCH, D_IN, SLOTS, HEADS, DIM, TOKENS = 2, 3, 5, 6, 2, 3, 4


def made(**more: Any) -> MultiHeadMemoryBank:
    given = {"top_k": 3, "bottleneck": 4, "decay_bias": -1.0, **more}
    bank = MultiHeadMemoryBank(RUNS, D_IN, SLOTS, HEADS * DIM, HEADS, **given)
    reset_parameters(bank, [torch.Generator().manual_seed(seed) for seed in range(RUNS)])
    return bank.double()


def inputs(steps: int, tokens: int = TOKENS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(RUNS, BATCH, steps, tokens, D_IN, generator=generator, dtype=torch.float64)


def lived(bank: MultiHeadMemoryBank, xs: torch.Tensor, **more: Any) -> list[Step]:
    state, steps = bank.initial_state(xs.shape[1]), []
    state = BankState(*(part.double() for part in state))
    for number, x in enumerate(xs.unbind(2)):
        steps.append(bank.step(bank.wishes(x), state, number=number, **more))
        state = steps[-1].state
    return steps


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def cosine(key: np.ndarray, slot: np.ndarray) -> float:
    return float(key @ slot / max(np.linalg.norm(key), 1e-3) / max(np.linalg.norm(slot), 1e-3))


def naive_weights(key: np.ndarray, strength: float, slots: np.ndarray, k: int) -> np.ndarray:
    alike = [cosine(key, slot) for slot in slots]
    chosen = sorted(range(len(slots)), key=lambda i: (-alike[i], i))[:k]
    scores = np.array([np.exp(strength * alike[i]) if i in chosen else 0.0 for i in range(len(slots))])
    return scores / scores.sum()


def naive(parameters: dict[str, Any], xs: np.ndarray, eviction: str, k: int) -> tuple[np.ndarray, ...]:
    """One example: reads of the last step; slots, usage, age and age of writes after it."""
    slots, usage = np.zeros((HEADS, SLOTS, DIM)), np.zeros((HEADS, SLOTS))
    age = np.tile(np.arange(SLOTS, 0, -1.0), (HEADS, 1))
    written, reads = age.copy(), np.zeros((TOKENS, HEADS, DIM))

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ parameters[f"{name}.weight"] + parameters[f"{name}.bias"]

    widths = [2 * HEADS * DIM, 4, HEADS, HEADS, HEADS, HEADS, HEADS]
    for x in xs:
        keys_of, narrow, strength, gate, match, erase, decays = np.split(
            linear("interface", x), np.cumsum(widths)[:-1], axis=-1
        )
        after, new_usage = slots.copy(), usage.copy()
        for h in range(HEADS):
            weights = np.zeros((TOKENS, SLOTS))
            writes = np.zeros((TOKENS, SLOTS))
            keys, values, erases, gates, matches, strengths = [], [], [], [], [], []
            for t in range(TOKENS):
                read_key, write_key = keys_of[t].reshape(2, HEADS, DIM)[:, h]
                strengths.append(1 + np.log1p(np.exp(strength[t, h] + 19)))
                value = linear("widen", np.maximum(narrow[t], 0)).reshape(HEADS, DIM)[h]
                keys.append(write_key)
                values.append(value + write_key)
                erases.append(sigmoid(erase[t, h] + 2))
                gates.append(sigmoid(gate[t, h] + 1))
                matches.append(sigmoid(match[t, h] - 2))
                weights[t] = naive_weights(read_key, strengths[t], slots[h], k)
                reads[t, h] = weights[t] @ slots[h]
            context = decays[:, h].mean()
            for i in range(SLOTS):
                decay = sigmoid(linear("decay_of_slot", slots[h, i])[0] + context)
                after[h, i] = (1 - decay) * slots[h, i]
                new_usage[h, i] = (1 - decay) * usage[h, i]
            old = age if eviction == "lru" else written
            order = sorted(range(SLOTS), key=lambda i: (-old[h, i], i))
            for t in range(TOKENS):
                matched = naive_weights(keys[t], strengths[t], slots[h], k)
                freed = np.array([float(i == order[t]) for i in range(SLOTS)])
                share = 1.0 if eviction == "blind" else matches[t]
                writes[t] = gates[t] * (share * matched + (1 - share) * freed)
            for i in range(SLOTS):
                kept = 1.0
                for t in range(TOKENS):
                    kept = kept * (1 - writes[t, i] * erases[t])
                after[h, i] = after[h, i] * kept + sum(writes[t, i] * values[t] for t in range(TOKENS))
                new_usage[h, i] = 1 - (1 - new_usage[h, i]) * np.prod(1 - writes[:, i])
                wrote = writes[:, i].max()
                written[h, i] = (written[h, i] + TOKENS) * (1 - wrote)
                age[h, i] = (age[h, i] + TOKENS) * (1 - max(wrote, weights[:, i].max()))
        slots, usage = after, new_usage
    return reads.reshape(TOKENS, -1), slots, usage, age, written


@pytest.mark.parametrize(("eviction", "k"), [("lru", 3), ("lru", SLOTS), ("fifo", 2), ("blind", 1)])
def test_every_step_is_that_of_the_naive_version(eviction: Any, k: int) -> None:
    bank, xs = made(eviction=eviction, top_k=k), inputs(5)
    last = lived(bank, xs)[-1]
    for run, example in np.ndindex(RUNS, BATCH):
        expected = naive(numpy_parameters(bank, run), xs[run, example].numpy(), eviction, k)
        found = (last.reads, *last.state)
        for name, ours, theirs in zip(("reads", *BankState._fields), found, expected, strict=True):
            np.testing.assert_allclose(ours[run, example].detach().numpy(), theirs, atol=1e-9, err_msg=name)


def test_with_all_slots_a_read_is_the_dense_one_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    slots = torch.randn(RUNS, BATCH, 1, SLOTS, DIM, generator=generator)
    keys = torch.randn(RUNS, BATCH, 1, TOKENS, DIM, generator=generator)
    strength = torch.rand(RUNS, BATCH, 1, TOKENS, generator=generator) * 5
    found = slot_bank.weighting(keys, strength, None, slots, SLOTS)
    dense = content_weights(keys.squeeze(2), slots.squeeze(2), strength.squeeze(2))
    assert torch.equal(found.squeeze(2), dense)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, SLOTS), st.sampled_from(["softmax", "sigmoid"]))
def test_a_read_takes_k_slots_at_most_and_no_more_than_there_is(seed: int, k: int, weights: Any) -> None:
    generator = torch.Generator().manual_seed(seed)
    slots = torch.randn(1, 1, HEADS, SLOTS, DIM, generator=generator).round()  # some are equal, some zero
    keys = torch.randn(1, 1, HEADS, TOKENS, DIM, generator=generator)
    strength, threshold = torch.rand(2, 1, 1, HEADS, TOKENS, generator=generator) * 9
    found = slot_bank.weighting(keys, strength, threshold if weights == "sigmoid" else None, slots, k)
    assert (found >= 0).all()
    assert ((found > 0).sum(-1) <= k).all()
    assert (found.sum(-1) <= 1 + 1e-6).all()
    if weights == "softmax":
        torch.testing.assert_close(found.sum(-1), torch.ones_like(found.sum(-1)))


@pytest.mark.parametrize(("weights", "reached"), [("softmax", False), ("sigmoid", True)])
def test_one_slot_has_a_gradient_to_its_key_only_with_a_sigmoid(weights: Any, reached: bool) -> None:
    slots = torch.randn(1, 1, 1, SLOTS, DIM, generator=torch.Generator().manual_seed(0))
    keys = torch.ones(1, 1, 1, 1, DIM, requires_grad=True)
    one = torch.ones(1, 1, 1, 1)
    slot_bank.weighting(keys, one, one if weights == "sigmoid" else None, slots, 1).sum().backward()
    assert keys.grad is not None
    assert bool(keys.grad.abs().sum() > 0) == reached


def test_as_many_writes_as_slots_leave_nothing_of_before() -> None:
    """LRU goes round: with open gates and full erasure, N tokens replace all N slots, each once."""
    state = made().initial_state(1)
    place = slot_bank.freed(state.age, SLOTS)
    assert torch.equal(place.sum(-2), torch.ones_like(place.sum(-2)))
    assert place[0, 0, 0].argmax(-1).tolist() == list(range(SLOTS))


def test_more_tokens_than_slots_go_round_again() -> None:
    place = slot_bank.freed(torch.tensor([1.0, 3.0, 2.0]).expand(1, 1, 1, 3), 5)
    assert place[0, 0, 0].argmax(-1).tolist() == [1, 2, 0, 1, 2]


def test_a_slot_that_is_read_is_not_the_next_to_be_freed_with_lru_but_is_with_fifo() -> None:
    zeros = torch.zeros(1, 1, 1, 1, 3)
    state = BankState(torch.zeros(1, 1, 1, 3, DIM), *torch.tensor([3.0, 2.0, 1.0]).expand(3, 1, 1, 1, 3))
    read_first = zeros.clone()
    read_first[..., 0] = 1.0
    after = slot_bank.grow_older(state, read_first, zeros)
    assert slot_bank.freed(after.age, 1).argmax(-1).item() == 1
    assert slot_bank.freed(after.written, 1).argmax(-1).item() == 0


def test_closed_gates_and_no_decay_leave_the_slots_as_they_are() -> None:
    bank = made(decay_bias=None)
    state = BankState(*(part.double() for part in bank.initial_state(BATCH)))
    state = state._replace(slots=torch.randn_like(state.slots))
    wishes = bank.wishes(inputs(1)[:, :, 0])
    closed = wishes._replace(write_gate=torch.zeros_like(wishes.write_gate))
    assert torch.equal(bank.step(closed, state).state.slots, state.slots)


def test_random_eviction_is_a_function_of_key_and_step() -> None:
    bank, xs = made(eviction="random"), inputs(2)
    keys = [torch.tensor(pair) for pair in ((1, 2), (1, 2), (1, 3))]
    first, again, other = (lived(bank, xs, noise_key=key)[-1].write_weights for key in keys)
    assert torch.equal(first, again)
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_controls_silence_or_swap_what_is_read_and_leave_what_is_written() -> None:
    bank, xs = made(), inputs(3)
    on, off, swapped = (lived(bank, xs, control=control) for control in ("on", "off", "shuffled"))
    assert not off[-1].reads.any()
    assert not torch.allclose(on[-1].reads, swapped[-1].reads)
    assert torch.equal(on[0].state.slots, swapped[0].state.slots)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"top_k": SLOTS + 1}, "top_k: 7 is out of range; allowed: 1 to 6"),
        ({"top_k": 0}, "top_k: 0 is out of range; allowed: 1 to 6"),
        ({"bottleneck": 7}, "bottleneck: 7 is out of range; allowed: 1 to 6"),
    ],
)
def test_bad_sizes_are_one_line(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        made(**sizes)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ParameterError, match="num_heads: 4 does not divide slot_dim 6; allowed: a divisor"):
        MultiHeadMemoryBank(1, D_IN, SLOTS, 6, 4)
