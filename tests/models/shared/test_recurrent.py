"""What recurrent models share, around a cell of one line: loops by hand, chunks, what evaluation looks at, controls."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from palimpsest.layers.encoding import SequenceConfig
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.control import CONTROLS, Control, shuffle_memory, silence_reads
from palimpsest.memory.stepwise import Watch
from palimpsest.memory.stepwise_trace import look
from palimpsest.models import Batch
from palimpsest.models.shared.recurrent import RecurrentModel

RUNS, SIZE, TIME, WIDTH, SLOTS = 2, 3, 6, 4, 5


class Kept(NamedTuple):
    """State of a cell with all that a memory may show."""

    slots: Tensor
    read_weights: Tensor
    write_weights: Tensor
    usage: Tensor
    link: Tensor


class Fading(nn.Module):
    """Slots fade by a half and take in the inputs; what is said is their sum. Its weights are no more than examples."""

    def __init__(self, runs: int, d_in: int) -> None:
        super().__init__()
        self.d_out, self.runs = d_in, runs
        self.steps: list[Control] = []

    def initial_state(self, batch: int) -> Kept:
        shape = self.runs, batch
        zeros = torch.zeros(*shape, SLOTS, self.d_out)
        return Kept(
            zeros, torch.zeros(*shape, 2, SLOTS), torch.zeros(*shape, 1, SLOTS), zeros[..., 0], zeros @ zeros.mT
        )

    def step(self, x: Tensor, state: Kept, control: Control = "on") -> tuple[Tensor, Kept]:
        self.steps.append(control)
        said = silence_reads(shuffle_memory(state.slots, control).sum(2), control) + x
        slots = 0.5 * state.slots + x[:, :, None]
        shown = slots.sum(-1)
        reads = torch.stack([shown, -shown], 2)
        return said, Kept(slots, reads, shown[:, :, None], state.usage + shown, state.link + slots @ slots.mT)


class Bare(NamedTuple):
    """State of a cell that has nothing to show."""

    total: Tensor


class Sum(nn.Module):
    """What was heard so far, added up; it can go over a whole sequence at once."""

    def __init__(self, runs: int, d_in: int) -> None:
        super().__init__()
        self.d_out, self.runs, self.unrolled = d_in, runs, 0

    def initial_state(self, batch: int) -> Bare:
        return Bare(torch.zeros(self.runs, batch, self.d_out))

    def step(self, x: Tensor, state: Bare, control: Control = "on") -> tuple[Tensor, Bare]:
        total = state.total + x
        return total, Bare(total)

    def unroll(self, xs: Tensor, state: Bare, control: Control = "on") -> tuple[Tensor, Bare]:
        self.unrolled += 1
        totals = state.total[:, :, None] + xs.cumsum(2)
        return totals, Bare(totals[:, :, -1])


class OfFading(RecurrentModel):
    """Around :class:`Fading`."""

    def make_cell(self, runs: int, d_in: int) -> Fading:
        return Fading(runs, d_in)


class OfSum(RecurrentModel):
    """Around :class:`Sum`."""

    def make_cell(self, runs: int, d_in: int) -> Sum:
        return Sum(runs, d_in)


CONFIG = SequenceConfig.model_validate(
    {"num_tokens": 7, "num_outputs": 3, "sequence_length": TIME, "code": "learned", "width": WIDTH}
)


def built(kind: type[RecurrentModel], training: bool = False) -> Any:
    """A model with the seeds 0 and 1."""
    model = kind(CONFIG, RUNS)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(RUNS)])
    return model.train(training)


def batch(first: int = 0, last: int | None = None, control: Control = "on", watch: Watch | None = None) -> Batch:
    """Some steps of random tokens, others in every run and example."""
    tokens = torch.randint(7, (RUNS, SIZE, TIME), generator=torch.Generator().manual_seed(5))
    return Batch(tokens[..., first:last], torch.arange(RUNS), {}, control, watch=watch)


def naive(model: Any, run: int, example: int, control: Control) -> np.ndarray:
    """Logits (T, O) of one example around :class:`Fading`, slot by slot, with the memories of those beside it."""
    table, weight, bias = (
        part[run].detach().double().numpy()
        for part in (model.input.embedding.weight, model.head.weight, model.head.bias)
    )
    tokens = batch().inputs[run].tolist()
    memory = np.zeros((SIZE, SLOTS, WIDTH))
    said = []
    for step in range(TIME):
        whose = (example - 1) % SIZE if control == "shuffled" else example
        read = np.zeros(WIDTH)
        for slot in range(SLOTS):
            read += 0 if control == "off" else memory[whose, slot]
        said.append((read + table[tokens[example][step]]) @ weight + bias)
        for other in range(SIZE):
            for slot in range(SLOTS):
                memory[other, slot] = memory[other, slot] / 2 + table[tokens[other][step]]
    return np.stack(said)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("control", CONTROLS)
def test_logits_are_what_a_loop_over_steps_and_slots_gives(control: Control, training: bool) -> None:
    model = built(OfFading, training)
    output = model(batch(control=control), {})
    assert output.logits.shape == (RUNS, SIZE, TIME, 3)
    assert output.losses == {}
    for run in range(RUNS):
        for example in range(SIZE):
            found = output.logits[run, example].detach().double().numpy()
            np.testing.assert_allclose(found, naive(model, run, example, control), rtol=1e-4, atol=1e-4)


def test_a_watched_memory_is_seen_after_every_step() -> None:
    model = built(OfFading)
    trace = model(batch(watch=look), {}).trace.present()
    assert set(trace) == {"read_weighting", "write_weighting", "usage_steps", "link"}
    state = model.cell.initial_state(SIZE)
    for step, x in enumerate(model.input(batch().inputs).unbind(2)):
        _, state = model.cell.step(x, state)
        assert torch.equal(trace["read_weighting"][:, :, step], state.read_weights)
        assert torch.equal(trace["write_weighting"][:, :, step], state.write_weights)
        assert torch.equal(trace["usage_steps"][:, :, step], state.usage)
    assert trace["read_weighting"].shape == (RUNS, SIZE, TIME, 2, SLOTS)
    assert torch.equal(trace["link"], state.link)
    assert not any(value.requires_grad for value in trace.values())


@pytest.mark.parametrize(("kind", "watch"), [(OfFading, None), (OfSum, None), (OfSum, look)])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_recorded_unwatched_or_where_there_is_nothing_to_see(
    kind: type[RecurrentModel], watch: Watch | None, training: bool
) -> None:
    output = built(kind, training)(batch(watch=watch), {})
    assert not output.trace.present()
    assert output.state is not None


@pytest.mark.parametrize("kind", [OfFading, OfSum])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cuts", [(1,), (5,), (2, 4), (1, 2, 3, 4, 5)])
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(
    kind: type[RecurrentModel], training: bool, cuts: tuple[int, ...]
) -> None:
    model = built(kind, training)
    whole = model(batch(), {})
    state, said = None, []
    for first, last in zip((0, *cuts), (*cuts, TIME), strict=True):
        output = model(batch(first, last), {}, state)
        state = output.state
        said.append(output.logits)
    torch.testing.assert_close(torch.cat(said, 2), whole.logits)
    torch.testing.assert_close(state, whole.state)


@pytest.mark.parametrize("training", [True, False])
def test_an_unwatched_model_goes_over_a_sequence_at_once_where_the_cell_can(training: bool) -> None:
    model = built(OfSum, training)
    stepwise = model(batch(watch=lambda state: state), {})
    assert model.cell.unrolled == 0
    at_once = model(batch(), {})
    assert model.cell.unrolled == 1
    torch.testing.assert_close(at_once.logits, stepwise.logits)
    torch.testing.assert_close(at_once.state, stepwise.state)


def test_a_cell_that_can_is_compiled_step_by_step_and_a_model_around_another_as_a_whole() -> None:
    model = built(OfSum)
    model.cell.compiled = False
    model.compile()
    assert model.cell.compiled is True
    assert model._compiled_call_impl is None
    whole = built(OfFading)
    whole.compile(backend="eager")
    assert whole._compiled_call_impl is not None


def test_the_gradient_reaches_the_first_token_from_the_last_step() -> None:
    model = built(OfFading, training=True)
    model(batch(), {}).logits[:, :, -1].sum().backward()
    table = model.input.embedding.weight
    for run in range(RUNS):
        for token in batch().inputs[run, :, 0].tolist():
            assert table.grad[run, token].abs().sum() > 0


@pytest.mark.parametrize("order", [CONTROLS, ("random_writes", "off"), ("off", "random_writes", "on"), ("shuffled",)])
def test_controls_are_told_apart_and_those_that_do_the_same_are_gone_through_once(order: tuple[Control, ...]) -> None:
    model = built(OfFading)
    together = model.under_controls(batch(), {}, dict.fromkeys(order))
    gone_through = model.cell.steps[::TIME]
    assert len(together) == len(order)
    assert sorted(gone_through) == sorted({"on" if control == "random_writes" else control for control in order})
    for control, output in zip(order, together, strict=True):
        assert torch.equal(output.logits, model(batch(control=control), {}).logits), control


def test_every_control_starts_from_its_own_state() -> None:
    model = built(OfFading)
    states: dict[Control, Kept] = {}
    for control in CONTROLS[:3]:
        states[control] = model(batch(last=3, control=control), {}).state
    together = model.under_controls(batch(first=3), {}, states)
    for (control, state), output in zip(states.items(), together, strict=True):
        assert torch.equal(output.logits, model(batch(first=3, control=control), {}, state).logits)


def test_a_model_that_does_not_say_which_cell_it_has_is_none() -> None:
    with pytest.raises(NotImplementedError, match="defines make_cell"):
        RecurrentModel(CONFIG, RUNS)
