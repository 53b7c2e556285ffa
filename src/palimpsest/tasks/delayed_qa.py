"""Delayed question answering: name a digit that stood early in a sequence (source 000).

``question: none`` is the task as published: no token marks the digit that is meant, and CLS is the digit 0 in front::

    position   0    1  2  3  …  31   32 … 63
    token      0    7  3  1  …   4    9 …  2        target: the digit at one position of 1 … 31

``question: flag`` asks for the digit that carries a flag in its own token (10 + digit); CLS comes last, so that the
question is asked in the last segment, out of sight of the answer for every window shorter than T/2::

    position   0  1  2   …  31  32 … 62   63
    token      7  3  11  …   4   9 …  2  CLS        target: 1, the flagged digit

``question: marker`` puts the flag into the token before the digit, so that finding the answer takes context::

    token      7  3  MARK 1  …   9 …  2  CLS        target: 1, the digit after the marker
"""

from __future__ import annotations

from fractions import Fraction
from math import comb
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits, TaskConfig, drawn
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score_once, classes.record, classes.picture


class Config(TaskConfig):
    """Parameters of the task; the answer stands at a uniformly drawn position of 1 … sequence_length/2 − 1."""

    extras: ClassVar[tuple[str, ...]] = ("answer_position",)

    sequence_length: int = Field(64, ge=8, le=4096, description="tokens T, CLS included; even")
    num_digits: int = Field(10, ge=2, le=100, description="size of the alphabet of digits")
    question: Literal["none", "flag", "marker"] = Field("none", description="how the asked digit is marked")
    num_train: int = Field(5000, ge=2, description="training examples")
    num_validation: int = Field(1000, ge=2, description="examples on which choices are made")
    num_test: int = Field(1000, ge=2, description="examples that are looked at once, at the end")

    @model_validator(mode="after")
    def _length_is_even(self) -> Config:
        if self.sequence_length % 2:
            raise ValueError(f"sequence_length {self.sequence_length} is odd; allowed: an even number")
        return self

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: sizes of its input and output, and where CLS stands."""
        return {
            "num_tokens": {"none": 0, "flag": self.num_digits + 1, "marker": 2}[self.question] + self.num_digits,
            "num_outputs": self.num_digits,
            "sequence_length": self.sequence_length,
            "asked": [self.sequence_length - 1],
            "cls_position": 0 if self.question == "none" else self.sequence_length - 1,
        }

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return drawn(self, seed, _draw)


def _draw(config: Config, size: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    length, digits = config.sequence_length, config.num_digits
    inputs = torch.randint(digits, (size, length), generator=generator)
    position = torch.randint(1, length // 2, (size,), generator=generator)
    rows = torch.arange(size)
    targets = inputs[rows, position]
    if config.question == "none":
        inputs[:, 0] = 0  # CLS is a digit like any other: the source's choice
        targets = inputs[rows, position]
    elif config.question == "flag":
        inputs[rows, position] += digits
        inputs[:, -1] = 2 * digits
    else:
        inputs[rows, position - 1] = digits
        inputs[:, -1] = digits + 1
    return Examples(inputs, targets[:, None], {"answer_position": position})


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one over the number of digits."""
    return 1 / config.num_digits


def informed_guess(config: Config, inputs: Tensor) -> Tensor | None:
    """With a question, the most frequent digit of where it may stand, (examples, 1); its mark is not looked at.

    Without a question, that digit is the best answer of all (:func:`best_guess`), so that the memory's work is to keep
    early digits at all. The late ones, which are there without it, say nothing about the answer: ``None``, the floor
    is chance.
    """
    if config.question == "none":
        return None
    early = inputs[:, 1 : config.sequence_length // 2]
    is_digit = (early != config.num_digits).double() if config.question == "marker" else torch.ones(early.shape)
    return classes.most_frequent(early % config.num_digits, is_digit, config.num_digits)


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach.

    With a question the answer is in the input: 1. Without one, the position is uniform over m = T/2 − 1 places, so
    the best guess is the most frequent digit among them, right with probability E[max_d n_d] / m, where
    (n_1 … n_k) is multinomial. The expectation is computed exactly:

        P(max_d n_d ≤ c) = (m! / k^m) · [x^m] (Σ_{j≤c} x^j / j!)^k
    """
    if config.question != "none":
        return 1.0
    places, digits = config.sequence_length // 2 - 1, config.num_digits
    # E[max] = Σ_{c=0}^{m-1} P(max > c)
    expectation = sum(1 - _probability_that_no_count_exceeds(limit, places, digits) for limit in range(places))
    return float(expectation / places)


def _probability_that_no_count_exceeds(limit: int, places: int, digits: int) -> Fraction:
    """Number of words of length ``places`` in which no digit occurs more than ``limit`` times, over all words."""
    words = [1] + [0] * places  # words[m]: words of length m over the digits treated so far
    for _ in range(digits):
        words = [
            sum(comb(length, count) * words[length - count] for count in range(min(limit, length) + 1))
            for length in range(places + 1)
        ]
    return Fraction(words[places], digits**places)


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Answers of a best predictor, (examples, 1): its accuracy simulates :func:`ceiling`."""
    if config.question == "flag":
        return inputs.gather(1, _place(inputs >= config.num_digits)) - config.num_digits
    if config.question == "marker":
        return inputs.gather(1, _place(inputs == config.num_digits) + 1)
    early = inputs[:, 1 : config.sequence_length // 2]
    return torch.nn.functional.one_hot(early, config.num_digits).sum(1).argmax(1, keepdim=True)


def _place(where: Tensor) -> Tensor:
    """First position of each row at which ``where`` is true, (examples, 1)."""
    return where.int().argmax(1, keepdim=True)
