"""Answers that are classes, a logit a class: their scores, what a trace keeps of them, and how they are drawn."""

from __future__ import annotations

from typing import Any

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
