"""Answers that are classes, a logit a class: their scores, informed guess, what a trace keeps, how they are drawn."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from palimpsest.foundation.tensors import narrowed
from palimpsest.tasks import Array, Examples, Metric, Scores
from palimpsest.tasks.shared.scoring import cross_entropy, over_asked_steps

METRIC = Metric("accuracy", "accuracy")
RECORD = "prediction"
"""Field of the trace that :func:`record` fills."""


def score(logits: Float[Tensor, "runs batch steps classes"], examples: Examples) -> Scores:
    """``loss`` (cross-entropy, nats), ``accuracy`` and ``sequence_accuracy`` over the asked steps of each example.

    Args:
        logits: of every class at every step.
        examples: their targets are classes, (R, B, Q), −1 where nothing is asked.
    """
    asked, known = examples.targets >= 0, examples.targets.clamp_min(0)
    right = (logits.detach().argmax(-1) == known).to(logits.dtype)
    return over_asked_steps(cross_entropy(logits, known), right, asked)


def score_once(logits: Float[Tensor, "runs batch 1 classes"], examples: Examples) -> Scores:
    """:func:`score` of examples with a single asked step, of which ``sequence_accuracy`` would be the accuracy."""
    return {name: value for name, value in score(logits, examples).items() if name != "sequence_accuracy"}


def most_frequent(
    answers: Int[Tensor, "examples shown"], weights: Float[Tensor, "*examples shown"], classes: int
) -> Int[Tensor, "examples 1"]:
    """The class of each example whose occurrences have the largest sum of weights; of equal ones, the smallest.

    Args:
        answers: classes that were shown, each below ``classes``.
        weights: of each, 0 or more.
        classes: how many there are.
    """
    counts = torch.zeros(len(answers), classes, dtype=weights.dtype)
    return counts.scatter_add(1, answers, weights.expand(answers.shape)).argmax(1, keepdim=True)


def record(logits: Float[Tensor, "runs batch steps classes"]) -> dict[str, Tensor]:
    """The class of the largest logit."""
    return {RECORD: narrowed(logits.argmax(-1), 0, logits.shape[-1] - 1)}


def picture(config: Any, tokens: Int[Array, " steps"], targets: Int[Array, " asked"]) -> dict[str, Array]:
    """One example as lines of channels, each (steps, 1): the tokens, and the classes that are right where asked.

    Args:
        config: the task's parameters.
        tokens: of the example.
        targets: the right answers at the asked steps.
    """
    del config
    return {"input": tokens[:, None], "target": targets[:, None]}
