"""MemNet and its two parts, a bank of slots and a Transformer with a window, as plain modules (source 002).

The defaults of sizes are those of the source's authors: N 128, D 128, 8 heads, k 16, bottleneck 64, embedding 128,
hidden 512, 4 layers, a vocabulary of 20. A window, and memory steps of several tokens, are this project's repair: the
source encodes the whole prefix at every step, so that its memory is never needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from palimpsest.faces.adapter import CellModule, TokenModule
from palimpsest.faces.memnet_cells import BankCell, ControllerCell, MemNetCell
from palimpsest.foundation.errors import ParameterError
from palimpsest.memory import slot_bank
from palimpsest.memory.sizes import at_least_one, within
from palimpsest.memory.slot_bank import Eviction, Weights
from palimpsest.models import memnet
from palimpsest.models.shared import window as controllers

LOSS_WEIGHTS: Mapping[str, float] = MappingProxyType({"utilisation": 0.01, "sparsity": 0.02, "diversity": 0.01})
"""The authors' weights of the auxiliary losses; their fourth, of forgetting, has no equation in the source."""


class MultiHeadMemoryBank(CellModule):
    """A bank of N slots for each head: sparse reads by content, writes to the slots that were not used for longest.

        r_t = Σ_i w_t(i) M(i), w_t over the k slots most like the read key
        M(i) ← (1 − d(i)) M(i), then what is written erases a part of what a slot held, and is added

    Tokens of a memory step read before any of them writes. Equations:
    :class:`palimpsest.memory.slot_bank.MultiHeadMemoryBank`.

    Inputs are (batch, time, ``input_size``), the features of a controller; outputs are (batch, time, ``memory_dim``),
    the reads, head by head. A state is a :class:`palimpsest.faces.memnet_cells.BankCellState`.

    >>> import torch
    >>> bank = MultiHeadMemoryBank(input_size=6, memory_size=8, memory_dim=4, num_heads=2, top_k=3, bottleneck=2)
    >>> reads, state = bank(torch.rand(5, 10, 6), return_state=True)
    >>> reads.shape, state.bank.slots.shape  # slots: one run, batch, heads, N, features of a head
    (torch.Size([5, 10, 4]), torch.Size([1, 5, 2, 8, 2]))
    >>> bank(torch.rand(5, 1, 6), state).shape  # the sequences go on
    torch.Size([5, 1, 4])

    Args:
        input_size: number of input features.
        memory_size: slots N of each head.
        memory_dim: features D of a slot over all heads.
        num_heads: H, a divisor of ``memory_dim``.
        top_k: slots k that a read takes, at most N.
        bottleneck: hidden features of the map to what is written, at most D.
        eviction: which slots a write takes: ``lru``, ``fifo``, ``random`` or ``blind``. Random slots are drawn by the
            number of the memory step alone, so that equal calls give equal results.
        weights: how the k slots share a read: ``softmax`` or ``sigmoid``.
        decay: approximate initial share of a slot that is forgotten in a memory step, in [0, 1); 0: slots never decay.
        chunk: tokens of a memory step.

    Raises:
        ParameterError: a size is below one, ``top_k`` exceeds N, ``num_heads`` does not divide D, the bottleneck is
            wider than D, ``decay`` lies outside [0, 1), or a name is unknown.
    """

    def __init__(
        self,
        input_size: int = 128,
        memory_size: int = 128,
        memory_dim: int = 128,
        *,
        num_heads: int = 8,
        top_k: int = 16,
        bottleneck: int = 64,
        eviction: Eviction = "lru",
        weights: Weights = "softmax",
        decay: float = 0.0025,
        chunk: int = 1,
    ) -> None:
        at_least_one(input_size=input_size, chunk=chunk)
        _check_bank(memory_size, memory_dim, num_heads, "num_heads", top_k, bottleneck, eviction, weights)
        bank = slot_bank.MultiHeadMemoryBank(
            1,
            input_size,
            memory_size,
            memory_dim,
            num_heads,
            top_k=top_k,
            bottleneck=bottleneck,
            eviction=eviction,
            weights=weights,
            decay_bias=_decay_bias(decay),
        )
        super().__init__(BankCell(bank, chunk), input_size)

    def next_episode(self, state: Any) -> Any:
        """Return the first state of new sequences that find the slots as ``state`` has them.

        Tokens of a memory step that is not complete are dropped.

        Raises:
            ParameterError: ``state`` is not a state of this module.
        """
        self.check_state(state)
        return self.cell.next_episode(state)


