"""Layers against PyTorch's own, run by run, and with the same bits in packs of any size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from palimpsest.layers.activation import exponential, logarithm, sigmoid
from palimpsest.layers.attention import SelfAttention
from palimpsest.layers.embedding import Embedding
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.linear import Linear
from palimpsest.layers.norm import LayerNorm
from palimpsest.layers.product import product
from palimpsest.layers.transformer import EncoderConfig, EncoderLayer, TokenEncoder, causal_window


def generators(runs: int) -> list[torch.Generator]:
    """One for each run."""
    return [torch.Generator().manual_seed(seed) for seed in range(runs)]


def drawn(module: nn.Module, runs: int) -> nn.Module:
    """The module with its weights drawn."""
    reset_parameters(module, generators(runs))
    return module


@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_linear_equals_pytorchs_for_every_run_and_keeps_its_bits(
    runs: int, rows: int, d_in: int, d_out: int, seed: int
) -> None:
    layer = drawn(Linear(runs, d_in, d_out), runs)
    x = torch.randn(runs, rows, d_in, generator=torch.Generator().manual_seed(seed))
    y = layer(x)
    alone = Linear(1, d_in, d_out)
    for run in range(runs):
        expected = nn.functional.linear(x[run], layer.weight[run].T, layer.bias[run])
        torch.testing.assert_close(y[run], expected, rtol=1e-5, atol=1e-6)
        alone.weight.data, alone.bias.data = layer.weight[run : run + 1].data, layer.bias[run : run + 1].data
        assert torch.equal(alone(x[run : run + 1])[0], y[run])


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_product_has_the_same_bits_alone(runs: int, m: int, k: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(runs, m, k, generator=generator), torch.randn(runs, k, n, generator=generator)
    torch.testing.assert_close(product(a, b), a @ b)
    for run in range(runs):
        assert torch.equal(product(a[run : run + 1], b[run : run + 1])[0], product(a, b)[run])


@given(st.integers(1, 5), st.integers(1, 200), st.integers(0, 99))
def test_sigmoid_has_the_same_bits_alone(runs: int, count: int, seed: int) -> None:
    x = 4 * torch.randn(runs, count, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(sigmoid(x), torch.sigmoid(x))
    for run in range(runs):
        assert torch.equal(sigmoid(x[run : run + 1])[0], sigmoid(x)[run])


@given(st.integers(1, 5), st.integers(1, 200), st.integers(0, 99))
def test_exponential_and_logarithm_have_the_same_bits_alone(runs: int, count: int, seed: int) -> None:
    x = 4 * torch.randn(runs, count, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(exponential(x), torch.exp(x))
    positive = x.abs() + 1e-6
    torch.testing.assert_close(logarithm(positive), torch.log(positive))
    for run in range(runs):
        assert torch.equal(exponential(x[run : run + 1])[0], exponential(x)[run])
        assert torch.equal(logarithm(positive[run : run + 1])[0], logarithm(positive)[run])


@pytest.mark.parametrize("shape", [(2, 1), (2, 3, 5), (1, 64), (3, 65)])
def test_activations_keep_shape_and_gradient_though_they_pad(shape: tuple[int, ...]) -> None:
    x = (torch.rand(shape, dtype=torch.float64, generator=generators(1)[0]) + 0.5).requires_grad_()
    for function in (sigmoid, exponential, logarithm):
        assert function(x).shape == shape
        assert torch.autograd.gradcheck(function, (x,))


@pytest.mark.parametrize("relu", [False, True])
def test_the_gradient_of_linear_agrees_with_finite_differences(relu: bool) -> None:
    layer = drawn(Linear(2, 3, 4), 2).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64, generator=generators(1)[0], requires_grad=True)

    def mapped(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,), {"relu": relu})

    assert torch.autograd.gradcheck(mapped, (x, layer.weight, layer.bias))


def test_some_outputs_of_linear_are_those_of_all() -> None:
    layer, x = drawn(Linear(2, 3, 7), 2), torch.randn(2, 5, 3, generator=generators(1)[0])
    torch.testing.assert_close(layer(x, outputs=slice(4, None)), layer(x)[..., 4:])
    assert torch.equal(layer(x, relu=True), layer(x).clamp_min(0))


def test_embedding_looks_up_each_runs_own_table() -> None:
    layer = drawn(Embedding(3, 7, 4), 3)
    index = torch.tensor([[0, 6], [3, 3], [6, 1]])
    assert torch.equal(layer(index), torch.stack([layer.weight[run][index[run]] for run in range(3)]))


def test_layer_norm_equals_pytorchs_for_every_run() -> None:
    layer, x = drawn(LayerNorm(2, 6), 2), torch.randn(2, 5, 6, generator=generators(1)[0])
    layer.weight.data.uniform_(generator=generators(1)[0])
    for run in range(2):
        expected = nn.functional.layer_norm(x[run], (6,), layer.weight[run], layer.bias[run])
        torch.testing.assert_close(layer(x)[run], expected)


def test_layer_norm_of_a_sum_and_its_gradient() -> None:
    layer = drawn(LayerNorm(2, 6), 2).double()
    x, other = (torch.randn(2, 5, 6, dtype=torch.float64, generator=one).requires_grad_() for one in generators(2))
    torch.testing.assert_close(layer(x, other), layer(x + other))

    def normalised(x: torch.Tensor, other: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x, other))

    assert torch.autograd.gradcheck(normalised, (x, other, layer.weight, layer.bias))


def pytorch_layer(layer: EncoderLayer, run: int, config: EncoderConfig) -> nn.TransformerEncoderLayer:
    """PyTorch's encoder layer with the weights of one run."""
    other = nn.TransformerEncoderLayer(config.width, config.num_heads, config.feedforward, 0.0, batch_first=True)
    pairs = [
        (other.self_attn.in_proj_weight, layer.attention.project_in.weight[run].T),
        (other.self_attn.in_proj_bias, layer.attention.project_in.bias[run]),
        (other.self_attn.out_proj.weight, layer.attention.project_out.weight[run].T),
        (other.self_attn.out_proj.bias, layer.attention.project_out.bias[run]),
        (other.linear1.weight, layer.expand.weight[run].T),
        (other.linear1.bias, layer.expand.bias[run]),
        (other.linear2.weight, layer.contract.weight[run].T),
        (other.linear2.bias, layer.contract.bias[run]),
    ]
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)
    return other


