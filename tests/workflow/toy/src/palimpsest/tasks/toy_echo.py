"""Echo: a token, some blanks, and at the last step the token is asked for.

With four tokens and a length of five::

    step      0   1   2   3   4
    token     3   .   .   .   .
    target    -   -   -   -   3
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import classes
from palimpsest.tasks.shared.sequences import Part, StreamConfig, check_tested, parts

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score, classes.record, classes.picture
BLANK = 0


class Config(StreamConfig):
    """Parameters of the task; its tokens are the blank and 1 … ``vocabulary`` − 1."""

    vocabulary: int = Field(5, ge=2, le=100, description="tokens, blank included")
    length: int = Field(4, ge=2, le=100, description="most tokens of a sequence in training")
    test_lengths: tuple[int, ...] = Field((4, 6), description="numbers of tokens in the test split")

    @model_validator(mode="after")
    def _something_is_tested(self) -> Config:
        check_tested(self, self.test_lengths)
        return self

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task."""
        return {
            "num_tokens": self.vocabulary,
            "num_outputs": self.vocabulary,
            "sequence_length": max(self.length, *self.test_lengths),
            "code": "learned",
            "code_bits": 0,
            "code_levels": 0,
        }

    def trained(self, size: int) -> bool:
        """Whether training has sequences of a size."""
        return 2 <= size <= self.length

    def build(self, seed: int) -> Splits:
        """Draw the data set."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _draw(config: Config, part: Part) -> Examples:
    length = part.sizes(2, config.length, config.test_lengths)
    inputs = torch.full((len(length), part.longest(config.length, config.test_lengths)), BLANK)
    targets = torch.full_like(inputs, -1)
    token = torch.randint(1, config.vocabulary, (len(length), 1), generator=part.generator)
    inputs[:, :1] = token
    targets.scatter_(1, length[:, None] - 1, token)
    return Examples(inputs, targets, {"length": length, "group": part.group, "slice": length})


def chance(config: Config) -> float:
    """One over the number of tokens that may be asked for."""
    return 1 / (config.vocabulary - 1)


def informed_guess(config: Config, inputs: Tensor) -> None:
    """``None``: what is asked is all that there is to see."""
    del config, inputs


def ceiling(config: Config) -> float:
    """All answers are right."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """The first token at every step; only the last is asked for."""
    del config
    return inputs[:, :1].expand_as(inputs)
