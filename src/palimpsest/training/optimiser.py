"""Adam for packs: one optimiser for all runs, each with its own learning rate, decay and clipping."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Adam:
    """Adam with decoupled weight decay, on parameters whose first axis counts the runs.

        m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
        θ ← θ − η_r δ_r θ − η_r (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

    [Kingma, Ba 2015, algorithm 1; Loshchilov, Hutter 2019, algorithm 2]. PyTorch's own Adam takes one learning rate
    for all; its fused variant, besides, rounds an element differently according to its place in memory, so that a run
    would depend on its company.

    Args:
        parameters: each (R, …).
        learning_rate: η, (R,).
        weight_decay: δ, (R,).
        betas: β₁, β₂.
        epsilon: ε.
        clip_norm: largest L2 norm of one run's gradient over all parameters; ``None``: not clipped.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: Float[Tensor, " runs"],
        weight_decay: Float[Tensor, " runs"],
        betas: tuple[float, float],
        epsilon: float,
        clip_norm: float | None,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = learning_rate[:, None], weight_decay[:, None]
        self.decays = bool(weight_decay.any())  # looked at once, here, where waiting for a device costs nothing
        self.betas, self.epsilon, self.clip_norm = betas, epsilon, clip_norm
        self.sizes = [parameter[0].numel() for parameter in self.parameters]
        size = (len(learning_rate), sum(self.sizes))
        self.first_moment = torch.zeros(size, device=learning_rate.device)
        self.second_moment = torch.zeros(size, device=learning_rate.device)
        self.steps = 0

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
        if self.clip_norm is not None:
            norm = gradient.square().sum(1, keepdim=True).sqrt()
            gradient = gradient * (self.clip_norm / norm.clamp_min(self.clip_norm))
        self.steps += 1
        first, second = self.betas
        self.first_moment.mul_(first).add_(gradient * (1 - first))
        self.second_moment.mul_(second).add_(gradient.square_().mul_(1 - second))
        scale = (self.second_moment / (1 - second**self.steps)).sqrt_().add_(self.epsilon)
        change = self.first_moment / (1 - first**self.steps) / scale * self.learning_rate
        keep = 1 - self.learning_rate * self.weight_decay
        for parameter, part in zip(self.parameters, change.split(self.sizes, 1), strict=True):
            if self.decays:
                parameter.mul_(keep.view(-1, *[1] * (parameter.dim() - 1)))
            parameter.sub_(part.view_as(parameter))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return {"first_moment": self.first_moment, "second_moment": self.second_moment}

    def load_state(self, state: dict[str, Tensor], steps: int) -> None:
        """Go on from :meth:`state`, taken after ``steps`` steps."""
        self.first_moment.copy_(state["first_moment"])
        self.second_moment.copy_(state["second_moment"])
        self.steps = steps
