"""The usage examples of source 004 run as it shows them, in small sizes and on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn
from matplotlib.figure import Figure
from torch.utils.data import DataLoader, TensorDataset

from palimpsest.architectures.memory_networks import NeuralTuringMachine


def test_basic_memory_augmented_network() -> None:
    from palimpsest.architectures.training_utils import MemoryTrainer

    torch.manual_seed(0)
    data = TensorDataset(torch.rand(8, 5, 4), torch.rand(8, 5, 4))
    train_loader, val_loader = DataLoader(data, batch_size=4), DataLoader(data, batch_size=8)

    # Create a Neural Turing Machine
    input_size = 4
    hidden_size = 6
    memory_size = 8
    memory_dim = 3

    model = NeuralTuringMachine(input_size, hidden_size, memory_size, memory_dim)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.MSELoss()

    # Initialize trainer
    trainer = MemoryTrainer(model, optimizer, criterion, device="cpu")

    # Train on your data
    # train_loader and val_loader should be PyTorch DataLoader objects
    losses = trainer.train(train_loader, val_loader, epochs=3)

    assert len(losses.train) == len(losses.validation) == 3
    assert losses.validation[2] < losses.validation[0]


def test_memory_visualization_and_analysis(tmp_path: Path) -> None:
    torch.manual_seed(0)
    record = NeuralTuringMachine(4, 6, 8, 3).record(torch.rand(1, 5, 4))
    assert record.read_weights is not None
    assert record.write_weights is not None
    assert record.slots is not None
    memory_usage_history = record.write_weights[0].sum(1)
    attention_weights = record.read_weights[0]
    memory_usage = memory_usage_history
    memory_content = record.slots
    memories = np.eye(3)
    queries, targets = memories[[2, 0]], [2, 0]

    from palimpsest.architectures.memory_utils import MemoryVisualizer

    # Create visualizer
    visualizer = MemoryVisualizer()

    # Visualize memory usage during training
    fig = visualizer.plot_memory_usage(memory_usage_history, "Memory Usage Over Time")
    assert isinstance(fig, Figure)
    assert fig.get_suptitle() == "Memory Usage Over Time"

    # Visualize attention patterns
    fig = visualizer.plot_attention_patterns(attention_weights, "Memory Attention Patterns")
    assert fig.get_suptitle() == "Memory Attention Patterns"
    assert all(path.stat().st_size for path in visualizer.save(fig, tmp_path / "attention"))

    # Analyze memory dynamics
    from palimpsest.architectures.memory_utils import MemoryAnalyzer

    analyzer = MemoryAnalyzer()

    efficiency = analyzer.compute_memory_efficiency(memory_usage)
    stability = analyzer.compute_memory_stability(memory_content)
    accuracy = analyzer.compute_retrieval_accuracy(queries, memories, targets)

    assert 0 <= efficiency <= 1
    assert 0 <= stability <= 1
    assert accuracy == pytest.approx(1.0)
