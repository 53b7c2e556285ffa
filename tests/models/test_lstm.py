"""The LSTM baseline: PyTorch's own, run by run; steps, chunks and the whole; gradients; runs in packs; sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch, lstm
from palimpsest.models.shared.recurrent import RecurrentModel
from palimpsest.tasks import copy

TASK = copy.Config(bits=3, max_length=4, test_lengths=(4,), num_train=12)
INPUTS = TASK.build(0).train.inputs


def build(runs: int = 2, **sizes: Any) -> lstm.Model:
    """A small model for :data:`TASK`."""
    config = lstm.Config(**{**TASK.interface(), "hidden": 7, **sizes})
    model = lstm.Model(config, runs)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return model


def batch(runs: int = 2, first: int = 0, last: int | None = None) -> Batch:
    """Some steps of three sequences, the same for every run."""
    return Batch(INPUTS[:3, first:last].expand(runs, -1, -1), torch.arange(runs), {})


def torchs(model: lstm.Model, run: int) -> nn.LSTM:
    """PyTorch's own with one run's weights, whose gates lie in the order i, f, g, o."""
    size, count = model.config.hidden, model.config.num_layers
    own = nn.LSTM(model.cell.layers[0].d_in, size, count, batch_first=True).to(model.head.weight.dtype)

    def ordered(weight: Tensor) -> Tensor:
        i, f, o, g = weight[run].split(size, -1)
        return torch.cat([i, f, g, o], -1).movedim(-1, 0)

    with torch.no_grad():
        for index, cell in enumerate(model.cell.layers):
            getattr(own, f"weight_ih_l{index}").copy_(ordered(cell.of_input.weight))
            getattr(own, f"bias_ih_l{index}").copy_(ordered(cell.of_input.bias))
            getattr(own, f"weight_hh_l{index}").copy_(ordered(cell.recurrent))
            getattr(own, f"bias_hh_l{index}").zero_()
    return own


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_run_gives_the_outputs_of_pytorchs_lstm(num_layers: int, dtype: torch.dtype) -> None:
    model = build(num_layers=num_layers).to(dtype)
    output = model(batch(), {})
    assert output.logits.shape == (2, 3, 9, 3)
    assert output.logits.dtype == dtype
    features = model.input(batch().inputs)
    for run in range(2):
        outputs, (hidden, memory) = torchs(model, run)(features[run])
        expected = outputs @ model.head.weight[run] + model.head.bias[run]
        torch.testing.assert_close(output.logits[run], expected, rtol=1e-5, atol=1e-6)
        for index, layer in enumerate(output.state.layers):
            torch.testing.assert_close(layer.hidden[run], hidden[index], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(layer.memory[run], memory[index], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_layer_by_layer_is_step_by_step(num_layers: int, training: bool) -> None:
    model = build(num_layers=num_layers).train(training)
    found, expected = model(batch(), {}), RecurrentModel.forward(model, batch(), {})
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.state.layers[-1].memory, expected.state.layers[-1].memory)
    assert not found.trace.present()
    assert not expected.trace.present()


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(cut: int) -> None:
    model = build(num_layers=2)
    first = model(batch(last=cut), {})
    second = model(batch(first=cut), {}, first.state)
    whole = model(batch(), {})
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 2), whole.logits)
    torch.testing.assert_close(second.state, whole.state)


@pytest.mark.parametrize("code", ["bits", "learned"])
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(code: str) -> None:
    sizes = {"code": code, "num_layers": 2, "width": 5}
    pack, alone = build(3, **sizes), build(1, **sizes)
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


def test_the_first_token_reaches_the_last_step_and_every_parameter_has_a_gradient() -> None:
    model = build(num_layers=2)
    other = batch()._replace(inputs=torch.cat([7 - batch().inputs[..., :1] % 8, batch().inputs[..., 1:]], 2))
    assert not torch.equal(model(batch(), {}).logits[:, :, -1], model(other, {}).logits[:, :, -1])
    model(batch(), {}).logits[:, :, -1].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_long_sequences_leave_no_nan() -> None:
    model = build(hidden=3)
    tokens = torch.arange(1000).remainder(10).expand(2, 1, -1)
    output = model(Batch(tokens, torch.arange(2), {}), {})
    output.logits.square().mean().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_controls_change_nothing_as_there_is_no_memory() -> None:
    model = build()
    outputs = model.under_controls(batch(), {}, {"on": None, "off": None, "shuffled": None})
    for control, output in zip(("on", "off", "shuffled"), outputs, strict=True):
        assert torch.equal(output.logits, RecurrentModel.forward(model, batch()._replace(control=control), {}).logits)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [10_000, 17_162, 60_000])
def test_some_number_of_units_matches_any_number_of_parameters_to_two_in_a_hundred(target: int) -> None:
    interface = copy.Config().interface()
    counts = [
        sum(p.numel() for p in lstm.Model(lstm.Config(**interface, hidden=hidden), 1).parameters())
        for hidden in range(20, 140)
    ]
    assert min(abs(count / target - 1) for count in counts) < 0.02


@pytest.mark.parametrize("content", [{"hidden": 0}, {"num_layers": 0}, {"hiden": 3}])
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=f"file: {next(iter(content))}: ") as caught:
        checked(lstm.Config, content, "file")
    assert "\n" not in str(caught.value)
