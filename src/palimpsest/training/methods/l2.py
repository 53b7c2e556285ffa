"""Weights are held near those that the last phase left, all alike: the simplest penalty on forgetting.

L_t(θ) = L_task(θ) + λ/2 Σ_i (θ_i − θ*_{t−1,i})²

It is elastic weight consolidation in which every weight matters as much as any other, and stands in
[Kirkpatrick et al. 2017, Figure 2] as the baseline "L2".
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

    l2_strength: Annotated[float, PerRun()] = Field(0.01, ge=0, description="λ: weight of the quadratic penalty")


class State(NamedTuple):
    """Weights that the last phase left."""

    weights: dict[str, Tensor]
    """θ*_{t−1} by parameter, each (R, …); zero before the first phase has ended."""


class Method(methods.Method):
    """The hooks of the penalty."""

    config: Config

    def initial_state(self, pack: Learner, data: Sequence[Splits]) -> State:
        """Return zeros."""
        del data
        return State({name: torch.zeros_like(value, requires_grad=False) for name, value in pack.moving().items()})

    def penalty(self, pack: Learner, state: State) -> Float[Tensor, " runs"]:
        """λ/2 Σ_i (θ_i − θ*_i)², in every phase but the first."""
        total = torch.zeros(pack.runs, device=pack.device)
        if pack.phase > 0:
            for name, value in pack.moving().items():
                total = total + (value - state.weights[name]).square().flatten(1).sum(1)
        return pack.hyper["l2_strength"] / 2 * total

    def after_phase(self, pack: Learner, state: State, data: Splits) -> State:
        """Store the weights of the phase that ended."""
        del state, data
        return State({name: value.detach().clone() for name, value in pack.moving().items()})
