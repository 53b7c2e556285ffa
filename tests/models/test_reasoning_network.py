"""The reasoning network: the same as its cell step by step; what it may read; gradients; sizes."""

from __future__ import annotations

import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.control import CONTROLS, Control
from palimpsest.models import Batch, reasoning_network
from palimpsest.tasks import entailment, mqar

TASK = mqar.Config(vocabulary=10, train_settings=((12, 2),), test_settings=((12, 2),), num_train=8, num_test=2)
ENTAILMENT = entailment.Config(test_operators=(2,), num_train=12, num_validation=4, num_test=4)


def build(task: mqar.Config | entailment.Config = TASK, slots: int = 16) -> reasoning_network.Model:
    """A small model of two runs."""
    sizes = {"width": 6, "hidden": 7, "num_slots": slots, "slot_dim": 4, "num_read_heads": 2, "num_reads": 2}
    model = reasoning_network.Model(reasoning_network.Config(**{**task.interface(), **sizes}), 2)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(2)])
    return model


def batch(inputs: torch.Tensor, control: Control = "on") -> Batch:
    """The same sequences for both runs."""
    return Batch(inputs.expand(2, -1, -1), torch.arange(2), {}, control)


@pytest.mark.parametrize("slots", [1, 3, 16])
@pytest.mark.parametrize("control", [control for control in CONTROLS if control != "random_writes"])
def test_it_is_its_cell_step_by_step(slots: int, control: Control) -> None:
    model, given = build(slots=slots).double(), batch(TASK.build(0).train.inputs[:3], control)
    state, outputs = model.cell.initial_state(3), []
    for x in model.input(given.inputs).unbind(2):
        y, state = model.cell.step(x, state, control)
        outputs.append(y)
    torch.testing.assert_close(model(given, {}).logits, model.head(torch.stack(outputs, 2)))


def test_every_parameter_has_a_gradient_from_one_question() -> None:
    model, given = build(ENTAILMENT), batch(ENTAILMENT.build(0).train.inputs)
    logits = model(given, {}).logits
    assert logits.shape == (2, 12, 1, 2)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).flatten(1).any(1).all(), name


def test_heads_that_do_not_divide_a_slot_are_refused_in_one_line() -> None:
    with pytest.raises(ParameterError, match="num_read_heads 3 does not divide slot_dim 4; allowed: a divisor"):
        checked(reasoning_network.Config, {"slot_dim": 4, "num_read_heads": 3}, "file")
