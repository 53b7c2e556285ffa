"""Recurrent cells for every run of a pack: LSTM, GRU and, with the same methods, a network without a state.

Axes: R runs, B batch, K hidden units. A cell has ``d_out``, ``initial_state(batch)`` and ``step(x, state)``. The part
of the gates that the input contributes does not depend on the state. ``of_input`` computes this part, for a whole
sequence at once if it is known, and ``advance`` takes a step with it. States are immutable: a step returns a new one.

The names ``of_input`` and ``of_hidden`` are parts of the names of stored parameters.
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
    """W x + b for all gates of a cell at once, drawn from U(±1/√K) like the weights of PyTorch's cells."""

    def __init__(self, runs: int, d_in: int, d_hidden: int, gates: int) -> None:
        super().__init__(runs, d_in, gates * d_hidden)
        self.bound = 1 / math.sqrt(d_hidden)

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's weights with that run's own generator."""
        _draw(self.weight, self.bound, generators)
        _draw(self.bias, self.bound, generators)


class LSTMState(NamedTuple):
    """What an LSTM carries from step to step."""

    hidden: Hidden
    """h, in (−1, 1): the output."""
    memory: Hidden
    """c: the cell's content."""


class LSTMCell(nn.Module):
    """Long short-term memory [Hochreiter, Schmidhuber 1997; with forget gates: Gers, Schmidhuber, Cummins 2000].

        i, f, o = σ(W x + U h + b)    g = tanh(W x + U h + b)    c ← f ⊙ c + i ⊙ g    h ← o ⊙ tanh(c)

    It computes the same as PyTorch's ``nn.LSTMCell``. The first state is zero.

    Deviates: there is one b where PyTorch adds two, and the gates are in the order i, f, o, g.

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
        """Draw U of every run from U(±1/√K), with that run's own generator; ``of_input`` draws W and b."""
        _draw(self.recurrent, 1 / math.sqrt(self.d_out), generators)

    def initial_state(self, batch: int) -> LSTMState:
        """Return zeros."""
        zeros = self.recurrent.new_zeros(len(self.recurrent), batch, self.d_out)
        return LSTMState(zeros, zeros)

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: LSTMState, control: str = "on"
    ) -> tuple[Hidden, LSTMState]:
        """Take one step and return h and the state; a control of memories has no effect on a cell without one."""
        del control
        return self.advance(self.of_input(x), state)

    def advance(self, input_gates: Float[Tensor, "runs batch gates"], state: LSTMState) -> tuple[Hidden, LSTMState]:
        """Take one step, given ``of_input(x)``."""
        hidden, memory = _LSTMStep.apply(input_gates, state.hidden, state.memory, self.recurrent)  # pyright: ignore[reportGeneralTypeIssues]
        return hidden, LSTMState(hidden, memory)


class SavedLSTMStep(NamedTuple):
    """What :func:`lstm_gradient` needs of a step."""

    memory: Hidden
    """c before the step."""
    gates: Tensor
    """i, f and o, side by side."""
    candidate: Hidden
    """g."""
    squashed: Hidden
    """tanh(c) after the step."""


