"""Prediction of sequences with memories that reach back differently far: source 004's TemporalMemoryModel."""

from __future__ import annotations

from palimpsest.faces.adapter import CellModule
from palimpsest.memory.sizes import at_least_one
from palimpsest.memory.temporal import TemporalMemory


class TemporalMemoryModel(CellModule):
    """An encoder, and a memory of the last steps for each of K time scales.

        h_t = GRU(x_t)        r^k_t = memory_k([h_t; clock_t])        p_t = softmax(W_p h_t)
        y_t = W max(0, W_y [h_t; p_t(1) r^1_t; …; p_t(K) r^K_t]) + b

    Experiments use :mod:`palimpsest.models.temporal_memory`. Both use the same cell,
    :class:`palimpsest.memory.temporal.TemporalMemory`, which lists what differs from the source's public code. The
    public code gets the parts of a sequence in a list, one for each scale, and returns one output. Here the sequence is
    one tensor, as for every other module, and there is an output at every step.

    Args:
        input_size: number of input features.
        hidden_size: units of the encoder.
        memory_size: slots N of the scale that reaches back most; every other has half as many as the next.
        memory_dim: features W of a slot.
        num_temporal_scales: K.
        output_size: output features; ``None``: the number of input features.

    Raises:
        ParameterError: a size is below one.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        memory_dim: int,
        num_temporal_scales: int = 3,
        *,
        output_size: int | None = None,
    ) -> None:
        at_least_one(input_size=input_size, hidden_size=hidden_size, memory_size=memory_size, memory_dim=memory_dim)
        at_least_one(num_temporal_scales=num_temporal_scales)
        cell = TemporalMemory(1, input_size, hidden_size, memory_size, memory_dim, num_temporal_scales)
        super().__init__(cell, input_size, input_size if output_size is None else output_size)
