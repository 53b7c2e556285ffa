"""Complete models with a memory: a recurrent network with any memory, and a Transformer over segments."""

from __future__ import annotations

from torch import nn

from palimpsest.faces.adapter import CellModule
from palimpsest.memory.controlled import ControlledMemory
from palimpsest.memory.named import MemoryName, named_memory
from palimpsest.memory.segments import SegmentMemory
from palimpsest.memory.sizes import at_least_one


class MemoryEnhancedRNN(CellModule):
    """An LSTM with an external memory of any kind.

        h_t = LSTM([x_t; r_{t−1}])        r_t = memory(h_t)        y_t = W [h_t; r_t] + b

    Experiments use :mod:`palimpsest.models.memory_rnn`. Both use the same cell,
    :class:`palimpsest.memory.controlled.ControlledMemory`.

    Args:
        input_size: number of input features.
        hidden_size: units of the LSTM.
        memory_size: slots N.
        memory_dim: features W of a slot.
        output_size: output features; ``None``: the number of input features.
        memory: a name from :data:`palimpsest.memory.named.MemoryName`.
        num_read_heads: H.

    Raises:
        ParameterError: a size is below one, or the memory is unknown or does not support these sizes.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        memory_dim: int,
        *,
        output_size: int | None = None,
        memory: MemoryName = "attention",
        num_read_heads: int = 1,
    ) -> None:
        at_least_one(input_size=input_size, hidden_size=hidden_size, memory_size=memory_size, memory_dim=memory_dim)
        chosen = named_memory(memory, 1, hidden_size, memory_size, memory_dim, num_read_heads)
        cell = ControlledMemory(1, input_size, hidden_size, chosen)
        super().__init__(cell, input_size, input_size if output_size is None else output_size)


class MemoryTransformer(CellModule):
    """A causal Transformer over segments; its layers have slots that are carried from segment to segment.

    Inputs → linear map → layers like :class:`palimpsest.faces.memory_layers.TransformerMemoryLayer` → linear map.
    Experiments use :mod:`palimpsest.models.memory_transformer`. Both use the same cell,
    :class:`palimpsest.memory.segments.SegmentMemory`.

    Args:
        input_size: number of input features.
        hidden_size: width of all layers, and features of a slot.
        memory_size: slots N of each layer.
        output_size: output features; ``None``: the number of input features.
        num_heads: number of attention heads, a divisor of ``hidden_size``.
        num_layers: number of layers.
        segment: number of tokens of a segment; tokens attend to their own segment only.
        feedforward: hidden units of the position-wise network; ``None``: four times the width.

    Raises:
        ParameterError: a size is below one, or ``num_heads`` does not divide ``hidden_size``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        *,
        output_size: int | None = None,
        num_heads: int = 1,
        num_layers: int = 2,
        segment: int = 16,
        feedforward: int | None = None,
    ) -> None:
        at_least_one(input_size=input_size, hidden_size=hidden_size, memory_size=memory_size)
        cell = SegmentMemory(
            1,
            hidden_size,
            memory_size,
            num_heads=num_heads,
            feedforward=4 * hidden_size if feedforward is None else feedforward,
            segment=segment,
            num_layers=num_layers,
        )
        out = input_size if output_size is None else output_size
        super().__init__(cell, input_size, out, before=nn.Linear(input_size, hidden_size))
