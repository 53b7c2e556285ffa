"""Recurrent cells for every run of a pack: LSTM, GRU and, with the same face, a network without a state.

Axes: R runs, B batch, K hidden units. A cell has ``d_out``, ``initial_state(batch)`` and ``step(x, state)``. What its
inputs contribute depends on no state: ``of_input`` computes it, for a whole sequence at once where that is known, and
``advance`` takes a step with it. A state is never changed, it is followed by another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from palimpsest.layers.activation import sigmoid, tanh
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product

Inputs = Float[Tensor, "runs *inner d_in"]
Hidden = Float[Tensor, "runs batch hidden"]


class _Gates(Linear):
    """W x + b for all gates of a cell at once, drawn from U(±1/√K) as PyTorch draws its cells' weights."""

    def __init__(self, runs: int, d_in: int, d_hidden: int, gates: int) -> None:
        super().__init__(runs, d_in, gates * d_hidden)
        self.bound = 1 / math.sqrt(d_hidden)

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's weights from that run's own generator."""
        _draw(self.weight, self.bound, generators)
        _draw(self.bias, self.bound, generators)


class LSTMState(NamedTuple):
    """What an LSTM carries from step to step."""

    hidden: Hidden
    """h, in (−1, 1): what it says."""
    memory: Hidden
    """c: what it keeps."""


class LSTMCell(nn.Module):
    """Long short-term memory [Hochreiter, Schmidhuber 1997; with forget gates: Gers, Schmidhuber, Cummins 2000].

        i, f, o = σ(W x + U h + b)    g = tanh(W x + U h + b)    c ← f ⊙ c + i ⊙ g    h ← o ⊙ tanh(c)

    As PyTorch's ``nn.LSTMCell`` computes it; the first state is zero.

    Deviates: one b where PyTorch adds two; the gates lie in the order i, f, o, g.

    Args:
        runs: size R of the pack.
        d_in: features in.
        d_hidden: hidden units K, which are the features out.
    """

    def __init__(self, runs: int, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, d_hidden
        self.of_input = _Gates(runs, d_in, d_hidden, 4)
        self.recurrent = nn.Parameter(torch.empty(runs, d_hidden, 4 * d_hidden))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw U of every run from that run's own generator, from U(±1/√K); W and b draw for themselves."""
        _draw(self.recurrent, 1 / math.sqrt(self.d_out), generators)

    def initial_state(self, batch: int) -> LSTMState:
        """Zeros."""
        zeros = self.recurrent.new_zeros(len(self.recurrent), batch, self.d_out)
        return LSTMState(zeros, zeros)

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: LSTMState, control: str = "on"
    ) -> tuple[Hidden, LSTMState]:
        """One step: h after it and the state; a control of memories does nothing to a network that has none."""
        del control
        return self.advance(self.of_input(x), state)

    def advance(self, of_input: Float[Tensor, "runs batch gates"], state: LSTMState) -> tuple[Hidden, LSTMState]:
        """One step, given ``of_input(x)``."""
        hidden, memory = _LSTMStep.apply(of_input, state.hidden, state.memory, self.recurrent)  # pyright: ignore[reportGeneralTypeIssues]
        return hidden, LSTMState(hidden, memory)


