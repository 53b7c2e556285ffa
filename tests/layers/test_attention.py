"""Attention against a NumPy loop over heads, its gradient against finite differences, and blocks that do not show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.layers import attention
from palimpsest.layers.attention import attend
from palimpsest.layers.noise import keep_mask, keep_scale, open_stream
from palimpsest.layers.transformer import causal_window

KEY = torch.tensor([(seed << 32) | 7 for seed in range(3)])


def drawn(runs: int, batch: int, time: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Q, K and V side by side."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(runs, batch, time, 3 * width, generator=generator, dtype=dtype)


def naive(projected: np.ndarray, heads: int, mask: np.ndarray | None, drop: np.ndarray | None) -> np.ndarray:
    """One run, sequence and head after the other; ``drop``: what weights are multiplied with, (R, B, H, T, T)."""
    runs, batch, time, three = projected.shape
    size = three // 3 // heads
    out = np.zeros((runs, batch, time, three // 3))
    for run, example, head in np.ndindex(runs, batch, heads):
        part = projected[run, example].reshape(time, 3, heads, size)[:, :, head]
        scores = part[:, 0] @ part[:, 1].T / np.sqrt(size)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        if drop is not None:
            weights = weights * drop[run, example, head]
        out[run, example, :, head * size : (head + 1) * size] = weights @ part[:, 2]
    return out


@pytest.mark.parametrize("rate", [0.0, 0.25])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("time", [1, 5, 8])
def test_attention_equals_a_loop_over_heads(rate: float, window: int | None, time: int) -> None:
    projected = drawn(3, 4, time, 6)
    mask = None if window is None else causal_window(time, window)
    drop = keep_mask(open_stream(KEY, 2), (4, 2, time, time), rate).numpy() * keep_scale(rate) if rate else None
    expected = naive(projected.double().numpy(), 2, None if mask is None else mask.numpy(), drop)
    mixed = attend(projected, 2, mask, rate, KEY, 2)
    np.testing.assert_allclose(mixed.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_the_gradient_of_attention_agrees_with_finite_differences(rate: float) -> None:
    projected = drawn(2, 3, 4, 4, torch.float64).requires_grad_()
    mask = causal_window(4, 2)
    assert torch.autograd.gradcheck(lambda x: attend(x, 2, mask, rate, KEY[:2], 1), (projected,))


@pytest.mark.parametrize("rate", [0.0, 0.25])
@pytest.mark.parametrize("scores", [1, 2 * 5 * 5 * 2, 4 * 2 * 5 * 5, 2 * 4 * 2 * 5 * 5])
def test_the_result_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch, scores: int, rate: float) -> None:
    projected = drawn(3, 4, 5, 6).requires_grad_()
    results = []
    for limit in (1 << 30, scores):
        monkeypatch.setattr(attention, "CACHED_SCORES", limit)
        projected.grad = None
        mixed = attend(projected, 2, None, rate, KEY, 3)
        mixed.square().sum().backward()
        results.append((mixed.detach(), projected.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_dropout_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dropout_rate 0\.5 without a noise_key"):
        attend(drawn(1, 2, 3, 4), 2, dropout_rate=0.5)
