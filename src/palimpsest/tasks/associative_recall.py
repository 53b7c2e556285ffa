"""Associative recall: which item came after this one? [Graves et al. 2014, section 4.3].

An item is the token ITEM and ``item_length`` random vectors of ``bits`` bits. All items of a sequence are different.
After them, one item, but never the last, is shown again between two QUERY, and the target is the item that came after
it. With three items of two vectors, and a question about the second item::

    step      0     1   2   3     4   5   6     7   8   9      10  11  12     13  14
    token     ITEM  7   20  ITEM  3   41  ITEM  60  5   QUERY  3   41  QUERY  .   .
    target    -     -   -   -     -   -   -     -   -   -      -   -   -      60  5
              item 0        item 1        item 2        query                 answer

The size of a sequence is its number of items n; with V vectors an item it takes (V + 1) n + 2 V + 2 steps.

Deviates: items are drawn without replacement, so that a question has one answer.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import bits
from palimpsest.tasks.shared.bits import BitStreamConfig
from palimpsest.tasks.shared.sequences import Part, check_sizes, distinct, drawn_up_to, parts

METRIC, RECORD = bits.METRIC, bits.RECORD
score, record, picture = bits.score, bits.record, bits.picture
Items = Annotated[int, Field(ge=2, le=1000)]


class Config(BitStreamConfig):
    """Parameters of the task; Graves et al. train on 2 to 6 items of 3 vectors of 6 bits, and test up to 20 items."""

    bits: int = Field(6, ge=1, le=14, description="bits of a vector")
    item_length: int = Field(3, ge=1, le=4, description="vectors of an item")
    min_items: Items = Field(2, description="fewest items in training")
    max_items: Items = Field(6, description="most items in training, at the end of the curriculum")
    test_items: tuple[Items, ...] = Field((2, 4, 6, 8, 10, 12), description="numbers of items in the test split")

    @model_validator(mode="after")
    def _sizes_are_in_order(self) -> Config:
        check_sizes(self, "items", self.min_items, self.max_items, self.test_items)
        most, kinds = max(self.max_items, *self.test_items), 2 ** (self.bits * self.item_length)
        if most > kinds:
            raise ValueError(f"{most} items cannot all differ; allowed: at most 2^(bits * item_length) = {kinds}")
        return self

    @property
    def item(self) -> int:
        """Token ITEM; QUERY and the blank are the next two."""
        return 2**self.bits

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, the meaning of tokens, and the kind of outputs."""
        return {
            "num_tokens": self.item + 3,
            "num_outputs": self.bits,
            "sequence_length": _steps(self, max(self.max_items, *self.test_items)),
            "code": "bits",
            "code_bits": self.bits,
            "code_levels": 0,
        }

    def trained(self, size: int) -> bool:
        """Whether training, at its end, has sequences of a size."""
        return self.min_items <= size <= self.max_items

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _steps(config: Config, items: int) -> int:
    return (config.item_length + 1) * (items + 2)


def _draw(config: Config, part: Part) -> Examples:
    items = part.sizes(config.min_items, config.max_items, config.test_items)
    most = part.longest(config.max_items, config.test_items)
    numbers = distinct(len(items), most, 2 ** (config.bits * config.item_length), part.generator)
    shifts = config.bits * torch.arange(config.item_length)
    vectors = (numbers[..., None] >> shifts) & (2**config.bits - 1)
    asked = drawn_up_to(0, items - 2, part.generator)
    rows, width = torch.arange(len(items)), config.item_length + 1
    query, blank = config.item + 1, config.item + 2
    shown = torch.cat([torch.full_like(vectors[..., :1], config.item), vectors], 2).flatten(1)
    step = torch.arange(_steps(config, most)) - width * items[:, None]  # counted from the first QUERY
    question = torch.full((len(items), 2 * width), blank)
    question[:, 0] = question[:, width] = query
    question[:, 1:width] = vectors[rows, asked]
    answer = torch.full_like(question, -1)
    answer[:, width + 1 :] = vectors[rows, asked + 1]
    there = (step >= 0) & (step < 2 * width)
    place = step.clamp(0, 2 * width - 1)
    inputs = torch.where(there, question.gather(1, place), blank)
    inputs[:, : shown.shape[1]] = shown.where(step[:, : shown.shape[1]] < 0, inputs[:, : shown.shape[1]])
    targets = answer.gather(1, place).where(there, -1)
    return Examples(inputs, targets, {"length": width * (items + 2), "group": part.group, "slice": items})


def chance(config: Config) -> float:
    """Bit accuracy of a guess that looks at nothing: one half, as each bit of an item is fair."""
    del config
    return 0.5


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """The bitwise majority of the items, vector by vector, at the steps of the answer, (examples, time).

    It does not know which item is asked. The first item does not count, because it comes after none and is never the
    answer: with two items, the other one is.
    """
    width, guess = config.item_length + 1, torch.zeros_like(inputs)
    query = (inputs == config.item + 1).int().argmax(1, keepdim=True)  # the first of two
    step = torch.arange(inputs.shape[1])
    for place in range(1, width):
        shown = (step % width == place) & (step > width) & (step < query)
        guess = bits.majority(inputs, shown, config.bits).where(step == query + width + place, guess)
    return guess


def ceiling(config: Config) -> float:
    """Best bit accuracy that any predictor could reach: 1, as items differ and the one after the query was shown."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Return the outputs of a best predictor, (examples, time); −1 at steps that are not scored.

    It finds the item that equals the one between the two QUERY, and returns the next item.
    """
    query = config.item + 1
    guess = torch.full_like(inputs, -1)
    for row, tokens in enumerate(inputs.tolist()):
        first, second = (index for index, token in enumerate(tokens) if token == query)
        starts = [index + 1 for index in range(first) if tokens[index] == config.item]
        items = [tokens[start : start + config.item_length] for start in starts]
        answer = items[items.index(tokens[first + 1 : second]) + 1]
        guess[row, second + 1 : second + 1 + len(answer)] = torch.tensor(answer)
    return guess
