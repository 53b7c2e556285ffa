"""Networks of a controller and a memory that the controller reads and writes."""

from __future__ import annotations

from typing import Literal

from palimpsest.faces.adapter import CellModule
from palimpsest.memory.controlled import ControlledMemory
from palimpsest.memory.dnc import DNCCell
from palimpsest.memory.least_recently_used import LeastRecentlyUsedAccess
from palimpsest.memory.ntm import NTMCell
from palimpsest.memory.sizes import at_least_one


class NeuralTuringMachine(CellModule):
    """A controller with heads that address a memory by content and by location    [Graves, Wayne, Danihelka 2014].

        h_t = controller([x_t; r_{t−1}])    w_t = hybrid addressing    r_t = Σ_i w_t(i) M_{t−1}(i)
        M_t(i) = M_{t−1}(i) (1 − w_t(i) e_t) + w_t(i) a_t    y_t = W [h_t; r_t] + b

    Equations: :mod:`palimpsest.memory.ntm`, :mod:`palimpsest.memory.addressing`.

    Args:
        input_size: number of input features.
        hidden_size: units of the controller.
        memory_size: slots N.
        memory_dim: features W of a slot.
        output_size: output features; ``None``: the number of input features.
        num_read_heads: number of read heads.
        num_write_heads: number of write heads.
        max_shift: number of slots by which a step can move a head, in both directions.
        controller: ``lstm``, ``gru`` or ``feedforward``.
        memory: initial content: ``constant``, ``learned`` or ``random``.
        weights: initial places of the heads: ``first`` slot or ``learned``.
        similarity: of keys and slots: ``cosine`` or ``dot``.

    Raises:
        ParameterError: a size is below one, there are more shifts than slots, or a name is unknown.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        memory_dim: int,
        *,
        output_size: int | None = None,
        num_read_heads: int = 1,
        num_write_heads: int = 1,
        max_shift: int = 1,
        controller: Literal["lstm", "gru", "feedforward"] = "lstm",
        memory: Literal["constant", "learned", "random"] = "constant",
        weights: Literal["first", "learned"] = "first",
        similarity: Literal["cosine", "dot"] = "cosine",
    ) -> None:
        at_least_one(input_size=input_size, hidden_size=hidden_size, memory_size=memory_size, memory_dim=memory_dim)
        cell = NTMCell(
            1,
            input_size,
            hidden_size,
            memory_size,
            memory_dim,
            num_read_heads=num_read_heads,
            num_write_heads=num_write_heads,
            max_shift=max_shift,
            controller=controller,
            memory=memory,
            weights=weights,
            similarity=similarity,
        )
        super().__init__(cell, input_size, input_size if output_size is None else output_size)


class DifferentiableNeuralComputer(CellModule):
    """A controller whose memory is allocated, freed, and read in order of writing    [Graves et al. 2016].

        u_t = (u_{t−1} + w^w_{t−1} − u_{t−1} ∘ w^w_{t−1}) ∘ ψ_t        w^w_t = g^w (g^a a_t + (1 − g^a) c_t)
        w^r_t = π_1 L_tᵀ w^r_{t−1} + π_2 c_t + π_3 L_t w^r_{t−1}        y_t = W_y h_t + W_r r_t

    Equations: :mod:`palimpsest.memory.dnc`.

    Args:
        input_size: number of input features.
        hidden_size: units of the controller, an LSTM.
        memory_size: slots N.
        memory_dim: features W of a slot.
        output_size: output features; ``None``: the number of input features.
        num_read_heads: H.
        sparse_links: number of stored predecessors and successors of a slot; ``None``: all, which takes O(N²).

    Raises:
        ParameterError: a size is below one, or ``sparse_links`` exceeds ``memory_size``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        memory_dim: int,
        *,
        output_size: int | None = None,
        num_read_heads: int = 1,
        sparse_links: int | None = None,
    ) -> None:
        at_least_one(input_size=input_size, hidden_size=hidden_size, memory_size=memory_size, memory_dim=memory_dim)
        cell = DNCCell(1, input_size, hidden_size, memory_size, memory_dim, num_read_heads, sparse_links=sparse_links)
        super().__init__(cell, input_size, input_size if output_size is None else output_size)


class MemoryAugmentedNetwork(CellModule):
    """An LSTM whose memory is written at the slots read last, or at the least used slots    [Santoro et al. 2016].

        w^w_t = σ(α_t) w^r_{t−1} + (1 − σ(α_t)) w^lu_{t−1}        M_t(i) = M_{t−1}(i) + w^w_t(i) k_t
        w^r_t = softmax(β_t cos(k_t, M_t(i)))        y_t = W [h_t; r_t] + b

    :class:`palimpsest.faces.memory_models.MemoryEnhancedRNN` with memory ``least_recently_used`` is the same network,
    with the paper's decay. Equations: :mod:`palimpsest.memory.least_recently_used`.

    Args:
        input_size: number of input features.
        hidden_size: units of the controller.
        memory_size: slots N.
        memory_dim: features W of a slot.
        output_size: output features; ``None``: the number of input features.
        num_read_heads: H, at most N; each head reads and writes.
        decay: factor by which usage decays in a step, in [0, 1).

    Raises:
        ParameterError: a size is below one, there are more heads than slots, or ``decay`` lies outside [0, 1).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        memory_dim: int,
        *,
        output_size: int | None = None,
        num_read_heads: int = 1,
        decay: float = 0.99,
    ) -> None:
        at_least_one(input_size=input_size, hidden_size=hidden_size, memory_size=memory_size, memory_dim=memory_dim)
        memory = LeastRecentlyUsedAccess(1, hidden_size, memory_size, memory_dim, num_read_heads, decay=decay)
        cell = ControlledMemory(1, input_size, hidden_size, memory)
        super().__init__(cell, input_size, input_size if output_size is None else output_size)