class TransformerController(CellModule):
    """Causal encoder layers whose tokens see a window of earlier ones, and how far away each of them is.

    Through L layers a token depends on L (W − 1) + 1 tokens. Layers keep the number of features: inputs and outputs are
    (batch, time, ``features``). A state is a :class:`palimpsest.faces.memnet_cells.ControllerState`. There is no
    memory, so that ``control`` has no effect. The maps from these features to keys and gates are parts of the bank.
    Equations: :class:`palimpsest.layers.relative.RelativeLayer`.

    >>> import torch
    >>> controller = TransformerController(features=6, feedforward=12, num_layers=2, num_heads=3, window=4)
    >>> hidden, state = controller(torch.rand(5, 10, 6), return_state=True)
    >>> hidden.shape, state.past.shape  # one run, batch, layers, the last W − 1 tokens, features
    (torch.Size([5, 10, 6]), torch.Size([1, 5, 2, 3, 6]))

    Args:
        features: number of input features and of output features.
        feedforward: hidden units of the position-wise network.
        num_layers: L.
        num_heads: number of attention heads, a divisor of ``features``.
        window: W, tokens that a layer sees, the present one included. A window longer than a sequence sees all of it.

    Raises:
        ParameterError: a size is below one, or ``num_heads`` does not divide ``features``.
    """

    def __init__(
        self,
        features: int = 128,
        *,
        feedforward: int = 512,
        num_layers: int = 4,
        num_heads: int = 8,
        window: int = 16,
    ) -> None:
        at_least_one(features=features, feedforward=feedforward, num_layers=num_layers, num_heads=num_heads)
        at_least_one(window=window)
        _check_divides("num_heads", num_heads, "features", features)
        config = controllers.WindowConfig.model_validate(
            {
                "sequence_length": window,
                "width": features,
                "num_heads": num_heads,
                "num_layers": num_layers,
                "feedforward": feedforward,
                "window": window,
            }
        )
        super().__init__(ControllerCell(controllers.TransformerController(1, config), config), features)


