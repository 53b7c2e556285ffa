"""Adam for packs against PyTorch's, one run at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from palimpsest.training.optimiser import Adam

RATES, DECAYS = (0.1, 0.01, 0.003), (0.0, 0.1, 0.5)


def gradients(step: int) -> list[torch.Tensor]:
    """The same for every caller."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(3, 4, 2, generator=generator), torch.randn(3, 5, generator=generator)]


def start() -> list[nn.Parameter]:
    """Two parameters of three runs."""
    generator = torch.Generator().manual_seed(99)
    shapes = ((3, 4, 2), (3, 5))
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in shapes]


def packed(clip_norm: float | None) -> Adam:
    """The optimiser under test."""
    return Adam(
        start(),
        learning_rate=torch.tensor(RATES),
        weight_decay=torch.tensor(DECAYS),
        betas=(0.9, 0.99),
        epsilon=1e-8,
        clip_norm=clip_norm,
    )


@pytest.mark.parametrize("clip_norm", [None, 0.7])
def test_every_run_takes_the_steps_of_pytorchs_adamw(clip_norm: float | None) -> None:
    ours = packed(clip_norm)
    alone = []
    for run in range(3):
        parameters = [nn.Parameter(p[run].detach().clone()) for p in ours.parameters]
        alone.append(torch.optim.AdamW(parameters, lr=RATES[run], betas=(0.9, 0.99), weight_decay=DECAYS[run]))
    for step in range(8):
        for parameter, gradient in zip(ours.parameters, gradients(step), strict=True):
            parameter.grad = gradient.clone()
        ours.step()
        for run, optimiser in enumerate(alone):
            group = optimiser.param_groups[0]["params"]
            for parameter, gradient in zip(group, gradients(step), strict=True):
                parameter.grad = gradient[run].clone()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(group, clip_norm)
            optimiser.step()
    for run, optimiser in enumerate(alone):
        for mine, theirs in zip(ours.parameters, optimiser.param_groups[0]["params"], strict=True):
            torch.testing.assert_close(mine[run], theirs, rtol=1e-4, atol=1e-5)


def test_a_parameter_without_a_gradient_stays() -> None:
    ours = packed(None)
    ours.weight_decay.zero_()
    before = ours.parameters[1].detach().clone()
    ours.parameters[0].grad = gradients(0)[0]
    ours.step()
    assert torch.equal(ours.parameters[1], before)


def test_a_run_with_nan_does_not_touch_the_others() -> None:
    clean, dirty = packed(1.0), packed(1.0)
    for step in range(3):
        for optimiser in (clean, dirty):
            for parameter, gradient in zip(optimiser.parameters, gradients(step), strict=True):
                parameter.grad = gradient.clone()
        dirty.parameters[0].grad[1] = torch.nan
        clean.step()
        dirty.step()
    for one, other in zip(clean.parameters, dirty.parameters, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
    assert dirty.parameters[0][1].isnan().all()
