"""Optimisers for packs against PyTorch's and against plain loops, one run at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from palimpsest.planning.parameters import Training
from palimpsest.training.optimiser import Adam, Optimiser, RMSprop, build_optimiser

RATES, DECAYS = (0.1, 0.01, 0.003), (0.0, 0.1, 0.5)
Clips = dict[str, Any]


def gradients(step: int) -> list[torch.Tensor]:
    """The same for every caller."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(3, 4, 2, generator=generator), torch.randn(3, 5, generator=generator)]


def start() -> list[nn.Parameter]:
    """Two parameters of three runs."""
    generator = torch.Generator().manual_seed(99)
    shapes = ((3, 4, 2), (3, 5))
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in shapes]


def packed(kind: type[Optimiser] = Adam, **changes: Any) -> Any:
    """The optimiser under test."""
    own = {"betas": (0.9, 0.99)} if kind is Adam else {"alpha": 0.95, "momentum": 0.9}
    rates = {"learning_rate": torch.tensor(RATES), "weight_decay": torch.tensor(DECAYS)}
    return kind(start(), **{"epsilon": 1e-8, **rates, **own, **changes})


def take_step(optimiser: Optimiser, step: int) -> None:
    """A step with the gradients of that step."""
    for parameter, gradient in zip(optimiser.parameters, gradients(step), strict=True):
        parameter.grad = gradient.clone()
    optimiser.step()


def take_step_alone(optimiser: torch.optim.Optimizer, run: int, step: int, clips: Clips) -> None:
    """The same with PyTorch's own for one run."""
    group = optimiser.param_groups[0]["params"]
    for parameter, gradient in zip(group, gradients(step), strict=True):
        parameter.grad = gradient[run].clone()
    if clips.get("clip_value") is not None:
        nn.utils.clip_grad_value_(group, clips["clip_value"])
    if clips.get("clip_norm") is not None:
        nn.utils.clip_grad_norm_(group, clips["clip_norm"])
    optimiser.step()


def assert_runs_go_where_pytorchs_go(ours: Optimiser, alone: list[torch.optim.Optimizer], clips: Clips) -> None:
    """Eight steps of the pack and of every run by itself."""
    for step in range(8):
        take_step(ours, step)
        for run, optimiser in enumerate(alone):
            take_step_alone(optimiser, run, step, clips)
    for run, optimiser in enumerate(alone):
        for mine, theirs in zip(ours.parameters, optimiser.param_groups[0]["params"], strict=True):
            torch.testing.assert_close(mine[run], theirs, rtol=1e-4, atol=1e-5)


def parameters_of(ours: Optimiser, run: int) -> list[nn.Parameter]:
    """One run's parameters, as PyTorch has them."""
    return [nn.Parameter(parameter[run].detach().clone()) for parameter in ours.parameters]


CLIPS: list[Clips] = [{}, {"clip_norm": 0.7}, {"clip_value": 0.4}, {"clip_norm": 0.7, "clip_value": 0.4}]


@pytest.mark.parametrize("clips", CLIPS)
def test_every_run_takes_the_steps_of_pytorchs_adamw(clips: Clips) -> None:
    ours = packed(**clips)
    alone: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(parameters_of(ours, run), lr=RATES[run], betas=(0.9, 0.99), weight_decay=DECAYS[run])
        for run in range(3)
    ]
    assert_runs_go_where_pytorchs_go(ours, alone, clips)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("clips", CLIPS)
def test_every_run_takes_the_steps_of_pytorchs_rmsprop(momentum: float, clips: Clips) -> None:
    ours = packed(RMSprop, momentum=momentum, weight_decay=torch.zeros(3), **clips)
    alone: list[torch.optim.Optimizer] = [
        torch.optim.RMSprop(parameters_of(ours, run), lr=RATES[run], alpha=0.95, momentum=momentum) for run in range(3)
    ]
    assert_runs_go_where_pytorchs_go(ours, alone, clips)


@pytest.mark.parametrize("clips", CLIPS)
def test_rmsprop_with_decay_follows_its_equations_element_by_element(clips: Clips) -> None:
    """In float64: clip values, then the norm; v, b and θ as written; decay is no part of the gradient."""
    ours = packed(RMSprop, **clips)
    weights = [np.concatenate([p[run].detach().double().numpy().ravel() for p in ours.parameters]) for run in range(3)]
    squares, buffers = (np.zeros_like(weights) for _ in range(2))
    for step in range(5):
        take_step(ours, step)
        for run in range(3):
            g = np.concatenate([gradient[run].double().numpy().ravel() for gradient in gradients(step)])
            if clips.get("clip_value") is not None:
                g = np.array([max(-0.4, min(0.4, element)) for element in g])
            if clips.get("clip_norm") is not None:
                g = g * min(1.0, 0.7 / sum(element * element for element in g) ** 0.5)
            for i, element in enumerate(g):
                squares[run][i] = 0.95 * squares[run][i] + 0.05 * element * element
                buffers[run][i] = 0.9 * buffers[run][i] + element / (squares[run][i] ** 0.5 + 1e-8)
                weights[run][i] -= RATES[run] * DECAYS[run] * weights[run][i] + RATES[run] * buffers[run][i]
    for run in range(3):
        found = np.concatenate([p[run].detach().double().numpy().ravel() for p in ours.parameters])
        np.testing.assert_allclose(found, weights[run], rtol=1e-4, atol=1e-5)


