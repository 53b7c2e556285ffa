"""Elastic weight consolidation: weights that mattered in earlier phases are held near their values of then.

L_t(θ) = L_task(θ) + Σ_{k<t} λ/2 Σ_i F_{k,i} (θ_i − θ*_{k,i})²                  [Kirkpatrick et al. 2017, eq. 3]
F_{k,i} = 1/N Σ_n (∂ loss(x_n, y_n; θ*_k) / ∂θ_i)², the diagonal of the Fisher information of phase k

with one term for each earlier phase, as for several tasks in the source's Section 2.

Deviates: the labels y_n are those of the training split, not drawn from the model's predictions (the empirical
Fisher), so that any loss of a task will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from palimpsest.foundation.sections import PerRun, Section
from palimpsest.tasks import Splits
from palimpsest.training import methods
from palimpsest.training.methods import Learner


class Config(Section):
    """How strongly earlier weights are held."""

    ewc_strength: Annotated[float, PerRun()] = Field(100.0, ge=0, description="λ: weight of the quadratic penalty")
    fisher_examples: int = Field(64, ge=1, description="training examples from which F is estimated; all if fewer")


class Anchor(NamedTuple):
    """One phase's term of the penalty, by parameter, each (R, …); all zero before the phase has ended."""

    fisher: dict[str, Tensor]
    weights: dict[str, Tensor]
    """θ*_k."""


class State(NamedTuple):
    """Terms of the penalty."""

    anchors: tuple[Anchor, ...]
    """One for each phase but the last."""


class Method(methods.Method):
    """The hooks of elastic weight consolidation."""

    config: Config

    def initial_state(self, pack: Learner, data: Sequence[Splits]) -> State:
        """Return one empty term for each phase but the last."""
        del data

        def zeros() -> dict[str, Tensor]:
            return {name: torch.zeros_like(value, requires_grad=False) for name, value in pack.moving().items()}

        return State(tuple(Anchor(zeros(), zeros()) for _ in range(pack.num_phases - 1)))

    def penalty(self, pack: Learner, state: State) -> Float[Tensor, " runs"]:
        """λ/2 Σ_k Σ_i F_{k,i} (θ_i − θ*_{k,i})², over the phases that have ended."""
        total = torch.zeros(pack.runs, device=pack.device)
        for anchor in state.anchors[: pack.phase]:
            for name, value in pack.moving().items():
                term = anchor.fisher[name] * (value - anchor.weights[name]).square()
                total = total + term.flatten(1).sum(1)
        return pack.hyper["ewc_strength"] / 2 * total

    def after_phase(self, pack: Learner, state: State, data: Splits) -> State:
        """Store the Fisher information and the weights of the phase that ended; the last phase needs neither."""
        if pack.phase >= len(state.anchors):
            return state
        weights = {name: value.detach().clone() for name, value in pack.moving().items()}
        anchors = list(state.anchors)
        anchors[pack.phase] = Anchor(self._fisher(pack, data), weights)
        return State(tuple(anchors))

    def _fisher(self, pack: Learner, data: Splits) -> dict[str, Tensor]:
        """F_k: mean squared gradients, one example of every run at a time."""
        parameters = pack.moving()
        count = min(self.config.fisher_examples, len(data.train.targets))
        places = [torch.randperm(len(data.train.targets), generator=g)[:count] for g in pack.generators("fisher")]
        totals = [torch.zeros_like(value, requires_grad=False) for value in parameters.values()]
        for chosen in torch.stack(places).to(data.train.targets.device).split(1, 1):
            loss = pack.loss(data.train.rows(chosen))
            gradients = torch.autograd.grad(loss.sum(), list(parameters.values()), allow_unused=True)
            for total, gradient in zip(totals, gradients, strict=True):
                if gradient is not None:
                    total += gradient.square()
        return {name: total / count for name, total in zip(parameters, totals, strict=True)}
