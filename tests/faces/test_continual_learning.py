"""Source 004's example of continual learning runs as it shows it; the penalty is that of its equation."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

from palimpsest.faces.continual_learning import ContinualLearningModel, ContinualLearningTrainer
from palimpsest.foundation.errors import ParameterError


def loaders(tasks: int, seed: int = 0) -> list[DataLoader[tuple[torch.Tensor, ...]]]:
    """A few sequences for each task, whose targets are multiples of the inputs."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.rand(8, 3, 4, generator=generator) for _ in range(tasks)]
    return [DataLoader(TensorDataset(x, x * (-1) ** task), batch_size=4) for task, x in enumerate(inputs)]


def test_continual_learning_with_memory() -> None:
    torch.manual_seed(0)
    train_loaders, val_loaders = loaders(5), loaders(5, 1)

    # Create continual learning model
    model = ContinualLearningModel(input_size=4, hidden_size=6, memory_size=5, memory_dim=3, num_tasks=5)

    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.MSELoss()

    trainer = ContinualLearningTrainer(model, optimizer, criterion)

    # Train on multiple tasks
    for task_id in range(5):
        task_memory = trainer.train_task(task_id, train_loaders[task_id], val_loaders[task_id], epochs=2)

        assert len(task_memory.losses.train) == len(task_memory.losses.validation) == 2
        assert task_memory.losses.train[1] < task_memory.losses.train[0]
    assert list(trainer.memories) == [0, 1, 2, 3, 4]


def trained(strength: float) -> tuple[nn.Linear, ContinualLearningTrainer, torch.Tensor, torch.Tensor]:
    """A linear map after one task, and the task's examples."""
    torch.manual_seed(0)
    x, y = torch.rand(6, 3), torch.rand(6, 1)
    model = nn.Linear(3, 1)
    trainer = ContinualLearningTrainer(
        model, torch.optim.SGD(model.parameters(), lr=0.05), nn.MSELoss(), strength=strength
    )
    trainer.train_task(0, DataLoader(TensorDataset(x, y), batch_size=4), epochs=2)
    return model, trainer, x, y


def test_importance_is_the_mean_squared_gradient_of_an_example_and_the_penalty_that_of_the_equation() -> None:
    model, trainer, x, y = trained(3.0)
    slope = 2 * (model(x) - y).detach()  # of (w x + b − y)²
    memory = trainer.memories[0]
    torch.testing.assert_close(memory.importance["weight"], (slope * x).square().mean(0, keepdim=True))
    torch.testing.assert_close(memory.importance["bias"], slope.square().mean(0))
    assert trainer.penalty().item() == 0
    with torch.no_grad():
        model.weight += 0.5
    expected = 3.0 * 0.25 * memory.importance["weight"].sum()
    torch.testing.assert_close(trainer.penalty().detach(), expected)


def test_a_stronger_penalty_stays_nearer_to_the_earlier_task() -> None:
    distances = []
    for strength in (0.0, 10.0):
        model, trainer, x, y = trained(strength)
        before = model.weight.detach().clone()
        trainer.train_task(1, DataLoader(TensorDataset(x, -y), batch_size=3), epochs=20)
        distances.append(float((model.weight - before).detach().norm()))
    assert distances[1] < distances[0] / 2


def test_every_task_has_its_own_output_layer() -> None:
    model = ContinualLearningModel(4, 6, 5, 3, 2)
    x = torch.rand(2, 3, 4)
    assert not torch.equal(model(x, 0), model(x, 1))
    model.task = 1
    assert torch.equal(model(x), model(x, 1))


def test_wrong_arguments_are_refused_in_one_line() -> None:
    with pytest.raises(ParameterError, match="num_tasks: 0"):
        ContinualLearningModel(4, 6, 5, 3, 0)
    model = ContinualLearningModel(4, 6, 5, 3, 2)
    with pytest.raises(ParameterError, match="task_id: 2; allowed: 0 to 1"):
        model(torch.rand(1, 2, 4), 2)
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(ParameterError, match="strength: -1.0; allowed: 0 or more"):
        ContinualLearningTrainer(model, optimizer, nn.MSELoss(), strength=-1.0)
    with pytest.raises(ParameterError, match="task_id: 5; allowed: 0 to 1"):
        ContinualLearningTrainer(model, optimizer, nn.MSELoss()).train_task(5, loaders(1)[0])
