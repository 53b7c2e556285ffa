"""The Transformer baseline: PyTorch's own, run by run; nobody sees the future; chunks; places; packs; sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.places import sinusoids
from palimpsest.models import Batch, causal_transformer
from palimpsest.tasks import copy

TASK = copy.Config(bits=3, max_length=4, test_lengths=(4,), num_train=12)
INPUTS = TASK.build(0).train.inputs
SMALL = {"width": 8, "num_heads": 2, "num_layers": 2, "feedforward": 6}
KINDS = [("bits", "sinusoidal"), ("bits", "learned"), ("learned", "sinusoidal"), ("learned", "learned")]


def build(runs: int = 2, **sizes: Any) -> causal_transformer.Model:
    """A small model for :data:`TASK`."""
    config = causal_transformer.Config(**{**TASK.interface(), **SMALL, **sizes})
    model = causal_transformer.Model(config, runs)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return model


def batch(runs: int = 2, first: int = 0, last: int | None = None) -> Batch:
    """Some steps of three sequences, the same for every run."""
    return Batch(INPUTS[:3, first:last].expand(runs, -1, -1), torch.arange(runs), {})


def torchs(model: causal_transformer.Model, run: int) -> nn.TransformerEncoder:
    """PyTorch's own with one run's weights."""
    layer = nn.TransformerEncoderLayer(8, 2, 6, dropout=0.0, batch_first=True)
    own = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    with torch.no_grad():
        for theirs, mine in zip(own.layers, model.layers, strict=True):
            for target, source in (
                (theirs.self_attn.in_proj_weight, mine.attention.project_in.weight[run].T),
                (theirs.self_attn.in_proj_bias, mine.attention.project_in.bias[run]),
                (theirs.self_attn.out_proj.weight, mine.attention.project_out.weight[run].T),
                (theirs.self_attn.out_proj.bias, mine.attention.project_out.bias[run]),
                (theirs.linear1.weight, mine.expand.weight[run].T),
                (theirs.linear1.bias, mine.expand.bias[run]),
                (theirs.linear2.weight, mine.contract.weight[run].T),
                (theirs.linear2.bias, mine.contract.bias[run]),
            ):
                target.copy_(source)
    return own


@pytest.mark.parametrize(("code", "positions"), KINDS)
def test_every_run_gives_the_outputs_of_pytorchs_encoder_under_a_causal_mask(code: str, positions: str) -> None:
    model = build(code=code, positions=positions)
    output = model(batch(), {})
    assert output.logits.shape == (2, 3, 9, 3)
    mask = nn.Transformer.generate_square_subsequent_mask(9)
    for run in range(2):
        features = model.input(batch().inputs)[run]
        if model.widen is not None:
            features = features @ model.widen.weight[run] + model.widen.bias[run]
        places = sinusoids(9, 8) if model.places is None else model.places.weight[run]
        encoded = torchs(model, run)(features + places, mask=mask, is_causal=True)
        expected = encoded @ model.head.weight[run] + model.head.bias[run]
        torch.testing.assert_close(output.logits[run], expected, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 8), st.sampled_from(["sinusoidal", "learned"]))
def test_nobody_sees_the_future_and_everybody_sees_the_past(place: int, positions: str) -> None:
    model = build(positions=positions)
    changed = batch().inputs.clone()
    changed[..., place] = (changed[..., place] + 1) % 10
    before, after = model(batch(), {}).logits, model(batch()._replace(inputs=changed), {}).logits
    assert torch.equal(before[:, :, :place], after[:, :, :place])
    assert all((before[:, :, step] != after[:, :, step]).any() for step in range(place, 9))


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(cut: int) -> None:
    model = build()
    first = model(batch(last=cut), {})
    second = model(batch(first=cut), {}, first.state)
    whole = model(batch(), {})
    assert second.logits.shape == (2, 3, 9 - cut, 3)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 2), whole.logits)
    assert torch.equal(second.state.tokens, batch().inputs)


def test_more_tokens_than_there_are_places_are_refused() -> None:
    model = build()
    state = model(batch(), {}).state
    with pytest.raises(ValueError, match="10 tokens; allowed: at most sequence_length = 9"):
        model(batch(last=1), {}, state)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("code", "positions"), KINDS)
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(code: str, positions: str, training: bool) -> None:
    sizes = {"code": code, "positions": positions, "dropout": 0.2}
    pack, alone = build(3, **sizes).train(training), build(1, **sizes).train(training)
    with torch.no_grad():
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            mine.copy_(theirs[1:2])
    together, single = pack(batch(3), {}), alone(batch(1)._replace(noise_key=torch.tensor([1])), {})
    together.logits.square().sum().backward()
    single.logits.square().sum().backward()
    assert torch.equal(together.logits[1], single.logits[0])
    for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad[0], theirs.grad[1])


def test_dropout_is_for_training_alone() -> None:
    model = build(dropout=0.5)
    assert not torch.equal(model(batch(), {}).logits, model.eval()(batch(), {}).logits)
    assert torch.equal(model(batch(), {}).logits, model(batch()._replace(noise_key=torch.arange(2) + 9), {}).logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(dtype: torch.dtype) -> None:
    model = build(positions="learned").to(dtype)
    output = model(batch(), {})
    assert output.logits.dtype == dtype
    output.logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_controls_change_nothing_as_there_is_no_memory() -> None:
    model = build()
    outputs = model.under_controls(batch(), {}, {"on": None, "off": None, "shuffled": None})
    for control, output in zip(("on", "off", "shuffled"), outputs, strict=True):
        assert torch.equal(output.logits, model(batch()._replace(control=control), {}).logits)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [17_162, 60_000])
def test_some_feedforward_width_matches_any_number_of_parameters_to_two_in_a_hundred(target: int) -> None:
    interface = copy.Config().interface()
    counts = [
        sum(p.numel() for p in causal_transformer.Model(config, 1).parameters())
        for config in (causal_transformer.Config(**interface, feedforward=units) for units in range(40, 440, 2))
    ]
    assert min(abs(count / target - 1) for count in counts) < 0.02


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"num_heads": 3}, "num_heads 3 does not divide width 32; allowed: a divisor"),
        ({"num_layers": 0}, "num_layers"),
        ({"feedforward": 0}, "feedforward"),
        ({"dropout": 1}, "dropout"),
        ({"positions": "none"}, "positions"),
        ({"mem_lamda": 0.1}, "unknown key; allowed: .*num_heads"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], problem: str) -> None:
    with pytest.raises(ParameterError, match=problem) as caught:
        checked(causal_transformer.Config, content, "file")
    assert "\n" not in str(caught.value)