class _LSTMStep(torch.autograd.Function):
    """The step and its gradient as one node: the number of calls is what a step of a small cell costs."""

    @staticmethod
    def forward(ctx: Any, of_input: Tensor, hidden: Tensor, memory: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`LSTMCell`."""
        hidden_after, memory_after, kept = lstm_step(product(hidden, weight).add_(of_input), memory)
        ctx.save_for_backward(hidden, weight, *kept)
        return hidden_after, memory_after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_hidden: Tensor, of_memory: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradient of the input's part, h, c and U."""
        hidden, weight, *kept = ctx.saved_tensors
        of_before, of_memory = lstm_gradient(of_hidden, of_memory, kept)
        of_weight = product(hidden.transpose(1, 2), of_before)
        return of_before, product(of_before, weight.transpose(1, 2)), of_memory, of_weight


def lstm_step(before: Float[Tensor, "runs batch gates"], memory: Hidden) -> tuple[Hidden, Hidden, tuple[Tensor, ...]]:
    """Both h and c after a step, and what :func:`lstm_gradient` takes; ``before`` are W x + U h + b of all gates."""
    size = memory.shape[-1]
    gates, candidate = sigmoid(before[..., : 3 * size]), tanh(before[..., 3 * size :])
    i, f, o = gates.split(size, -1)
    after = (f * memory).add_(i * candidate)
    said = tanh(after)
    return o * said, after, (memory, gates, candidate, said)


def lstm_gradient(of_hidden: Hidden, of_memory: Hidden, kept: Sequence[Tensor]) -> tuple[Tensor, Hidden]:
    """Gradient of ``before`` and of c before the step; σ′ = σ (1 − σ) and tanh′ = 1 − tanh²."""
    memory, gates, candidate, said = kept
    i, f, o = gates.split(memory.shape[-1], -1)
    of_after = torch.ops.aten.tanh_backward(of_hidden * o, said).add_(of_memory)
    of_gates = torch.cat([of_after * candidate, of_after * memory, of_hidden * said], -1)
    of_gates = torch.ops.aten.sigmoid_backward(of_gates, gates)
    of_candidate = torch.ops.aten.tanh_backward(of_after * i, candidate)
    return torch.cat([of_gates, of_candidate], -1), of_after * f


class GRUState(NamedTuple):
    """What a GRU carries from step to step."""

    hidden: Hidden
    """h, in (−1, 1): what it keeps and says."""


class GRUCell(nn.Module):
    """Gated recurrent unit [Cho et al. 2014], as PyTorch's ``nn.GRUCell`` computes it; the first state is zero.

        r, z = σ(W x + b + U h + d)    n = tanh(W x + b + r ⊙ (U h + d))    h ← n + z ⊙ (h − n)

    Args:
        runs: size R of the pack.
        d_in: features in.
        d_hidden: hidden units K, which are the features out.
    """

    def __init__(self, runs: int, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, d_hidden
        self.of_input = _Gates(runs, d_in, d_hidden, 3)
        self.of_hidden = _Gates(runs, d_hidden, d_hidden, 3)

    def initial_state(self, batch: int) -> GRUState:
        """Zeros."""
        weight = self.of_hidden.weight
        return GRUState(weight.new_zeros(len(weight), batch, self.d_out))

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: GRUState, control: str = "on"
    ) -> tuple[Hidden, GRUState]:
        """One step: h after it and the state; a control of memories does nothing to a network that has none."""
        del control
        return self.advance(self.of_input(x), state)

    def advance(self, of_input: Float[Tensor, "runs batch gates"], state: GRUState) -> tuple[Hidden, GRUState]:
        """One step, given ``of_input(x)``."""
        size = self.d_out
        of_hidden = self.of_hidden(state.hidden)
        reset, keep = sigmoid(of_input[..., : 2 * size] + of_hidden[..., : 2 * size]).split(size, -1)
        new = tanh(of_input[..., 2 * size :] + reset * of_hidden[..., 2 * size :])
        hidden = new + keep * (state.hidden - new)
        return hidden, GRUState(hidden)


class FeedForwardState(NamedTuple):
    """Nothing: what a network without a state carries from step to step."""


class FeedForwardCell(nn.Module):
    """One hidden layer: h = tanh(W x + b), a controller whose only memory is the one that it controls.

    [Graves, Wayne, Danihelka 2014, Section 3.4]; its nonlinearity is not given there.

    Args:
        runs: size R of the pack.
        d_in: features in.
        d_hidden: hidden units K, which are the features out.
    """

    def __init__(self, runs: int, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, d_hidden
        self.of_input = Linear(runs, d_in, d_hidden)

    def initial_state(self, batch: int) -> FeedForwardState:
        """Nothing, however large the batch."""
        del batch
        return FeedForwardState()

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: FeedForwardState, control: str = "on"
    ) -> tuple[Hidden, FeedForwardState]:
        """One step: h, and the state, which is empty."""
        del control
        return self.advance(self.of_input(x), state)

    def advance(
        self, of_input: Float[Tensor, "runs batch hidden"], state: FeedForwardState
    ) -> tuple[Hidden, FeedForwardState]:
        """One step, given ``of_input(x)``."""
        return tanh(of_input), state


def _draw(parameter: Float[Tensor, "runs *shape"], bound: float, generators: Sequence[Generator]) -> None:
    """Fill every run's part from U(±bound), each from that run's own generator."""
    for part, generator in zip(parameter, generators, strict=True):
        part.uniform_(-bound, bound, generator=generator)
