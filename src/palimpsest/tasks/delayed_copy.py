"""Delayed copy: repeat a few symbols after a long gap (source 002, Synthetic Long-Term Dependency Task).

First come L symbols, then D blanks, then GO and L − 1 blanks, at which the symbols are the targets, in order. With
symbols 0–7, BLANK 8, GO 9, L = 3 and D = 4::

    step      0   1   2   3   4   5   6   7   8   9
    token     5   2   7   .   .   .   .   GO  .   .
    target    -   -   -   -   -   -   -   5   2   7
              symbols     delay           recall

The size of a sequence is its delay D: each answer stands D + L steps behind its symbol. A model whose outputs depend on
at most D + L tokens, the present one included, cannot see the symbol when it is asked for it, whatever it learns.

Deviates: in the source's public code the filler of the delay is token 0, which is a symbol as well.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import classes
from palimpsest.tasks.shared.sequences import Part, Size, StreamConfig, check_sizes, parts

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score, classes.record, classes.picture
Delay = Annotated[int, Field(ge=1, le=4096)]


class Config(StreamConfig):
    """Parameters of the task; the source has 10 symbols of an alphabet of 20 after 100 blanks."""

    num_symbols: int = Field(8, ge=2, le=1024, description="alphabet of symbols, beside BLANK and GO")
    num_items: Size = Field(10, description="symbols L of a sequence")
    min_delay: Delay = Field(8, description="fewest blanks D in training")
    max_delay: Delay = Field(100, description="most blanks D in training, at the end of the curriculum")
    test_delays: tuple[Delay, ...] = Field((20, 50, 100, 200), description="delays D in the test split")

    delay: Delay | None = Field(None, description="in place of max_delay, and the only one in the test split")

    @model_validator(mode="after")
    def _delays_are_in_order(self) -> Config:
        check_sizes(self, "delay", self.shortest, self.longest, self.tested)
        return self

    @property
    def shortest(self) -> int:
        """Fewest blanks in training; a single delay that is shorter takes its place."""
        return min(self.min_delay, self.longest) if self.delay is not None else self.min_delay

    @property
    def longest(self) -> int:
        """Most blanks in training."""
        return self.max_delay if self.delay is None else self.delay

    @property
    def tested(self) -> tuple[int, ...]:
        """Delays in the test split."""
        return self.test_delays if self.delay is None else (self.delay,)

    @property
    def blank(self) -> int:
        """Token BLANK; GO is the next."""
        return self.num_symbols

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, and that its outputs are symbols."""
        return {
            "num_tokens": self.num_symbols + 2,
            "num_outputs": self.num_symbols,
            "sequence_length": 2 * self.num_items + max(self.longest, *self.tested),
            "code": "learned",
            "code_bits": 0,
            "code_levels": 0,
        }

    def trained(self, size: int) -> bool:
        """Whether training, at its end, has sequences of a size."""
        return self.shortest <= size <= self.longest

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _draw(config: Config, part: Part) -> Examples:
    delay, items = part.sizes(config.shortest, config.longest, config.tested), config.num_items
    symbols = torch.randint(config.num_symbols, (len(delay), items), generator=part.generator)
    step = torch.arange(2 * items + part.longest(config.longest, config.tested)).expand(len(delay), -1)
    recall = step - items - delay[:, None]  # number of the symbol that is the target; negative before the recall
    inputs = torch.where(recall == 0, config.blank + 1, config.blank)
    inputs = torch.where(step < items, symbols.gather(1, step.clamp_max(items - 1)), inputs)
    asked = (recall >= 0) & (recall < items)
    targets = symbols.gather(1, recall.clamp(0, items - 1)).where(asked, -1)
    return Examples(inputs, targets, {"length": 2 * items + delay, "group": part.group, "slice": delay})


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one over the number of symbols."""
    return 1 / config.num_symbols


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """The symbol that was shown most often, of equal ones the smallest, at every step: it does not know the order."""
    shown = inputs[:, : config.num_items]
    counts = torch.nn.functional.one_hot(shown, config.num_symbols).sum(1)
    return counts.argmax(1, keepdim=True).expand(inputs.shape)


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: 1, because all targets were inputs before."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Return the outputs of a best predictor, (examples, time); −1 at steps that are not scored.

    The first answer stands at GO, so that GO tells how far back the symbols are.
    """
    start = (inputs == config.blank + 1).int().argmax(1, keepdim=True)
    number = torch.arange(inputs.shape[1]).expand(inputs.shape) - start
    asked = (number >= 0) & (number < config.num_items)
    return inputs.gather(1, number.clamp(0, config.num_items - 1)).where(asked, -1)
