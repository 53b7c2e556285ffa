"""The informed floor of a task: the score of its informed guess on fresh examples like the test split, and by slice."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from palimpsest.tasks import Examples, Task, TaskConfig

MOST_TOKENS = 5_000_000
"""Tokens of the fresh examples, at most: that many take 40 MB."""
MOST_EXAMPLES = 50_000


def scores_of(
    config: TaskConfig, guess: Int[Tensor, "examples asked"], targets: Int[Tensor, "examples asked"]
) -> Float[Tensor, " examples"]:
    """Score of a guess in each example, as the task's main metric: the mean over its asked steps of what is right.

    Args:
        config: the task's parameters.
        guess: answers.
        targets: the right ones, −1 where nothing is asked.
    """
    asked = targets >= 0
    right = config.share_right(guess, targets) * asked
    return right.sum(1) / asked.sum(1).clamp_min(1)


def informed_floor(module: Task, config: TaskConfig, test: Examples, seed: int) -> dict[str, Any]:
    """Simulate the informed floor of a test split.

    Fresh examples are drawn like the test split; examples of each slice weigh as much as in it. Where the task has no
    informed guess, or its examples cannot be drawn, the floor is chance.

    Args:
        module: the task.
        config: its parameters.
        test: the test split.
        seed: of the data set; fresh examples have the next one.

    Returns:
        ``floor``; ``floors_by_slice``, slice → floor, empty where the split has no slices or the floor is chance; and
        ``floor_simulated``, ``standard_error`` and ``examples`` of the simulation, or ``None``.
    """
    chance = {"floor": module.chance(config), "floors_by_slice": {}, "floor_simulated": None}
    if not config.generated:
        return chance
    fresh = _fresh(config, test, seed + 1)
    guess = module.informed_guess(config, fresh.inputs)
    if guess is None:
        return chance
    scores = scores_of(config, guess.expand(fresh.targets.shape), fresh.targets).double()
    floor, variance, by_slice = 0.0, 0.0, {}
    for kind, share in _shares(test).items():
        part = scores if kind is None else scores[fresh.extras["slice"] == kind]
        floor += share * part.mean().item()
        variance += share**2 * part.var(correction=0).item() / len(part)
        if kind is not None:
            by_slice[str(kind)] = part.mean().item()
    simulated = {"standard_error": variance**0.5, "examples": len(scores)}
    return {"floor": floor, "floors_by_slice": by_slice, "floor_simulated": simulated}


def scored_answers(config: TaskConfig, test: Examples) -> int:
    """Answers of a split that are right or wrong by themselves: its asked steps, times the bits of an answer."""
    return int((test.targets >= 0).sum()) * config.scored_parts()


def _fresh(config: TaskConfig, test: Examples, seed: int) -> Examples:
    """As many examples as the limits allow, drawn like the test split."""
    slices = len(_shares(test))
    size = max(slices, min(MOST_EXAMPLES, MOST_TOKENS // test.inputs.shape[1]))
    sizes = {"num_train": 2, "num_validation": 2, "num_test": size}
    return config.model_copy(update=sizes).build(seed).test


def _shares(test: Examples) -> dict[int | None, float]:
    """Share of each slice in a split; one share of all of it where it has no slices."""
    if "slice" not in test.extras:
        return {None: 1.0}
    kinds, counts = torch.unique(test.extras["slice"], return_counts=True)
    return {int(kind): int(count) / len(test.targets) for kind, count in zip(kinds, counts, strict=True)}