@pytest.mark.parametrize("window", [None, 2])
def test_encoder_layer_equals_pytorchs(window: int | None) -> None:
    config = EncoderConfig(width=8, num_heads=2, feedforward=12, dropout=0.0, sequence_length=5)
    layer = drawn(EncoderLayer(2, config, 0), 2)
    x = torch.randn(2, 3, 5, 8, generator=generators(1)[0])
    mask = None if window is None else causal_window(5, window)
    for run in range(2):
        expected = pytorch_layer(layer, run, config)(x[run], src_mask=None if mask is None else ~mask)
        torch.testing.assert_close(layer(x, mask, None)[run], expected, rtol=1e-5, atol=1e-5)


def test_a_token_alone_in_its_segment_attends_to_itself() -> None:
    attention = drawn(SelfAttention(2, 8, 2, 0.0, 0), 2)
    x = torch.randn(2, 3, 2, 8, generator=generators(1)[0])
    only_itself = attention(x, causal_window(2, 1))
    alone = attention(x.reshape(2, 6, 1, 8)).view(2, 3, 2, 8)
    torch.testing.assert_close(only_itself, alone)


def test_a_segment_does_not_see_another() -> None:
    config = EncoderConfig(width=8, num_heads=2, feedforward=8, dropout=0.0, sequence_length=8)
    encoder = drawn(TokenEncoder(1, config), 1)
    tokens = torch.arange(8).view(1, 1, 8) % 10
    other = tokens.clone()
    other[..., :4] = 9
    first, second = encoder(tokens, segment=4), encoder(other, segment=4)
    assert torch.equal(first[..., 4:, :], second[..., 4:, :])
    assert not torch.equal(first[..., :4, :], second[..., :4, :])


def test_a_module_that_cannot_draw_its_parameters_is_refused() -> None:
    with pytest.raises(TypeError, match="has parameters but no reset_parameters"):
        reset_parameters(nn.Sequential(Nameless()), generators(1))


class Nameless(nn.Module):
    """Owns a parameter and has no rule to initialise it."""

    def __init__(self) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))


def test_a_head_count_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValueError, match="num_heads 3 does not divide width 8"):
        SelfAttention(1, 8, 3, 0.0, 0)
    with pytest.raises(ValueError, match="num_heads 3 does not divide width 8; allowed: a divisor"):
        EncoderConfig(width=8, num_heads=3)
