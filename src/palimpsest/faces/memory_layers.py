"""Layers with a memory for any network: they keep the number of features and add the input to what they read.

Each can replace an ``nn.Linear(features, features)``, also in an ``nn.Sequential``; axes are (batch, time, features).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from palimpsest.faces.adapter import CellModule
from palimpsest.memory.controlled import ControlledMemory
from palimpsest.memory.named import MemoryName, named_memory
from palimpsest.memory.segments import SegmentMemory
from palimpsest.memory.sizes import at_least_one


class ResidualLayer(CellModule):
    """y_t = x_t + W cell(norm(x_t)) + b    [pre-norm residual: He et al. 2016; Ba, Kiros, Hinton 2016].

    Args:
        cell: a cell for inputs of ``features`` features and packs of one run.
        features: number of input features and of output features.
    """

    def __init__(self, cell: Any, features: int) -> None:
        super().__init__(cell, features, features, before=nn.LayerNorm(features), residual=True)


class MemoryLayer(ResidualLayer):
    """A layer with a memory of any kind: y_t = x_t + W r_t + b, r_t = memory(norm(x_t)).

    The features of a step are the memory's only input. In :class:`RecurrentMemoryLayer` the memory has a controller.

    Args:
        features: number of input features and of output features.
        memory_size: slots N.
        memory_dim: features W of a slot; ``None``: the number of input features.
        memory: a name from :data:`palimpsest.memory.named.MemoryName`.
        num_read_heads: H.

    Raises:
        ParameterError: a size is below one, or the memory is unknown or does not support these sizes.
    """

    def __init__(
        self,
        features: int,
        memory_size: int,
        memory_dim: int | None = None,
        *,
        memory: MemoryName = "attention",
        num_read_heads: int = 1,
    ) -> None:
        dim = features if memory_dim is None else memory_dim
        at_least_one(features=features, memory_size=memory_size, memory_dim=dim)
        super().__init__(named_memory(memory, 1, features, memory_size, dim, num_read_heads), features)


class RecurrentMemoryLayer(ResidualLayer):
    """A layer with an LSTM that controls a memory: y_t = x_t + W [h_t; r_t] + b.

        h_t = LSTM([norm(x_t); r_{t−1}])        r_t = memory(h_t)        [Graves et al. 2014, Figure 1]

    Args:
        features: number of input features and of output features.
        memory_size: slots N.
        memory_dim: features W of a slot; ``None``: the number of input features.
        hidden_size: units of the LSTM; ``None``: the number of input features.
        memory: a name from :data:`palimpsest.memory.named.MemoryName`.
        num_read_heads: H.

    Raises:
        ParameterError: a size is below one, or the memory is unknown or does not support these sizes.
    """

    def __init__(
        self,
        features: int,
        memory_size: int,
        memory_dim: int | None = None,
        *,
        hidden_size: int | None = None,
        memory: MemoryName = "attention",
        num_read_heads: int = 1,
    ) -> None:
        dim = features if memory_dim is None else memory_dim
        hidden = features if hidden_size is None else hidden_size
        at_least_one(features=features, hidden_size=hidden, memory_size=memory_size, memory_dim=dim)
        chosen = named_memory(memory, 1, hidden, memory_size, dim, num_read_heads)
        super().__init__(ControlledMemory(1, features, hidden, chosen), features)


class TransformerMemoryLayer(CellModule):
    """A Transformer layer over segments; its slots carry information to later segments, which attention does not reach.

        x ← norm(x + self-attention)    x ← norm(x + attention to slots)    y = norm(x + feed-forward)
        M ← M + z ∘ (tanh(u) − M) at the end of a segment, u: attention of the slots to the segment

    Equations: :class:`palimpsest.memory.segments.SegmentLayer` [after Wu et al. 2020]. The layer is causal.

    Args:
        features: number of input features and of output features.
        memory_size: slots N, each with ``features`` features.
        num_heads: number of attention heads, a divisor of ``features``.
        segment: number of tokens of a segment; tokens attend to their own segment only.
        feedforward: hidden units of the position-wise network; ``None``: four times the features.

    Raises:
        ParameterError: a size is below one, or ``num_heads`` does not divide ``features``.
    """

    def __init__(
        self,
        features: int,
        memory_size: int,
        *,
        num_heads: int = 1,
        segment: int = 16,
        feedforward: int | None = None,
    ) -> None:
        hidden = 4 * features if feedforward is None else feedforward
        at_least_one(features=features, memory_size=memory_size, feedforward=hidden)
        cell = SegmentMemory(1, features, memory_size, num_heads=num_heads, feedforward=hidden, segment=segment)
        super().__init__(cell, features)
