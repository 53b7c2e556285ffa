"""Multi-query associative recall: a stream has pairs of tokens, and all pairs are asked later [Arora et al. 2023].

First come P pairs of a key and a value. All keys of a stream are different, and all values. Every key then appears once
more, and its value is the target at the same step. With tokens 1–3 for keys, 4–7 for values and P = 2::

    step      0   1   2   3   4   5   6   7   8   9   10  11
    token     2   7   1   4   .   .   1   .   .   .   2   .
    target    -   -   -   -   -   -   4   -   -   -   7   -
              pairs           queries

A query stands an even number 2 g of steps behind the pairs; its gap g is in 0 … S − 1 with S = (T − 2 P)/2. Gaps are
drawn one after the other without replacement, with probabilities proportional to (g + 1)^(power − 1) among the
remaining ones. Most gaps are short, like the distances of repeated words in text. Tokens between queries are blank, or
random values.

The size of a stream is the number of its setting (tokens T and pairs P), counted from 1. ``slice`` is P.

Deviates: in the authors' generator, random tokens between queries may be keys. A key of the stream would then be a
query whose answer is not scored. Here these tokens are values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import classes
from palimpsest.tasks.shared.sequences import Part, StreamConfig, check_tested, distinct, parts

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score, classes.record, classes.picture
BLANK = 0
Setting = tuple[Annotated[int, Field(ge=4, le=4096)], Annotated[int, Field(ge=1, le=1024)]]
"""Tokens T of a stream, and its pairs P."""


class Config(StreamConfig):
    """Parameters of the task; its tokens are the blank, vocabulary/2 − 1 keys and vocabulary/2 values, in this order.

    Arora et al. have 8192 tokens and train for each of [64, 4], [128, 8], [256, 16] and [512, 64] by itself, on 100,000
    examples, with blanks between queries and a power of 0.01.
    """

    vocabulary: int = Field(64, ge=4, le=2**20, description="tokens: blank, keys and values; even")
    train_settings: tuple[Setting, ...] = Field(
        ((16, 2), (32, 4)), description="[tokens, pairs] of streams in training, in curriculum order"
    )
    test_settings: tuple[Setting, ...] = Field(
        ((16, 2), (32, 4), (64, 8)), description="[tokens, pairs] in the test split, each number once"
    )
    power: float = Field(0.01, gt=0, le=1, description="a of the gaps' law g^(a - 1); 1: all gaps are as likely")
    filler: Literal["blank", "values"] = Field("blank", description="tokens between queries: blank, or random values")

    @model_validator(mode="after")
    def _streams_have_room(self) -> Config:
        if self.vocabulary % 2:
            raise ValueError(f"vocabulary {self.vocabulary} is odd; allowed: an even number")
        if not self.train_settings:
            raise ValueError("train_settings is empty; allowed: at least one [tokens, pairs]")
        keys = self.vocabulary // 2 - 1
        for tokens, pairs in self.settings:
            if tokens % 2 or 4 * pairs > tokens:
                raise ValueError(
                    f"[{tokens}, {pairs}] has no room; allowed: an even number of tokens, 4 a pair or more"
                )
            if pairs > keys:
                raise ValueError(f"{pairs} pairs of [{tokens}, {pairs}] are more than there are keys; allowed: {keys}")
        if self.curriculum_start > len(self.train_settings):
            raise ValueError(
                f"curriculum_start {self.curriculum_start} counts settings of training; "
                f"allowed: 1 to {len(self.train_settings)}"
            )
        check_tested(self, [pairs for _, pairs in self.test_settings])
        return self

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Those of training, then those of the test."""
        return self.train_settings + self.test_settings

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, and that its outputs are tokens."""
        return {
            "num_tokens": self.vocabulary,
            "num_outputs": self.vocabulary,
            "sequence_length": max(tokens for tokens, _ in self.settings),
            "code": "learned",
            "code_bits": 0,
            "code_levels": 0,
        }

    def trained(self, size: int) -> bool:
        """Whether training, at its end, has sequences of a size."""
        return size in {pairs for _, pairs in self.train_settings}

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _draw(config: Config, part: Part) -> Examples:
    training, testing = len(config.train_settings), len(config.test_settings)
    which = part.sizes(1, training, range(training + 1, training + testing + 1)) - 1
    time = max(tokens for tokens, _ in (config.test_settings if part.is_test else config.train_settings))
    inputs = torch.full((len(which), time), BLANK)
    targets = torch.full_like(inputs, -1)
    for number in which.unique().tolist():
        rows = which == number
        tokens, pairs = config.settings[number]
        inputs[rows, :tokens], targets[rows, :tokens] = _streams(config, int(rows.sum()), tokens, pairs, part.generator)
    tokens, pairs = torch.tensor(config.settings)[which].unbind(1)
    return Examples(inputs, targets, {"length": tokens, "group": part.group, "slice": pairs})


def _streams(config: Config, count: int, tokens: int, pairs: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Inputs and targets of one setting, (count, tokens)."""
    half = config.vocabulary // 2
    keys = 1 + distinct(count, pairs, half - 1, generator)
    values = half + distinct(count, pairs, half, generator)
    inputs = torch.full((count, tokens), BLANK)
    if config.filler == "values":
        inputs = half + torch.randint(half, (count, tokens), generator=generator)
    inputs[:, : 2 * pairs] = torch.stack([keys, values], 2).flatten(1)
    place = 2 * pairs + 2 * _gaps(count, pairs, (tokens - 2 * pairs) // 2, config.power, generator)
    return inputs.scatter(1, place, keys), torch.full_like(inputs, -1).scatter(1, place, values)


def _gaps(count: int, pairs: int, space: int, power: float, generator: Generator) -> Int[Tensor, "count pairs"]:
    """Gaps below ``space``, drawn one after the other without replacement with weights (g + 1)^(power − 1).

    A clock of rate w rings first with a probability proportional to w, and then the next of those that are left: the
    order in which exponential clocks ring is such a draw [Efraimidis and Spirakis 2006].
    """
    weights = torch.arange(1, space + 1, dtype=torch.float64) ** (power - 1)
    rings = -torch.log1p(-torch.rand(count, space, dtype=torch.float64, generator=generator)) / weights
    return rings.argsort(1)[:, :pairs]


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one over the number of values, which are equally likely.

    A guess that knows the values of a stream but not their keys is right with probability 1/P.
    """
    return 2 / config.vocabulary


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """The first value that was shown, at every step, (examples, time): right with probability 1/P of P pairs.

    It does not know which value belongs to which key. Any other value of the pairs is right as often.
    """
    del config
    return inputs[:, 1:2].expand(inputs.shape)


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: 1, as keys differ and every value stands behind its key."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Return the outputs of a best predictor, (examples, time); −1 at steps that are not scored.

    A key that appears for the second time is a query. The token after its first place is the answer.
    """
    places = inputs.argsort(dim=1, stable=True)  # equal tokens side by side, in the order in which they come
    sorted_tokens = inputs.gather(1, places)
    token, first, second = sorted_tokens[:, 1:], places[:, :-1], places[:, 1:]
    asked = (token == sorted_tokens[:, :-1]) & (token > BLANK) & (token < config.vocabulary // 2)
    answers = inputs.gather(1, (first + 1).clamp_max(inputs.shape[1] - 1)).where(asked, -1)
    return torch.full_like(inputs, -1).scatter(1, second, answers)
