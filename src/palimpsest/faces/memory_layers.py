"""Layers with a memory that fit into any network: as many features out as in, the input added to what is read.

Each stands wherever ``nn.Linear(features, features)`` stands, in an ``nn.Sequential``, too; (batch, time, features).
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
        cell: for inputs of ``features`` features, packs of one run.
        features: in and out.
    """

    def __init__(self, cell: Any, features: int) -> None:
        super().__init__(cell, features, features, before=nn.LayerNorm(features), residual=True)


class MemoryLayer(ResidualLayer):
    """A layer that reads a memory of any kind: y_t = x_t + W r_t + b, r_t = memory(norm(x_t)).

    The memory hears the features of a step and nothing else; in :class:`RecurrentMemoryLayer` it has a controller.

    Args:
        features: in and out.
        memory_size: slots N.
        memory_dim: features W of a slot; ``None``: as many as come in.
        memory: which, by the names of :data:`palimpsest.memory.named.MemoryName`.
        num_read_heads: H.

    Raises:
        ParameterError: a size is below one, or there is no such memory in these sizes.
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
        features: in and out.
        memory_size: slots N.
        memory_dim: features W of a slot; ``None``: as many as come in.
        hidden_size: units of the LSTM; ``None``: as many as features come in.
        memory: which, by the names of :data:`palimpsest.memory.named.MemoryName`.
        num_read_heads: H.

    Raises:
        ParameterError: a size is below one, or there is no such memory in these sizes.
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
    """A Transformer layer over segments, whose slots carry from segment to segment what attention no longer sees.

        x ← norm(x + self-attention)    x ← norm(x + attention to slots)    y = norm(x + feed-forward)
        M ← M + z ∘ (tanh(u) − M) once a segment has ended, u: attention of the slots to it

    Equations: :class:`palimpsest.memory.segments.SegmentLayer` [after Wu et al. 2020]. It is causal.

    Args:
        features: in and out.
        memory_size: slots N, each of so many features.
        num_heads: a divisor of the features.
        segment: tokens that see each other.
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
