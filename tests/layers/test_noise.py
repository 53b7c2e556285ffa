"""Counter-based noise: uniform, independent across keys, streams and positions, and the same in every company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from palimpsest.layers.noise import dropout, keep_mask, open_stream, random_bits, uniform

KEYS = torch.tensor([(seed << 32) | step for seed in range(4) for step in range(4)])


def naive_bits(key: int, stream: int, count: int) -> list[int]:
    """The same hash with Python's integers, reduced to 32 bits after every operation."""

    def signed(value: int) -> int:
        value &= 0xFFFFFFFF
        return value - (1 << 32) if value >= 1 << 31 else value

    def fold(x: int, bits: int) -> int:
        return signed(x ^ ((x & 0xFFFFFFFF) >> bits))

    def mix(x: int) -> int:
        x = signed(fold(x, 16) * signed(0x85EBCA6B))
        x = signed(fold(x, 13) * signed(0xC2B2AE35))
        return fold(x, 16)

    golden = 0x9E3779B1
    low = mix(signed(signed(key) + signed(golden * (2 * stream + 1))))
    high = mix(signed(signed(key >> 32) + low))
    position = [mix(signed(i * signed(golden))) for i in range(count)]
    return [signed(fold(signed((p + low) * (high | 1)), 16) * 0x85EBCA6B) for p in position]


@given(st.integers(0, 2**62), st.integers(0, 2**20))
def test_bits_equal_the_hash_written_with_python_integers(key: int, stream: int) -> None:
    assert random_bits(open_stream(torch.tensor([key]), stream), (5,))[0].tolist() == naive_bits(key, stream, 5)


def test_uniform_passes_a_kolmogorov_smirnov_test_for_every_key() -> None:
    draws = uniform(KEYS, 3, (20_000,)).double().numpy()
    assert draws.min() >= 0
    assert draws.max() < 1
    assert min(stats.kstest(row, "uniform").pvalue for row in draws) > 1e-4


def test_every_bit_is_set_half_of_the_time() -> None:
    bits = random_bits(open_stream(KEYS, 0), (20_000,)).numpy().view(np.uint32).ravel()
    share = np.array([((bits >> np.uint32(place)) & np.uint32(1)).mean() for place in range(32)])
    assert np.abs(share - 0.5).max() < 5 * 0.5 / np.sqrt(len(bits))


@pytest.mark.parametrize("stream", [0, 1, 2, 7])
@pytest.mark.parametrize("axis", ["keys", "streams", "positions"])
def test_draws_are_uncorrelated(axis: str, stream: int) -> None:
    if axis == "keys":
        rows = uniform(KEYS, stream, (20_000,))
    elif axis == "streams":
        rows = torch.stack([uniform(KEYS[:1], stream + other, (20_000,))[0] for other in range(12)])
    else:
        long = uniform(KEYS[:1], stream, (20_200,))[0]
        rows = torch.stack([long[lag : lag + 20_000] for lag in (0, 1, 2, 32, 64, 128)])
    off_diagonal = torch.corrcoef(rows.double()) - torch.eye(len(rows), dtype=torch.float64)
    assert off_diagonal.abs().max() < 5 / np.sqrt(20_000)


@pytest.mark.parametrize("stream", [0, 5])
def test_dropping_is_independent_between_steps_runs_and_neighbours(stream: int) -> None:
    keys = torch.tensor([(seed << 32) | step for seed in (0, 1, 7) for step in range(40)])
    dropped = 1 - keep_mask(open_stream(keys, stream), (40_000,), 0.1).double()
    rows = torch.cat([dropped, dropped[:40].roll(1, 1), dropped[:40].roll(2, 1), dropped[:40].roll(64, 1)])
    off_diagonal = torch.corrcoef(rows) - torch.eye(len(rows), dtype=torch.float64)
    assert off_diagonal.abs().max() < 6 / np.sqrt(40_000)  # of 28 000 pairs none is six standard errors away


@given(st.integers(0, 500), st.integers(1, 300))
def test_a_piece_of_an_array_has_the_bits_of_the_whole(first: int, count: int) -> None:
    stream = open_stream(KEYS[:2], 3)
    whole = random_bits(stream, (801,))
    assert torch.equal(random_bits(stream, (count,), first), whole[:, first : first + count])
    even = 2 * first
    mask = keep_mask(stream, (1602,), 0.3)
    assert torch.equal(keep_mask(stream, (count,), 0.3, even), mask[:, even : even + count])


def test_a_runs_noise_does_not_depend_on_its_pack() -> None:
    pack = uniform(KEYS, 1, (3, 5))
    assert all(torch.equal(uniform(KEYS[i : i + 1], 1, (3, 5))[0], pack[i]) for i in range(len(KEYS)))


@given(st.floats(0.01, 0.9))
def test_dropout_keeps_the_mean_and_drops_at_its_rate(rate: float) -> None:
    x = torch.ones(1, 40_001)
    y = dropout(x, rate, KEYS[5:6], 2)
    error = 5 * (rate * (1 - rate) / x.numel()) ** 0.5
    assert abs((y == 0).double().mean().item() - rate) < error + 2**-16
    assert abs(y.double().mean().item() - 1) < (error + 2**-16) / (1 - rate)


def test_dropout_is_off_without_a_key() -> None:
    x = torch.randn(1, 10, generator=torch.Generator().manual_seed(0))
    assert dropout(x, 0.5, None, 0) is x
