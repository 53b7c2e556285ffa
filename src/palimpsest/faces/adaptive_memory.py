"""Layers for any network, each with a memory that learns what it keeps."""

from __future__ import annotations

from palimpsest.faces.memory_layers import ResidualLayer
from palimpsest.memory import adaptive, dynamic, gated
from palimpsest.memory.sizes import at_least_one


class AdaptiveMemory(ResidualLayer):
    """A layer whose slots learn their retention; content that is new to the memory is written faster.

        M_t(i) = ρ_i (1 − η_t w_t(i)) M_{t−1}(i) + η_t w_t(i) v_t    η_t = σ(a_t + κ novelty)    y_t = x_t + W r_t + b

    Equations: :class:`palimpsest.memory.adaptive.AdaptiveMemory`.

    Args:
        features: number of input features and of output features.
        memory_size: slots N.
        memory_dim: features W of a slot; ``None``: the number of input features.
        num_read_heads: H.
        horizon: initial time constant of the slowest slot, in steps.

    Raises:
        ParameterError: a size or ``horizon`` is below one.
    """

    def __init__(
        self,
        features: int,
        memory_size: int,
        memory_dim: int | None = None,
        *,
        num_read_heads: int = 1,
        horizon: float = 1000.0,
    ) -> None:
        dim = features if memory_dim is None else memory_dim
        at_least_one(features=features, memory_size=memory_size, memory_dim=dim)
        super().__init__(
            adaptive.AdaptiveMemory(1, features, memory_size, dim, num_read_heads, horizon=horizon), features
        )


class GatedMemory(ResidualLayer):
    """A layer whose slots each have a gate that keeps the content or takes the new one.

        M_t(i) = (1 − z_t(i)) M_{t−1}(i) + z_t(i) tanh(v_t)        y_t = x_t + W r_t + b

    Equations: :class:`palimpsest.memory.gated.GatedMemory`.

    Args:
        features: number of input features and of output features.
        memory_size: slots N.
        memory_dim: features W of a slot; ``None``: the number of input features.
        num_read_heads: H.
        gate_bias: initial bias of all gates; a negative bias makes slots keep their content.

    Raises:
        ParameterError: a size is below one.
    """

    def __init__(
        self,
        features: int,
        memory_size: int,
        memory_dim: int | None = None,
        *,
        num_read_heads: int = 1,
        gate_bias: float = -1.0,
    ) -> None:
        dim = features if memory_dim is None else memory_dim
        at_least_one(features=features, memory_size=memory_size, memory_dim=dim)
        super().__init__(
            gated.GatedMemory(1, features, memory_size, dim, num_read_heads, gate_bias=gate_bias), features
        )


class DynamicMemoryLayer(ResidualLayer):
    """A layer whose slots are allocated, freed and emptied: :class:`DynamicMemory` between norm and residual sum.

    ``MemoryLayer(memory="dynamic")`` is the same without the parameters ``threshold`` and ``compaction``. Equations:
    :class:`palimpsest.memory.dynamic.DynamicMemory`.

    Args:
        features: number of input features and of output features.
        memory_size: slots N.
        memory_dim: features W of a slot; ``None``: the number of input features.
        num_read_heads: H.
        threshold: usage in [0, 1] below which a slot is emptied.
        compaction: whether slots in use are moved to the front after every step.

    Raises:
        ParameterError: a size is below one, or ``threshold`` is outside [0, 1].
    """

    def __init__(
        self,
        features: int,
        memory_size: int,
        memory_dim: int | None = None,
        *,
        num_read_heads: int = 1,
        threshold: float = 0.01,
        compaction: bool = False,
    ) -> None:
        dim = features if memory_dim is None else memory_dim
        at_least_one(features=features, memory_size=memory_size, memory_dim=dim)
        cell = dynamic.DynamicMemory(
            1, features, memory_size, dim, num_read_heads, threshold=threshold, compaction=compaction
        )
        super().__init__(cell, features)