class _LSTMStep(torch.autograd.Function):
    """The step and its gradient as one autograd node, because small cells are bound by call overhead."""

    @staticmethod
    def forward(ctx: Any, input_gates: Tensor, hidden: Tensor, memory: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`LSTMCell`."""
        hidden_after, memory_after, saved = lstm_step(product(hidden, weight).add_(input_gates), memory)
        ctx.save_for_backward(hidden, weight, *saved)
        return hidden_after, memory_after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor, grad_memory: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of the input's part of the gates, of h, of c and of U."""
        hidden, weight, *saved = ctx.saved_tensors
        grad_gates, grad_memory = lstm_gradient(grad_hidden, grad_memory, SavedLSTMStep(*saved))
        grad_weight = product(hidden.transpose(1, 2), grad_gates)
        return grad_gates, product(grad_gates, weight.transpose(1, 2)), grad_memory, grad_weight


def lstm_step(preactivation: Float[Tensor, "runs batch gates"], memory: Hidden) -> tuple[Hidden, Hidden, SavedLSTMStep]:
    """Return h and c after a step, and what :func:`lstm_gradient` needs.

    Args:
        preactivation: W x + U h + b of all gates.
        memory: c before the step.
    """
    size = memory.shape[-1]
    gates, candidate = sigmoid(preactivation[..., : 3 * size]), tanh(preactivation[..., 3 * size :])
    i, f, o = gates.split(size, -1)
    after = (f * memory).add_(i * candidate)
    squashed = tanh(after)
    return o * squashed, after, SavedLSTMStep(memory, gates, candidate, squashed)


def lstm_gradient(grad_hidden: Hidden, grad_memory: Hidden, saved: SavedLSTMStep) -> tuple[Tensor, Hidden]:
    """Return the gradients of ``preactivation`` and of c before the step; σ′ = σ (1 − σ) and tanh′ = 1 − tanh²."""
    memory, gates, candidate, squashed = saved
    i, f, o = gates.split(memory.shape[-1], -1)
    grad_after = torch.ops.aten.tanh_backward(grad_hidden * o, squashed).add_(grad_memory)
    grad_gates = torch.cat([grad_after * candidate, grad_after * memory, grad_hidden * squashed], -1)
    grad_gates = torch.ops.aten.sigmoid_backward(grad_gates, gates)
    grad_candidate = torch.ops.aten.tanh_backward(grad_after * i, candidate)
    return torch.cat([grad_gates, grad_candidate], -1), grad_after * f


class GRUState(NamedTuple):
    """What a GRU carries from step to step."""

    hidden: Hidden
    """h, in (−1, 1): both the content and the output."""


class GRUCell(nn.Module):
    """Gated recurrent unit [Cho et al. 2014], as in PyTorch's ``nn.GRUCell``; the first state is zero.

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
        """Return zeros."""
        weight = self.of_hidden.weight
        return GRUState(weight.new_zeros(len(weight), batch, self.d_out))

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: GRUState, control: str = "on"
    ) -> tuple[Hidden, GRUState]:
        """Take one step and return h and the state; a control of memories has no effect on a cell without one."""
        del control
        return self.advance(self.of_input(x), state)

    def advance(self, input_gates: Float[Tensor, "runs batch gates"], state: GRUState) -> tuple[Hidden, GRUState]:
        """Take one step, given ``of_input(x)``."""
        size = self.d_out
        hidden_gates = self.of_hidden(state.hidden)
        reset, keep = sigmoid(input_gates[..., : 2 * size] + hidden_gates[..., : 2 * size]).split(size, -1)
        new = tanh(input_gates[..., 2 * size :] + reset * hidden_gates[..., 2 * size :])
        hidden = new + keep * (state.hidden - new)
        return hidden, GRUState(hidden)


class FeedForwardState(NamedTuple):
    """Empty: a network without a state carries nothing from step to step."""


class FeedForwardCell(nn.Module):
    """One hidden layer, h = tanh(W x + b): a controller that remembers nothing outside the memory that it controls.

    [Graves, Wayne, Danihelka 2014, Section 3.4]; the paper does not give the nonlinearity.

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
        """Return the empty state, for any batch."""
        del batch
        return FeedForwardState()

    def step(
        self, x: Float[Tensor, "runs batch d_in"], state: FeedForwardState, control: str = "on"
    ) -> tuple[Hidden, FeedForwardState]:
        """Take one step and return h and the empty state."""
        del control
        return self.advance(self.of_input(x), state)

    def advance(
        self, input_gates: Float[Tensor, "runs batch hidden"], state: FeedForwardState
    ) -> tuple[Hidden, FeedForwardState]:
        """Take one step, given ``of_input(x)``."""
        return tanh(input_gates), state


def _draw(parameter: Float[Tensor, "runs *shape"], bound: float, generators: Sequence[Generator]) -> None:
    """Fill every run's part from U(±bound), each with that run's own generator."""
    for part, generator in zip(parameter, generators, strict=True):
        part.uniform_(-bound, bound, generator=generator)
