"""Averaged gradient episodic memory: a step may not raise the loss on stored examples of earlier phases.

g̃ = g − (gᵀ g_ref / g_refᵀ g_ref) g_ref  if gᵀ g_ref < 0, else g                  [Chaudhry et al. 2019, eq. 11]

g is the gradient of the batch, g_ref that of examples drawn from the memory, a reservoir as that of
:mod:`palimpsest.training.methods.replay`; both over the parameters that move. GEM asks the same of every earlier phase
by itself, with a quadratic program a step [Lopez-Paz and Ranzato 2017, eq. 8]; A-GEM asks it of their average.

A method adds to the loss. The step is turned by a penalty whose value is zero and whose gradient is g̃ − g:
Σ_i (g̃ − g)_i (θ_i − [θ_i]), where [·] has no gradient. What is clipped and what the optimiser takes is therefore g̃.

Deviates: losses of both gradients are those of the task with dropout off, without auxiliary losses of the model; the
memory takes a phase's training split when the phase has ended, as that of replay does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from palimpsest.foundation.sections import Section
from palimpsest.tasks import Examples
from palimpsest.training.methods import Learner, replay


class Config(Section):
    """How much is stored, and how much of it a step is compared with."""

    agem_capacity: int = Field(200, ge=1, description="M: examples that the memory of a run holds")
    agem_batch: int = Field(32, ge=1, description="stored examples of the reference gradient")


class Method(replay.Method):
    """The hooks of A-GEM: the memory of replay, whose examples are compared with and not trained on.

    Args:
        config: parameters of A-GEM.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(replay.Config(replay_capacity=config.agem_capacity, replay_batch=config.agem_batch))

    _step: tuple[Examples, Examples] | None = None
    """Batch and stored examples of the step that is being taken; nothing is carried from step to step."""

    @property
    def extra_examples(self) -> int:
        """Batches stay as they are; stored examples have a pass of their own."""
        return 0

    def examples(self, pack: Learner, state: replay.State, batch: Examples) -> Examples:
        """Return the batch as it is, and draw the stored examples that the penalty of the same step needs."""
        size, joined = batch.targets.shape[1], super().examples(pack, state, batch)
        self._step = None if joined is batch else (_part(joined, slice(size)), _part(joined, slice(size, None)))
        return batch

    def penalty(self, pack: Learner, state: replay.State) -> Float[Tensor, " runs"]:
        """Zero, with the gradient g̃ − g; in the first phase, which has no earlier one, with none."""
        del state
        total = torch.zeros(pack.runs, device=pack.device)
        if self._step is None:
            return total
        parameters = [value for value in pack.moving().values() if value.requires_grad]
        own, reference = (_gradients(pack, part, parameters) for part in self._step)
        weight = correction(own, reference)
        for value, gradient in zip(parameters, reference, strict=True):
            turn = weight.view(-1, *[1] * (gradient.dim() - 1)) * gradient
            total = total + (turn * (value - value.detach())).flatten(1).sum(1)
        return total


def _part(examples: Examples, places: slice) -> Examples:
    """Some of the examples of every run."""
    extras = {name: value[:, places] for name, value in examples.extras.items()}
    return Examples(examples.inputs[:, places], examples.targets[:, places], extras)


def _gradients(pack: Learner, examples: Examples, parameters: list[nn.Parameter]) -> list[Tensor]:
    """Gradient of the mean task loss of every run, (R, …) each."""
    loss = pack.loss(examples).mean(1).sum()
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(value, requires_grad=False) if gradient is None else gradient
        for value, gradient in zip(parameters, found, strict=True)
    ]


def correction(own: list[Tensor], reference: list[Tensor]) -> Float[Tensor, " runs"]:
    """Return c of g̃ = g + c g_ref: −gᵀ g_ref / g_refᵀ g_ref where gᵀ g_ref < 0, else zero.

    Args:
        own: g, by parameter, each (R, …).
        reference: g_ref, likewise.
    """
    along = torch.stack([(a * b).flatten(1).sum(1) for a, b in zip(own, reference, strict=True)]).sum(0)
    length = torch.stack([b.square().flatten(1).sum(1) for b in reference]).sum(0)
    opposed = (along < 0) & (length > 0)
    return torch.where(opposed, -along / length.where(length > 0, 1), 0)
