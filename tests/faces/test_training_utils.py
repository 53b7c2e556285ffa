"""The trainer does what the loop that everybody writes does, on the data that it is given, and reports mean losses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from palimpsest.faces.memory_layers import MemoryLayer
from palimpsest.faces.training_utils import MemoryTrainer
from palimpsest.foundation.errors import ParameterError


def data(examples: int = 7) -> TensorDataset:
    """Pairs of sequences; 7 examples make an uneven last batch."""
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(examples, 4, 3, generator=generator), torch.randn(examples, 4, 3, generator=generator)
    )


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(MemoryLayer(3, 2), nn.Dropout(0.5), nn.Linear(3, 3))


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_training_equals_a_plain_pytorch_loop(clip_norm: float | None) -> None:
    model = network()
    expected = copy.deepcopy(model)
    loader, held_out = DataLoader(data(), batch_size=3), DataLoader(data(5), batch_size=2)

    torch.manual_seed(2)
    trainer = MemoryTrainer(
        model, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss(), "cpu", clip_norm=clip_norm
    )
    losses = trainer.train(loader, held_out, epochs=2)

    torch.manual_seed(2)
    optimiser = torch.optim.SGD(expected.parameters(), lr=0.1)
    for epoch in range(2):
        total = 0.0
        expected.train()
        for inputs, targets in loader:
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(expected(inputs), targets)
            loss.backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(expected.parameters(), clip_norm)
            optimiser.step()
            total += loss.item() * len(inputs)
        assert losses.train[epoch] == pytest.approx(total / 7)
        expected.eval()
        with torch.no_grad():
            mean = sum(nn.functional.mse_loss(expected(x), y).item() * len(x) for x, y in held_out) / 5
        assert losses.validation[epoch] == pytest.approx(mean)
    for mine, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_later_epochs_continue_from_earlier_ones() -> None:
    losses = []
    for parts in ((2,), (1, 1)):
        model = network()
        torch.manual_seed(3)
        trainer = MemoryTrainer(model, torch.optim.Adam(model.parameters()), nn.MSELoss())
        losses.append([loss for epochs in parts for loss in trainer.train(DataLoader(data()), epochs=epochs).train])
    assert losses[0] == losses[1]


def test_without_validation_data_there_are_no_validation_losses() -> None:
    model = network()
    trainer = MemoryTrainer(model, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
    losses = trainer.train([(torch.zeros(2, 4, 3), torch.zeros(2, 4, 3))])
    assert len(losses.train) == 1
    assert losses.validation == []


def test_a_loss_that_is_no_number_is_reported_as_it_is() -> None:
    model = nn.Linear(1, 1)
    trainer = MemoryTrainer(model, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
    losses = trainer.train([(torch.full((1, 1), torch.nan), torch.zeros(1, 1))], epochs=2)
    assert all(loss != loss for loss in losses.train)


def fails(*args: Any, **options: Any) -> str:
    model = nn.Linear(3, 3)
    trainer = MemoryTrainer(model, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
    with pytest.raises(ParameterError) as caught:
        trainer.train(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_loaders_that_cannot_be_trained_on_are_refused_in_one_line() -> None:
    good: list[tuple[Tensor, Tensor]] = [(torch.zeros(2, 3), torch.zeros(2, 3))]
    assert fails([]) == "train_loader: no example; allowed: a loader that can be iterated once for each epoch"
    assert fails(good, []).startswith("val_loader: no example")
    assert fails(iter(good), epochs=2).startswith("train_loader: no example")
    assert fails([torch.zeros(2, 3)]).startswith("train_loader: a batch is a Tensor; allowed: two tensors")
    assert fails([(torch.zeros(2, 3),)]).startswith("train_loader: a batch is a tuple")
    assert fails([(torch.zeros(2, 3), 1.0)]).startswith("train_loader: a batch is a tuple")
    assert fails(good, epochs=0) == "epochs: 0; allowed: 1 or more"


@pytest.mark.parametrize("options", [{"device": "tpu9"}, {"clip_norm": 0.0}, {"clip_norm": float("nan")}])
def test_bad_settings_are_refused_in_one_line(options: dict[str, Any]) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(ParameterError, match=f"^{next(iter(options))}: .*allowed: ") as caught:
        MemoryTrainer(model, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss(), **options)
    assert "\n" not in str(caught.value)


def test_a_missing_device_is_refused() -> None:
    model = nn.Linear(1, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    if torch.cuda.is_available():
        trainer = MemoryTrainer(model, optimiser, nn.MSELoss(), "cuda")
        assert trainer.train([(torch.zeros(1, 1), torch.zeros(1, 1))]).train
    else:
        with pytest.raises(ParameterError, match="device: 'cuda' is not here; allowed: cpu"):
            MemoryTrainer(model, optimiser, nn.MSELoss(), device="cuda")
