"""A model that reads its memory several times before it answers: source 004's ReasoningNetwork."""

from __future__ import annotations

from palimpsest.faces.adapter import CellModule
from palimpsest.memory.repeated_reads import EncodedReads
from palimpsest.memory.sizes import at_least_one


class ReasoningNetwork(CellModule):
    """An LSTM writes what it has encoded to slots; each step then reads them several times in turn.

        h_t = LSTM(x_t)    z⁰ = W h_t + b
        r^j = read(z^(j−1)), z^j = z^(j−1) + r^j, j = 1 … K    y_t = V [h_t; Σ_j r^j] + c

    The source gives no equations: these are those of [Sukhbaatar et al. 2015]. Experiments use
    :mod:`palimpsest.models.reasoning_network`. Both use the same cell,
    :class:`palimpsest.memory.repeated_reads.EncodedReads`.

    Args:
        input_size: number of input features.
        hidden_size: units of the LSTM.
        memory_size: slots N: the last N steps are read.
        memory_dim: features W of a key and of a value.
        output_size: output features; ``None``: the number of input features.
        num_reasoning_steps: reads K of each step, with the same weights.
        num_read_heads: H of each read, a divisor of ``memory_dim``.

    Raises:
        ParameterError: a size is below one, or ``num_read_heads`` does not divide ``memory_dim``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        memory_dim: int,
        *,
        output_size: int | None = None,
        num_reasoning_steps: int = 3,
        num_read_heads: int = 1,
    ) -> None:
        at_least_one(
            input_size=input_size,
            hidden_size=hidden_size,
            memory_size=memory_size,
            memory_dim=memory_dim,
            num_reasoning_steps=num_reasoning_steps,
        )
        cell = EncodedReads(
            1, input_size, hidden_size, memory_size, memory_dim, num_read_heads, num_reads=num_reasoning_steps
        )
        super().__init__(cell, input_size, input_size if output_size is None else output_size)