class MemNet(TokenModule):
    """The whole model: tokens → :class:`TransformerController` and :class:`MultiHeadMemoryBank` → logits.

    Inputs are tokens (batch, time), int64 in [0, ``vocabulary``); outputs are logits (batch, time, ``vocabulary``).
    Experiments use :mod:`palimpsest.models.memnet`, which has the equations. Both are the same code. A state is a
    :class:`palimpsest.faces.memnet_cells.MemNetCellState`: the slots, what the window sees, and the tokens of the
    memory step that is not complete.

    >>> import torch
    >>> model = MemNet(vocabulary=7, embedding_size=8, feedforward=8, num_layers=1, num_heads=2, memory_size=6,
    ...                memory_dim=4, num_memory_heads=2, top_k=2, bottleneck=2, window=3, chunk=3)
    >>> tokens = torch.randint(7, (5, 10))
    >>> logits, state = model(tokens, return_state=True)
    >>> logits.shape
    torch.Size([5, 10, 7])
    >>> model(tokens, state).shape  # the same episode goes on
    torch.Size([5, 10, 7])
    >>> model(tokens, model.next_episode(state)).shape  # a new episode, which finds the slots as they are
    torch.Size([5, 10, 7])
    >>> logits, losses, state = model.with_losses(tokens)
    >>> model.auxiliary_loss(losses).shape  # to be added to the loss of the logits
    torch.Size([])

    Args:
        vocabulary: number of different tokens.
        embedding_size: features of a token, and width of the layers.
        feedforward: hidden units of the position-wise network; the source's hidden size.
        num_layers: number of encoder layers.
        num_heads: number of attention heads, a divisor of ``embedding_size``.
        memory_size: slots N of each memory head.
        memory_dim: features D of a slot over all heads.
        num_memory_heads: number of heads of the bank, a divisor of ``memory_dim``.
        top_k: slots k that a read takes, at most N.
        bottleneck: hidden features of the map to what is written, at most D.
        window: tokens that a layer sees, the present one included. A window longer than a sequence sees all of it.
        chunk: tokens of a memory step.
        eviction: as in :class:`MultiHeadMemoryBank`.
        weights: as in :class:`MultiHeadMemoryBank`.
        decay: as in :class:`MultiHeadMemoryBank`.
        utilisation: sign of the utilisation loss: ``maximised``, or ``printed`` as in the source, which causes the
            collapse that it is to prevent.
        loss_weights: of :meth:`auxiliary_loss`, by name; ``None``: :data:`LOSS_WEIGHTS`.

    Raises:
        ParameterError: a size is below one, ``top_k`` exceeds N, a number of heads does not divide its width, the
            bottleneck is wider than D, ``decay`` lies outside [0, 1), a weight of a loss is negative, or a name is
            unknown.
    """

    def __init__(
        self,
        vocabulary: int = 20,
        embedding_size: int = 128,
        feedforward: int = 512,
        *,
        num_layers: int = 4,
        num_heads: int = 8,
        memory_size: int = 128,
        memory_dim: int = 128,
        num_memory_heads: int = 8,
        top_k: int = 16,
        bottleneck: int = 64,
        window: int = 16,
        chunk: int = 16,
        eviction: Eviction = "lru",
        weights: Weights = "softmax",
        decay: float = 0.0025,
        utilisation: Literal["maximised", "printed"] = "maximised",
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        at_least_one(vocabulary=vocabulary, embedding_size=embedding_size, feedforward=feedforward)
        at_least_one(num_layers=num_layers, num_heads=num_heads, window=window, chunk=chunk)
        _check_divides("num_heads", num_heads, "embedding_size", embedding_size)
        _check_bank(memory_size, memory_dim, num_memory_heads, "num_memory_heads", top_k, bottleneck, eviction, weights)
        _check_name("utilisation", utilisation, ("maximised", "printed"))
        config = memnet.Config.model_validate(
            {
                "num_tokens": vocabulary,
                "num_outputs": vocabulary,
                "sequence_length": window,
                "width": embedding_size,
                "num_heads": num_heads,
                "num_layers": num_layers,
                "feedforward": feedforward,
                "window": window,
                "chunk": chunk,
                "num_slots": memory_size,
                "slot_dim": memory_dim,
                "num_memory_heads": num_memory_heads,
                "top_k": top_k,
                "bottleneck": bottleneck,
                "eviction": eviction,
                "weights": weights,
                "decay_bias": _decay_bias(decay),
                "utilisation_sign": utilisation,
            }
        )
        self.loss_weights = _checked_weights(LOSS_WEIGHTS if loss_weights is None else loss_weights)
        super().__init__(MemNetCell(memnet.Model(config, 1)), vocabulary)

    def next_episode(self, state: Any) -> Any:
        """Return the first state of new sequences that find the slots as ``state`` has them.

        What the window saw, and the tokens of a memory step that is not complete, are dropped.

        Raises:
            ParameterError: ``state`` is not a state of this module.
        """
        self.check_state(state)
        return self.cell.next_episode(state)

    def with_losses(self, x: Tensor, state: Any = None) -> tuple[Tensor, dict[str, Tensor], Any]:
        """Return the outputs, the unweighted auxiliary losses of these tokens, and the state after the last.

        Args:
            x: (batch, time), tokens.
            state: the state that the previous call returned; ``None``: the sequences start here.

        Returns:
            Logits (batch, time, ``vocabulary``); the losses ``utilisation``, ``pressure``, ``entropy``, ``sparsity``
            and ``diversity`` (:mod:`palimpsest.memory.bank_losses`), each without axes; the state.

        Raises:
            ParameterError: ``x`` or ``state`` has another shape or type.
        """
        self._check(x, state, "on")
        before = self.initial_state(len(x)) if state is None else state
        output, after = self._in_its_precision(lambda tokens: self.cell.run(tokens, before), x[None])
        return output.logits[0], {name: term[0] for name, term in output.losses.items()}, after

    def auxiliary_loss(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of what :meth:`with_losses` returned, each loss times its weight."""
        zero = next(self.parameters()).new_zeros(())
        return sum((weight * losses[name] for name, weight in self.loss_weights.items()), zero)


def _check_bank(
    memory_size: int,
    memory_dim: int,
    heads: int,
    name_of_heads: str,
    top_k: int,
    bottleneck: int,
    eviction: str,
    weights: str,
) -> None:
    """Check the sizes and names of a bank under the names that they have here.

    Raises:
        ParameterError: one of them is wrong.
    """
    at_least_one(memory_size=memory_size, memory_dim=memory_dim, **{name_of_heads: heads})
    at_least_one(top_k=top_k, bottleneck=bottleneck)
    within("top_k", top_k, 1, memory_size)
    within("bottleneck", bottleneck, 1, memory_dim)
    _check_divides(name_of_heads, heads, "memory_dim", memory_dim)
    _check_name("eviction", eviction, ("lru", "fifo", "random", "blind"))
    _check_name("weights", weights, ("softmax", "sigmoid"))


def _check_divides(name: str, heads: int, width_name: str, width: int) -> None:
    if width % heads:
        raise ParameterError(f"{name}: {heads} does not divide {width_name} {width}; allowed: a divisor")


def _check_name(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ParameterError(f"{name}: {value!r} is unknown; allowed: {', '.join(allowed)}")


def _checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of the losses.

    Raises:
        ParameterError: there is no such loss, or a weight is negative or not finite.
    """
    known = memnet.Model.loss_weights
    for name, weight in weights.items():
        if name not in known:
            raise ParameterError(f"loss_weights: {name!r} is unknown; allowed: {', '.join(known)}")
        if not 0 <= weight < math.inf:
            raise ParameterError(f"loss_weights: {name} {weight}; allowed: a finite number, 0 or more")
    return dict(weights)


def _decay_bias(decay: float) -> float | None:
    """Return the logit of a share; ``None``: there is no decay.

    Raises:
        ParameterError: the share lies outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise ParameterError(f"decay: {decay} is out of range; allowed: 0 to less than 1")
    return math.log(decay / (1 - decay)) if decay else None
