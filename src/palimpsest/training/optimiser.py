"""Optimisers for packs: one for all runs, each with its own learning rate, decay and clipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from palimpsest.planning.parameters import Training

Flat = Float[Tensor, "runs elements"]


class Optimiser(ABC):
    """θ ← θ − η_r δ_r θ − η_r Δ, on parameters whose first axis counts the runs; subclasses compute Δ.

    All parameters are one array (R, elements) to it. PyTorch's own optimisers take one learning rate for all, and their
    fused variants round an element differently according to its place in memory, so that a run would depend on its
    company.

    Args:
        parameters: each (R, …).
        learning_rate: η, (R,).
        weight_decay: δ, (R,), decoupled from the gradient [Loshchilov, Hutter 2019].
        clip_norm: largest L2 norm of one run's gradient over all parameters; ``None``: not clipped.
        clip_value: largest absolute value of an element of the gradient, before that; ``None``: not clipped.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: Float[Tensor, " runs"],
        weight_decay: Float[Tensor, " runs"],
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = learning_rate[:, None], weight_decay[:, None]
        self.decays = bool(weight_decay.any())  # looked at once, here, where waiting for a device costs nothing
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.sizes = [parameter[0].numel() for parameter in self.parameters]
        self.steps = 0

    @abstractmethod
    def change(self, gradient: Flat) -> Flat:
        """Δ for this step's gradient, which may be written over."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold, each (R, elements)."""

    def zeros(self) -> Flat:
        """A new array as large as all parameters."""
        return torch.zeros(len(self.learning_rate), sum(self.sizes), device=self.learning_rate.device)

    def load_state(self, state: dict[str, Tensor], steps: int) -> None:
        """Go on from :meth:`state`, taken after ``steps`` steps."""
        for name, value in self.state().items():
            value.copy_(state[name])
        self.steps = steps

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the gradients at hand; a parameter without a gradient counts as one with zero."""
        gradient = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten(1) for p in self.parameters], 1
        )
        self.steps += 1
        change = self.change(self._clipped(gradient)) * self.learning_rate
        keep = 1 - self.learning_rate * self.weight_decay
        for parameter, part in zip(self.parameters, change.split(self.sizes, 1), strict=True):
            if self.decays:
                parameter.mul_(keep.view(-1, *[1] * (parameter.dim() - 1)))
            parameter.sub_(part.view_as(parameter))

    def _clipped(self, gradient: Flat) -> Flat:
        if self.clip_value is not None:
            gradient = gradient.clamp_(-self.clip_value, self.clip_value)
        if self.clip_norm is not None:
            norm = gradient.square().sum(1, keepdim=True).sqrt()
            gradient = gradient * (self.clip_norm / norm.clamp_min(self.clip_norm))
        return gradient


class Adam(Optimiser):
    """Adam [Kingma, Ba 2015, algorithm 1], with g the gradient at step t.

        m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
        Δ = (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

    Args:
        parameters: as of every optimiser, and so are the others that are not named here.
        betas: β₁, β₂.
        epsilon: ε.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: Float[Tensor, " runs"],
        weight_decay: Float[Tensor, " runs"],
        betas: tuple[float, float],
        epsilon: float,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(
            parameters,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )
        self.betas, self.epsilon = betas, epsilon
        self.first_moment, self.second_moment = self.zeros(), self.zeros()

    def change(self, gradient: Flat) -> Flat:
        """Δ for this step's gradient."""
        first, second = self.betas
        self.first_moment.mul_(first).add_(gradient * (1 - first))
        self.second_moment.mul_(second).add_(gradient.square_().mul_(1 - second))
        scale = (self.second_moment / (1 - second**self.steps)).sqrt_().add_(self.epsilon)
        return self.first_moment / (1 - first**self.steps) / scale

    def state(self) -> dict[str, Tensor]:
        """Both moments."""
        return {"first_moment": self.first_moment, "second_moment": self.second_moment}


class RMSprop(Optimiser):
    """RMSprop with momentum, as PyTorch's [Hinton, Srivastava, Swersky 2012, lecture 6e], with g the gradient.

        v ← α v + (1 − α) g²        b ← μ b + g / (√v + ε)        Δ = b

    Deviates: the learning rate multiplies b when it is added, not when it is summed up; both are the same as long as
    the rate is constant.

    Args:
        parameters: as of every optimiser, and so are the others that are not named here.
        alpha: α.
        momentum: μ.
        epsilon: ε.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: Float[Tensor, " runs"],
        weight_decay: Float[Tensor, " runs"],
        alpha: float,
        momentum: float,
        epsilon: float,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(
            parameters,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )
        self.alpha, self.momentum, self.epsilon = alpha, momentum, epsilon
        self.squares, self.buffer = self.zeros(), self.zeros()

    def change(self, gradient: Flat) -> Flat:
        """Δ for this step's gradient."""
        self.squares.mul_(self.alpha).add_(gradient.square().mul_(1 - self.alpha))
        self.buffer.mul_(self.momentum).add_(gradient / self.squares.sqrt().add_(self.epsilon))
        return self.buffer.clone()

    def state(self) -> dict[str, Tensor]:
        """Mean squares, and what momentum has gathered."""
        return {"squares": self.squares, "buffer": self.buffer}


def build_optimiser(
    parameters: Iterable[nn.Parameter], training: Training, hyper: dict[str, Shaped[Tensor, " runs"]]
) -> Optimiser:
    """The optimiser that a run's training asks for.

    Args:
        parameters: each (R, …).
        training: what the runs of the pack have in common.
        hyper: ``learning_rate`` and ``weight_decay`` of each run.
    """
    common: dict[str, Any] = {
        "learning_rate": hyper["learning_rate"],
        "weight_decay": hyper["weight_decay"],
        "epsilon": training.epsilon,
        "clip_norm": training.clip_norm,
        "clip_value": training.clip_value,
    }
    if training.optimiser == "rmsprop":
        return RMSprop(parameters, alpha=training.alpha, momentum=training.momentum, **common)
    return Adam(parameters, betas=(training.beta1, training.beta2), **common)
