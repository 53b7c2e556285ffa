"""The Transformer with slots over tokens: chunks, the future, packs, gradients, controls, trace, bad parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.stepwise_trace import look
from palimpsest.models import Batch, memory_transformer
from palimpsest.tasks import copy

TASK = copy.Config(bits=3, max_length=5, test_lengths=(5,), num_train=12)
INPUTS = TASK.build(0).train.inputs
SMALL = {"width": 8, "num_heads": 2, "feedforward": 6, "segment": 4, "num_slots": 3}
KINDS = pytest.mark.parametrize("code", ["bits", "learned"])


def build(runs: int = 2, **sizes: Any) -> memory_transformer.Model:
    """A small model for :data:`TASK`."""
    model = memory_transformer.Model(memory_transformer.Config(**{**TASK.interface(), **SMALL, **sizes}), runs)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return model


def batch(runs: int = 2, first: int = 0, last: int | None = None) -> Batch:
    """Some steps of three sequences, the same for every run."""
    return Batch(INPUTS[:3, first:last].expand(runs, -1, -1), torch.arange(runs), {})


@KINDS
@settings(max_examples=6)
@given(cut=st.integers(1, 10))
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(code: str, cut: int) -> None:
    model = build(code=code)
    first = model(batch(last=cut), {})
    second = model(batch(first=cut), {}, first.state)
    whole = model(batch(), {})
    assert whole.logits.shape == (2, 3, 11, 3)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 2), whole.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second.state, whole.state, rtol=1e-4, atol=1e-5)


@settings(max_examples=6)
@given(st.integers(0, 10))
def test_nobody_sees_the_future_and_everybody_sees_the_past(place: int) -> None:
    model = build().double()
    changed = batch().inputs.clone()
    changed[..., place] = (changed[..., place] + 1) % 10
    before, after = model(batch(), {}).logits, model(batch()._replace(inputs=changed), {}).logits
    assert torch.equal(before[:, :, :place], after[:, :, :place])
    assert all((before[:, :, step] != after[:, :, step]).any() for step in range(place, 11))


@KINDS
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(code: str) -> None:
    pack, alone = build(3, code=code), build(1, code=code)
    with torch.no_grad():
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            mine.copy_(theirs[1:2])
    together, single = pack(batch(3), {}), alone(batch(1), {})
    together.logits.square().sum().backward()
    single.logits.square().sum().backward()
    assert torch.equal(together.logits[1], single.logits[0])
    for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad[0], theirs.grad[1])


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(code: str, dtype: torch.dtype) -> None:
    model = build(code=code).to(dtype)
    output = model(batch(), {})
    assert output.logits.dtype == dtype
    output.logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_the_slots_are_heard_and_swapped_slots_are_noticed_once_a_segment_has_ended() -> None:
    model = build().double()
    on, off, shuffled, random = (
        output.logits
        for output in model.under_controls(
            batch(), {}, {"on": None, "off": None, "shuffled": None, "random_writes": None}
        )
    )
    assert not torch.allclose(on, off)
    torch.testing.assert_close(on[:, :, :4], shuffled[:, :, :4])  # the slots are the same for all as they begin
    assert (on[:, :, 4:] - shuffled[:, :, 4:]).abs().amax((1, 3)).min() > 1e-9
    assert torch.equal(on, random)


def test_the_trace_shows_where_every_token_read() -> None:
    model = build().eval()
    trace = model(batch()._replace(watch=look), {}).trace.present()
    assert set(trace) == {"read_weighting"}
    assert trace["read_weighting"].shape == (2, 3, 11, 2, 6)
    torch.testing.assert_close(trace["read_weighting"].sum(-1), torch.ones(2, 3, 11, 2))
    assert model(batch(), {}).trace.present() == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"num_heads": 3}, "num_heads 3 does not divide width 32; allowed: a divisor"),
        ({"num_layers": 0}, "num_layers"),
        ({"feedforward": 0}, "feedforward"),
        ({"segment": 0}, "segment"),
        ({"num_slots": 0}, "num_slots"),
        ({"mem_lamda": 0.1}, "unknown key; allowed: .*num_heads"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], problem: str) -> None:
    with pytest.raises(ParameterError, match=problem) as caught:
        checked(memory_transformer.Config, content, "file")
    assert "\n" not in str(caught.value)
