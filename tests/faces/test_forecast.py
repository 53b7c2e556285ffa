"""The source's temporal experiment, and why its error alone says nothing: the last value is the target, nearly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from palimpsest.faces.forecast import beside_naive, naive_r_squared, r_squared, real_valued_sequences
from palimpsest.faces.reasoning_models import TemporalMemoryModel
from palimpsest.faces.training_utils import MemoryTrainer
from palimpsest.foundation.errors import ParameterError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_target_is_the_last_vector_and_a_tenth_of_the_first_and_thirds_grow() -> None:
    x, target = real_valued_sequences(4000, 18, 2, generator())
    torch.testing.assert_close(target, x[:, -1] + x[:, 0] / 10)
    for third, spread in enumerate((0.1, 0.2, 0.3)):
        assert x[:, 6 * third : 6 * third + 6].std().item() == pytest.approx(spread, rel=0.02)
    again, _ = real_valued_sequences(4000, 18, 2, generator())
    assert torch.equal(x, again)


def test_repeating_the_last_vector_explains_all_but_a_thousandth() -> None:
    x, target = real_valued_sequences(20000, 18, 4, generator(1))
    assert naive_r_squared() == pytest.approx(0.99889, abs=1e-5)
    assert r_squared(x[:, -1], target) == pytest.approx(naive_r_squared(), abs=2e-5)


@given(st.integers(0, 1000), st.integers(2, 20), st.integers(1, 4))
def test_r_squared_is_that_of_scikit_learn(seed: int, examples: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    target, forecast = rng.normal(size=(2, examples, features))
    expected = r2_score(target, forecast, multioutput="variance_weighted")
    assert r_squared(torch.from_numpy(forecast), torch.from_numpy(target)) == pytest.approx(expected, abs=1e-9)


def test_skill_is_the_share_of_the_naive_error_that_a_model_removes() -> None:
    x, target = real_valued_sequences(500, 3, 2, generator())
    assert beside_naive(target, x, target).skill == 1
    assert beside_naive(x[:, -1], x, target).skill == pytest.approx(0)
    halved = beside_naive(x[:, -1] + x[:, 0] / 20, x, target)
    assert halved.skill == pytest.approx(0.75)  # half the error has a quarter of its square
    assert halved.naive < halved.model < 1
    assert beside_naive(torch.zeros_like(target), x, target).skill < -100


def test_the_temporal_experiment_of_the_source_runs_and_is_worse_than_no_model() -> None:
    """In the source's sizes but for the memory, with fewer epochs: the error falls, and yet is above the naive one."""
    torch.manual_seed(0)
    sequence_length, feature_size = 18, 16  # the source drops two of its twenty steps
    train_x, train_targets = real_valued_sequences(500, sequence_length, feature_size, generator(1))
    val_x, val_targets = real_valued_sequences(100, sequence_length, feature_size, generator(2))
    train_loader = DataLoader(TensorDataset(train_x, train_targets), batch_size=16, shuffle=True)
    val_loader = DataLoader(TensorDataset(val_x, val_targets), batch_size=16)

    input_size = feature_size
    hidden_size = 64
    memory_size = 16
    memory_dim = 32

    model = TemporalMemoryModel(input_size, hidden_size, memory_size, memory_dim)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.MSELoss()

    trainer = MemoryTrainer(model, optimizer, lambda outputs, targets: criterion(outputs[:, -1], targets))
    losses = trainer.train(train_loader, val_loader, epochs=8)

    assert losses.validation[-1] < 0.5 * losses.validation[0]
    with torch.no_grad():
        found = beside_naive(model(val_x)[:, -1], val_x, val_targets)
    assert 0.5 < found.model < found.naive
    assert found.naive > 0.998
    assert found.skill < 0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 3, 1), "examples: 0 is too small; allowed: 1 or more"),
        ((1, 0, 1), "time: 0 is too small"),
        ((1, 3, 0), "features: 0 is too small"),
        ((1, 20, 1), "time: 20; allowed: a multiple of 3"),
    ],
)
def test_sizes_that_make_no_sequence_are_refused_in_one_line(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{message}") as caught:
        real_valued_sequences(*sizes, generator())
    assert "\n" not in str(caught.value)


def test_targets_without_spread_have_no_r_squared() -> None:
    with pytest.raises(ParameterError, match="^target: 1 examples; allowed: 2 or more$"):
        r_squared(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ParameterError, match="^target: all the same; allowed: targets that differ$"):
        r_squared(torch.zeros(3, 2), torch.ones(3, 2))
