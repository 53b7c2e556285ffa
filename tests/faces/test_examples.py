"""The usage examples of source 004 run as it shows them, in small sizes and on a CPU; so does that of the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn
from matplotlib.figure import Figure
from torch.utils.data import DataLoader, TensorDataset

from palimpsest.faces.memory_networks import NeuralTuringMachine
from tests.faces.faces import FACES

PAGE = (Path(__file__).parents[2] / "docs" / "memories.md").read_text(encoding="utf-8")


def test_basic_memory_augmented_network() -> None:
    from palimpsest.faces.training_utils import MemoryTrainer

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

    from palimpsest.faces.memory_utils import MemoryVisualizer

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
    from palimpsest.faces.memory_utils import MemoryAnalyzer

    analyzer = MemoryAnalyzer()

    efficiency = analyzer.compute_memory_efficiency(memory_usage)
    stability = analyzer.compute_memory_stability(memory_content)
    accuracy = analyzer.compute_retrieval_accuracy(queries, memories, targets)

    assert 0 <= efficiency <= 1
    assert 0 <= stability <= 1
    assert accuracy == pytest.approx(1.0)


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    known: dict[str, object] = {}
    exec(blocks[0], known)
    outputs = known["outputs"]
    assert isinstance(outputs, torch.Tensor)
    assert outputs.shape == (16, 5, 10)
    assert (tmp_path / "state.safetensors").is_file()


def test_the_example_of_emt_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], {})
    assert (tmp_path / "state.safetensors").is_file()
    assert sorted(file.name for file in (tmp_path / "memory").iterdir()) == ["memory.json", "memory.safetensors"]


@pytest.mark.parametrize("name", sorted({name.split(",")[0] for name in FACES}))
def test_the_page_gives_meaning_and_file_of_every_name(name: str) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}`")]
    assert len(rows) == 1
    files = re.findall(r"`((?:memory|models/shared)/\w+\.py)`", rows[0])
    assert files or "TransformerMemoryLayer" in rows[0]
    assert all((Path(__file__).parents[2] / "src" / "palimpsest" / file).is_file() for file in files)