KINDS = pytest.mark.parametrize("kind", [Adam, RMSprop])


@KINDS
def test_a_parameter_without_a_gradient_stays(kind: type[Optimiser]) -> None:
    ours = packed(kind, weight_decay=torch.zeros(3))
    before = ours.parameters[1].detach().clone()
    ours.parameters[0].grad = gradients(0)[0]
    ours.step()
    assert torch.equal(ours.parameters[1], before)


@KINDS
def test_forgotten_gradients_move_nothing_at_first(kind: type[Optimiser]) -> None:
    ours = packed(kind, weight_decay=torch.zeros(3))
    ours.parameters[0].grad, ours.parameters[1].grad = gradients(0)
    ours.zero_grad()
    before = [parameter.detach().clone() for parameter in ours.parameters]
    ours.step()
    assert all(torch.equal(one, other) for one, other in zip(before, ours.parameters, strict=True))


@KINDS
@pytest.mark.parametrize("clips", CLIPS[1:])
def test_a_run_with_nan_does_not_touch_the_others(kind: type[Optimiser], clips: Clips) -> None:
    clean, dirty = packed(kind, **clips), packed(kind, **clips)
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


@KINDS
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(kind: type[Optimiser]) -> None:
    pack = packed(kind, clip_norm=0.7, clip_value=0.4)
    alone = packed(
        kind,
        learning_rate=torch.tensor(RATES[1:2]),
        weight_decay=torch.tensor(DECAYS[1:2]),
        clip_norm=0.7,
        clip_value=0.4,
    )
    alone.parameters = [nn.Parameter(parameter[1:2].detach().clone()) for parameter in alone.parameters]
    for step in range(5):
        take_step(pack, step)
        for parameter, gradient in zip(alone.parameters, gradients(step), strict=True):
            parameter.grad = gradient[1:2].clone()
        alone.step()
    for one, other in zip(pack.parameters, alone.parameters, strict=True):
        assert torch.equal(one[1], other[0])


@KINDS
def test_an_optimiser_goes_on_from_its_state_as_if_it_had_never_stopped(kind: type[Optimiser]) -> None:
    whole = packed(kind)
    for step in range(4):
        take_step(whole, step)
    saved = {name: value.clone() for name, value in whole.state().items()}
    second = packed(kind)
    for parameter, known in zip(second.parameters, whole.parameters, strict=True):
        parameter.data.copy_(known)
    second.load_state(saved, whole.steps)
    for step in range(4, 7):
        take_step(whole, step)
        take_step(second, step)
    assert second.steps == 7
    for one, other in zip(whole.parameters, second.parameters, strict=True):
        assert torch.equal(one, other)
    for name, value in whole.state().items():
        assert value.shape == (3, 13), name
        assert torch.equal(value, second.state()[name]), name


def test_a_state_that_lacks_a_part_is_refused() -> None:
    ours = packed(RMSprop)
    with pytest.raises(KeyError, match="buffer"):
        ours.load_state({"squares": ours.squares}, 3)


HYPER = {"learning_rate": torch.tensor(RATES), "weight_decay": torch.tensor(DECAYS), "mem_lambda": torch.zeros(3)}


def test_the_optimiser_that_a_training_asks_for_has_all_its_parameters() -> None:
    asked = {
        "optimiser": "rmsprop",
        "alpha": 0.95,
        "momentum": 0.9,
        "epsilon": 1e-4,
        "clip_norm": 5.0,
        "clip_value": 10.0,
    }
    found = build_optimiser(start(), Training.model_validate(asked), HYPER)
    assert isinstance(found, RMSprop)
    assert (found.alpha, found.momentum, found.epsilon) == (0.95, 0.9, 1e-4)
    assert (found.clip_norm, found.clip_value) == (5.0, 10.0)
    assert found.learning_rate[:, 0].tolist() == torch.tensor(RATES).tolist()
    assert found.weight_decay[:, 0].tolist() == torch.tensor(DECAYS).tolist()


def test_adam_is_what_a_training_asks_for_by_default() -> None:
    asked = Training.model_validate({"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6})
    found = build_optimiser(start(), asked, HYPER)
    assert isinstance(found, Adam)
    assert (found.betas, found.epsilon) == ((0.8, 0.95), 1e-6)
    assert (found.clip_norm, found.clip_value) == (None, None)
