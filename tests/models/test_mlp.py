"""The perceptron against plain PyTorch layers, where tokens are levels and where they have codes."""

from __future__ import annotations

import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch
from palimpsest.models.mlp import Config, Model
from palimpsest.tasks import permuted_pixels


def built(runs: int = 2, **changes: object) -> Model:
    """A small perceptron for images."""
    sizes = {"tokens": "levels", "largest_level": 4.0, "hidden": 5, "num_layers": 2, **changes}
    model = Model(Config(**{**permuted_pixels.Config().interface(), **sizes}), runs)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return model


def test_it_is_a_stack_of_dense_layers_over_the_pixels() -> None:
    model = built()
    inputs = torch.randint(17, (2, 3, 65), generator=torch.Generator().manual_seed(0))
    found = model(Batch(inputs, torch.zeros(2, dtype=torch.int64), {}), {}).logits
    for run in range(2):
        x = inputs[run].double() / 4
        x = (x @ model.first.weight[run].double() + model.first.bias[run].double()).relu()
        for layer in model.others:
            x = (x @ layer.weight[run].double() + layer.bias[run].double()).relu()  # type: ignore[index, operator]
        expected = x @ model.head.weight[run].double() + model.head.bias[run].double()
        torch.testing.assert_close(found[run, :, 0].double(), expected, rtol=1e-4, atol=1e-5)


def test_an_image_has_one_weight_for_each_pixel_and_cls_moves_none() -> None:
    model = built(hidden=100)
    assert sum(parameter[0].numel() for parameter in model.parameters()) == 65 * 100 + 100 + 100 * 101 + 101 * 10
    inputs = torch.zeros(2, 3, 65, dtype=torch.int64)
    model(Batch(inputs, torch.zeros(2, dtype=torch.int64), {}), {}).logits.square().sum().backward()
    assert model.first.weight.grad is not None
    assert not model.first.weight.grad[:, 64].any()


def test_the_number_of_hidden_layers_is_as_asked() -> None:
    assert [len(built(num_layers=layers).others) for layers in (1, 2, 4)] == [0, 1, 3]


@pytest.mark.parametrize(("key", "value"), [("tokens", "pixels"), ("hidden", 0), ("largest_level", 0)])
def test_a_wrong_parameter_is_refused_in_one_line(key: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"file: config.{key}") as caught:
        checked(Config, {key: value}, "file", "config")
    assert "\n" not in str(caught.value)
