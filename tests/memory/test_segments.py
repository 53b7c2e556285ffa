"""The Transformer with slots: a naive account token by token, the future, chunks, slots, controls, gradients, sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.segments import CrossAttention, SegmentMemory

WIDTH, SLOTS, SEGMENT = 6, 3, 4


def drawn(runs: int = 2, dtype: torch.dtype = torch.float64, **sizes: Any) -> SegmentMemory:
    """Small layers; parameters are drawn, and moved so that none is at a special value."""
    options = {"num_heads": 2, "feedforward": 5, "segment": SEGMENT, "num_layers": 2, **sizes}
    memory = SegmentMemory(runs, WIDTH, SLOTS, **options)
    reset_parameters(memory, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape[1:], generator=generator))
    return memory.to(dtype)


def inputs(runs: int = 2, batch: int = 3, time: int = 11, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(runs, batch, time, WIDTH, generator=generator, dtype=torch.float64).to(dtype)


def through(memory: SegmentMemory, xs: Tensor, state: Any = None, control: Any = "on") -> Any:
    return memory.unroll(xs, memory.initial_state(xs.shape[1]) if state is None else state, control)


class Naive:
    """One layer of one run over one sequence, token by token, written from the equations."""

    def __init__(self, layer: Any, run: int, num_heads: int, segment: int) -> None:
        self.p = {name: value[run].detach().numpy() for name, value in layer.named_parameters()}
        self.heads, self.segment = num_heads, segment

    def linear(self, name: str, x: Any) -> Any:
        return x @ self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def norm(self, name: str, x: Any) -> Any:
        centred = x - x.mean()
        return centred / math.sqrt((centred**2).mean() + 1e-5) * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def attend(self, query: Any, keys: list[Any], values: list[Any]) -> tuple[Any, list[Any]]:
        outputs, weights, dim = [], [], WIDTH // self.heads
        for head in range(self.heads):
            part = slice(head * dim, (head + 1) * dim)
            scores = [math.exp(float(query[part] @ key[part]) / math.sqrt(dim)) for key in keys]
            weights.append([score / sum(scores) for score in scores])
            outputs.append(sum(w * value[part] for w, value in zip(weights[-1], values, strict=True)))
        return np.concatenate(outputs), weights

    def place(self, step: int) -> Any:
        angles = [step / 10000 ** (2 * (i // 2) / WIDTH) for i in range(WIDTH)]
        code = [math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)]
        return np.array(code, dtype=np.float32).astype(np.float64)  # a table that is made in single precision

    def cross(self, name: str, asking: Any, asked: list[Any]) -> tuple[Any, list[Any]]:
        both = [np.split(self.linear(f"{name}.key_value", one), 2) for one in asked]
        found, weights = self.attend(self.linear(f"{name}.query", asking), [k for k, _ in both], [v for _, v in both])
        return self.linear(f"{name}.project_out", found), weights

    def run(self, xs: Any) -> tuple[list[Any], Any, list[Any]]:
        slots, outputs, read = list(self.p["memory"]), [], []
        for start in range(0, len(xs), self.segment):
            part = xs[start : start + self.segment]
            placed = [x + self.place(step) for step, x in enumerate(part)]
            projected = [np.split(self.linear("attention.project_in", x), 3) for x in placed]
            ys = []
            for step, x in enumerate(part):
                seen = projected[: step + 1]
                found, _ = self.attend(projected[step][0], [k for _, k, _ in seen], [v for _, _, v in seen])
                y = self.norm("norm_attention", x + self.linear("attention.project_out", found))
                found, weights = self.cross("read", y + self.place(step), slots)
                y = self.norm("norm_read", y + found)
                hidden = np.maximum(0, self.linear("expand", y))
                ys.append(self.norm("norm_feedforward", y + self.linear("contract", hidden)))
                read.append(weights)
            if len(part) == self.segment:
                context = [y + self.place(step) for step, y in enumerate(ys)]
                for index, old in enumerate(list(slots)):
                    taken, _ = self.cross("write", old + self.p["keys"][index], context)
                    gate = 1 / (1 + np.exp(-self.linear("gate", np.concatenate([old, taken]))))
                    slots[index] = (1 - gate) * old + gate * np.tanh(taken)
            outputs += ys
        return outputs, np.array(slots), read


@pytest.mark.parametrize("time", [3, 4, 11])
def test_outputs_slots_and_reads_equal_the_equations(time: int) -> None:
    memory, xs = drawn(), inputs(time=time)
    outputs, state, read = memory.observed(xs, memory.initial_state(3))
    for run in range(2):
        for example in range(3):
            values: Any = xs[run, example].numpy()
            for number, layer in enumerate(memory.layers):
                values, slots, weights = Naive(layer, run, 2, SEGMENT).run(values)
                own = slice(number * SLOTS, (number + 1) * SLOTS)
                np.testing.assert_allclose(state.slots[run, example, own].detach(), slots, rtol=1e-9, atol=1e-11)
                found = read[run, example, :, :, own].detach()
                np.testing.assert_allclose(2 * found, np.array(weights), rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(outputs[run, example].detach(), np.array(values), rtol=1e-9, atol=1e-11)


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(1, 10), unique=True, max_size=3), seed=st.integers(0, 100))
def test_a_whole_sequence_equals_its_chunks_wherever_it_is_cut(cuts: list[int], seed: int) -> None:
    memory, xs = drawn(), inputs(seed=seed)
    whole, end = through(memory, xs)
    state, outputs = memory.initial_state(3), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 11], strict=True):
        part, state = memory.unroll(xs[:, :, start:stop], state)
        outputs.append(part)
    torch.testing.assert_close(torch.cat(outputs, 2), whole)
    torch.testing.assert_close(state, end)
    assert state.open.shape[3] == 11 % SEGMENT


def test_step_by_step_is_the_same_too() -> None:
    memory, xs = drawn(), inputs(time=9)
    state, outputs = memory.initial_state(3), []
    for x in xs.unbind(2):
        y, state = memory.step(x, state)
        outputs.append(y)
    whole, end = through(memory, xs)
    torch.testing.assert_close(torch.stack(outputs, 2), whole)
    torch.testing.assert_close(state, end)


@given(st.integers(0, 10))
def test_outputs_depend_on_the_past_and_not_on_the_future(place: int) -> None:
    memory, xs = drawn(), inputs()
    other = xs.clone()
    other[:, :, place, 0] += 1
    changed = (through(memory, xs)[0] - through(memory, other)[0]).abs().amax((0, 1, 3))
    assert not changed[:place].any()
    assert changed[place:].min() > 1e-9


def test_slots_change_only_when_a_segment_has_ended() -> None:
    memory, xs = drawn(), inputs(time=9)
    state = memory.initial_state(3)
    for step, x in enumerate(xs.unbind(2)):
        before = state.slots
        _, state = memory.step(x, state)
        assert torch.equal(before, state.slots) == (step % SEGMENT != SEGMENT - 1)


def test_weights_of_reads_sum_to_one_and_slots_stay_bounded() -> None:
    memory = drawn()
    bound = max(1.0, max(layer.memory.abs().max().item() for layer in memory.layers))  # type: ignore[union-attr]
    outputs, state, read = memory.observed(50 * inputs(time=400), memory.initial_state(3))
    torch.testing.assert_close(read.sum(-1), torch.ones(2, 3, 400, 2, dtype=torch.float64))
    assert read.min() >= 0
    assert state.slots.abs().max() <= bound
    assert torch.isfinite(outputs).all()


def test_under_off_outputs_do_not_depend_on_the_slots() -> None:
    memory, xs = drawn(), inputs()
    off, state = through(memory, xs, control="off")
    with torch.no_grad():
        for layer in memory.layers:
            layer.memory.add_(1)  # type: ignore[operator]
    torch.testing.assert_close(through(memory, xs, control="off")[0], off)
    on, _ = through(memory, xs)
    assert not torch.allclose(on, off)
    assert state.slots.abs().sum() > 0


def test_under_shuffled_the_neighbours_slots_are_read_and_the_own_slots_are_written() -> None:
    memory, xs = drawn(num_layers=1), inputs(time=SEGMENT)
    _, state = through(memory, xs)
    xs = xs[:, :1].expand(-1, 3, -1, -1)
    on, _ = through(memory, xs, state)
    shuffled, after = through(memory, xs, state, "shuffled")
    torch.testing.assert_close(shuffled, on.roll(1, 1))
    alone, kept = through(memory, xs[:, :1], state._replace(slots=state.slots[:, :1], open=state.open[:, :1]))
    assert not torch.allclose(shuffled[:, :1], alone)
    assert not torch.allclose(after.slots[:, :1], kept.slots)  # what was read from the neighbour is written
    same, own = through(memory, xs, state._replace(slots=state.slots[:, :1].expand(-1, 3, -1, -1)), "shuffled")
    torch.testing.assert_close(same[:, :1], alone)
    torch.testing.assert_close(own.slots[:, :1], kept.slots)


def test_a_loss_behind_the_second_segment_reaches_every_parameter_and_the_first_token() -> None:
    memory, xs = drawn(), inputs().requires_grad_()
    through(memory, xs)[0][:, :, -1].square().sum().backward()
    for name, parameter in memory.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.flatten(1).any(1).all(), name
    assert xs.grad[:, :, 0].abs().amin() > 0


def test_gradients_equal_differences() -> None:
    memory = drawn(runs=1)
    xs = inputs(runs=1, batch=2, time=9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: through(memory, x)[0], (xs,), eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_no_bad_number(dtype: torch.dtype) -> None:
    memory = drawn(dtype=dtype)
    for scale in (0, 1, 100):
        outputs, state = through(memory, scale * inputs(dtype=dtype))
        assert torch.isfinite(outputs).all()
        assert torch.isfinite(state.slots).all()


def test_a_run_alone_has_the_bits_that_it_has_in_a_pack() -> None:
    pack, alone = drawn(3, torch.float32), drawn(1, torch.float32)
    with torch.no_grad():
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            mine.copy_(theirs[2:])
    xs = inputs(3, dtype=torch.float32)
    together, single = through(pack, xs), through(alone, xs[2:])
    assert torch.equal(together[0][2], single[0][0])
    assert torch.equal(together[1].slots[2], single[1].slots[0])
    together[0].square().sum().backward()
    single[0].square().sum().backward()
    for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad[0], theirs.grad[2])


def test_attention_to_one_vector_returns_it_for_any_query() -> None:
    attention = CrossAttention(1, WIDTH, 3)
    reset_parameters(attention, [torch.Generator().manual_seed(0)])
    asked = torch.randn(1, 2, 1, WIDTH)
    found, weights = attention(torch.randn(1, 2, 5, WIDTH), asked)
    assert torch.equal(weights, torch.ones(1, 2, 3, 5, 1))
    value = attention.key_value(asked)[..., WIDTH:]
    torch.testing.assert_close(found, attention.project_out(value).expand(-1, -1, 5, -1))


@pytest.mark.parametrize("name", ["runs", "width", "num_slots", "num_heads", "feedforward", "segment", "num_layers"])
def test_sizes_below_one_are_refused_in_one_line(name: str) -> None:
    sizes: dict[str, Any] = {"runs": 1, "width": 4, "num_slots": 2}
    with pytest.raises(ParameterError, match=f"^{name}: 0 is too small; allowed: 1 or more$"):
        SegmentMemory(**{**sizes, name: 0})


def test_heads_that_do_not_divide_the_width_are_refused_in_one_line() -> None:
    with pytest.raises(ParameterError, match="^num_heads: 3 does not divide width 4; allowed: a divisor$"):
        SegmentMemory(1, 4, 2, num_heads=3)
