"""Scores of targets alone, for tests that have no examples around them."""

from __future__ import annotations

from torch import Tensor

from palimpsest.tasks import Examples, Scores
from palimpsest.tasks.shared import bits, classes

SCORES = {"class": classes.score_once, "classes": classes.score, "bits": bits.score}
"""Each kind of score that tasks share."""


def about(targets: Tensor) -> Examples:
    """Examples of which nothing but the targets is known."""
    return Examples(targets, targets, {})


def scores(logits: Tensor, targets: Tensor, kind: str) -> Scores:
    """Scores of one kind."""
    return SCORES[kind](logits, about(targets))


def mean_loss(logits: Tensor, targets: Tensor, kind: str = "class") -> Tensor:
    """Mean loss of each run, in nats."""
    return scores(logits, targets, kind)["loss"].mean(1)
