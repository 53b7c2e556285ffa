"""Every public module in a small size, by name; sizes in which all parts of each have something to do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from palimpsest.faces.adapter import CellModule
from palimpsest.faces.adaptive_memory import AdaptiveMemory, DynamicMemoryLayer, GatedMemory
from palimpsest.faces.attention_memory import AttentionMemory, HierarchicalMemory, SparseMemory
from palimpsest.faces.memnet import MemNet, MultiHeadMemoryBank, TransformerController
from palimpsest.faces.memory_cells import AssociativeMemory, DynamicMemory, MemoryCell
from palimpsest.faces.memory_layers import MemoryLayer, RecurrentMemoryLayer, TransformerMemoryLayer
from palimpsest.faces.memory_models import MemoryEnhancedRNN, MemoryTransformer
from palimpsest.faces.memory_networks import DifferentiableNeuralComputer, MemoryAugmentedNetwork, NeuralTuringMachine
from palimpsest.faces.reasoning_models import ReasoningNetwork
from palimpsest.faces.temporal_models import TemporalMemoryModel
from palimpsest.foundation.tree import leaves

FEATURES, HIDDEN, SLOTS, DIM = 3, 6, 5, 4
VOCABULARY = 7

MEMNET = {
    "num_layers": 2,
    "num_heads": 2,
    "memory_size": SLOTS,
    "memory_dim": DIM,
    "num_memory_heads": 2,
    "bottleneck": 2,
    "window": 3,
    "chunk": 3,
}

FACES: dict[str, Callable[[], CellModule]] = {
    "MemoryCell": lambda: MemoryCell(FEATURES, SLOTS, DIM),
    "DynamicMemory": lambda: DynamicMemory(FEATURES, SLOTS, DIM, 2),
    "DynamicMemory, compacting": lambda: DynamicMemory(FEATURES, SLOTS, DIM, threshold=0.1, compaction=True),
    "AssociativeMemory": lambda: AssociativeMemory(FEATURES, SLOTS, DIM, 2),
    "NeuralTuringMachine": lambda: NeuralTuringMachine(FEATURES, HIDDEN, SLOTS, DIM, num_read_heads=2),
    "NeuralTuringMachine, all learned": lambda: NeuralTuringMachine(
        FEATURES, HIDDEN, SLOTS, DIM, controller="gru", memory="learned", weights="learned", num_write_heads=2
    ),
    "NeuralTuringMachine, feed-forward": lambda: NeuralTuringMachine(
        FEATURES, HIDDEN, SLOTS, DIM, controller="feedforward", memory="random", similarity="dot"
    ),
    "DifferentiableNeuralComputer": lambda: DifferentiableNeuralComputer(
        FEATURES, HIDDEN, SLOTS, DIM, num_read_heads=2
    ),
    "DifferentiableNeuralComputer, sparse": lambda: DifferentiableNeuralComputer(
        FEATURES, HIDDEN, SLOTS, DIM, output_size=2, sparse_links=2
    ),
    "MemoryAugmentedNetwork": lambda: MemoryAugmentedNetwork(FEATURES, HIDDEN, SLOTS, DIM, num_read_heads=2),
    "AttentionMemory": lambda: AttentionMemory(FEATURES, SLOTS, DIM, 2),
    "AttentionMemory, first free": lambda: AttentionMemory(FEATURES, SLOTS, DIM, placement="first_free"),
    "SparseMemory": lambda: SparseMemory(FEATURES, 40, DIM, 2, top_k=2),
    "SparseMemory, exact": lambda: SparseMemory(FEATURES, SLOTS, DIM, top_k=2, search="exact"),
    "HierarchicalMemory": lambda: HierarchicalMemory(FEATURES, (4, 3, 2), DIM, 2, period=2),
    "MemoryLayer": lambda: MemoryLayer(FEATURES, SLOTS),
    "MemoryLayer, associative": lambda: MemoryLayer(FEATURES, SLOTS, DIM, memory="associative", num_read_heads=2),
    "RecurrentMemoryLayer": lambda: RecurrentMemoryLayer(FEATURES, SLOTS),
    "RecurrentMemoryLayer, gated": lambda: RecurrentMemoryLayer(
        FEATURES, SLOTS, DIM, hidden_size=HIDDEN, memory="gated", num_read_heads=2
    ),
    "TransformerMemoryLayer": lambda: TransformerMemoryLayer(FEATURES, SLOTS, segment=4),
    "AdaptiveMemory": lambda: AdaptiveMemory(FEATURES, SLOTS, DIM, num_read_heads=2),
    "GatedMemory": lambda: GatedMemory(FEATURES, SLOTS),
    "DynamicMemoryLayer": lambda: DynamicMemoryLayer(FEATURES, SLOTS, compaction=True),
    "MemoryEnhancedRNN": lambda: MemoryEnhancedRNN(FEATURES, HIDDEN, SLOTS, DIM),
    "MemoryEnhancedRNN, sparse": lambda: MemoryEnhancedRNN(FEATURES, HIDDEN, SLOTS, DIM, memory="sparse"),
    "MemoryTransformer": lambda: MemoryTransformer(FEATURES, HIDDEN, SLOTS, num_heads=2, segment=4),
    "TemporalMemoryModel": lambda: TemporalMemoryModel(FEATURES, HIDDEN, SLOTS, DIM),
    "ReasoningNetwork": lambda: ReasoningNetwork(FEATURES, HIDDEN, SLOTS, DIM, num_read_heads=2),
    "MultiHeadMemoryBank": lambda: MultiHeadMemoryBank(FEATURES, SLOTS, DIM, num_heads=2, top_k=2, bottleneck=2),
    "MultiHeadMemoryBank, in chunks": lambda: MultiHeadMemoryBank(
        FEATURES, SLOTS, DIM, num_heads=2, top_k=4, bottleneck=2, weights="sigmoid", chunk=3
    ),
    "TransformerController": lambda: TransformerController(
        FEATURES, feedforward=HIDDEN, num_layers=2, num_heads=1, window=5
    ),
    "MemNet": lambda: MemNet(VOCABULARY, HIDDEN, HIDDEN, top_k=2, eviction="random", **MEMNET),
    "MemNet, by thresholds": lambda: MemNet(VOCABULARY, HIDDEN, HIDDEN, top_k=3, weights="sigmoid", **MEMNET),
}
"""Each face and each of its settings that takes other code."""
LAYERS = [
    "MemoryLayer",
    "MemoryLayer, associative",
    "RecurrentMemoryLayer",
    "RecurrentMemoryLayer, gated",
    "TransformerMemoryLayer",
    "AdaptiveMemory",
    "GatedMemory",
    "DynamicMemoryLayer",
    "TransformerController",
]
"""Those that stand wherever a layer does."""
TOKENS = [name for name in FACES if name.startswith("MemNet")]
"""Those whose inputs are tokens; the inputs of all others are features."""
WITHOUT_MEMORY = ["TransformerController"]


def made(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> CellModule:
    """A face whose parameters are drawn from a seed."""
    torch.manual_seed(seed)
    return FACES[name]().to(dtype)


def inputs(batch: int = 3, time: int = 11, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """(batch, time, features) normal numbers, drawn in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, time, FEATURES, generator=generator, dtype=torch.float64).to(dtype)


def inputs_of(name: str, batch: int = 3, time: int = 11, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """What the face takes: :func:`inputs`, or (batch, time) tokens."""
    if name not in TOKENS:
        return inputs(batch, time, seed, dtype)
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))


def changed(x: Tensor, step: int) -> Tensor:
    """The same inputs with another one at a step, of every sequence."""
    other = x.clone()
    if x.is_floating_point():
        other[:, step, 0] += 1  # one feature: a norm does not see what is added to all of them
    else:
        other[:, step] = (x[:, step] + 1) % VOCABULARY
    return other


def tensors_of(state: object, name: str = "state") -> dict[str, Tensor]:
    """All tensors of a state, by the path of fields to them."""
    return {path: leaf for path, leaf in leaves(state, name).items() if isinstance(leaf, Tensor)}
