"""Mixed precision: what is rounded, where, and that nothing of it stays."""

from __future__ import annotations

import pytest
import torch

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product, rounding

CPU = torch.device("cpu")


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 7, generator=generator), torch.randn(3, 7, 4, generator=generator)


def test_factors_are_rounded_to_bfloat16_and_the_product_is_float32() -> None:
    a, b = drawn()
    with rounding("bfloat16", CPU):
        rounded = product(a, b)
    assert rounded.dtype == torch.float32
    exact = a.bfloat16().double() @ b.bfloat16().double()
    torch.testing.assert_close(rounded.double(), exact, rtol=2**-8, atol=2**-7)
    assert not torch.equal(rounded, product(a, b))


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_a_cpu_rounds_to_nothing_else(precision: str) -> None:
    a, b = drawn()
    with rounding(precision, CPU):
        assert torch.equal(product(a, b), torch.bmm(a, b))


def test_gradients_use_the_same_rounding_and_it_ends_with_the_block() -> None:
    layer = Linear(1, 7, 4)
    reset_parameters(layer, [torch.Generator().manual_seed(1)])
    x = drawn()[0][:1]
    gradients = []
    for precision in ("float32", "bfloat16", "float32"):
        layer.weight.grad = None
        with rounding(precision, CPU):
            layer(x).square().sum().backward()
        assert layer.weight.grad is not None
        gradients.append(layer.weight.grad)
    assert torch.equal(gradients[0], gradients[2])
    assert not torch.equal(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.05, atol=0.3)


def test_an_error_inside_leaves_no_rounding_behind() -> None:
    a, b = drawn()
    with pytest.raises(RuntimeError, match="stop"), rounding("bfloat16", CPU):
        raise RuntimeError("stop")
    assert torch.equal(product(a, b), torch.bmm(a, b))
