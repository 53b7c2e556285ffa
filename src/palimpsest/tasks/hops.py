"""Hops: facts "from a to b", a start, and a number of steps to take; where does one arrive?

The facts are the arrows of one random cycle through all E entities, in random order. Then come a start and k hop marks;
the answer at the last mark is the entity that lies k arrows behind the start. With E = 4, entities 1–4 (0 is the blank,
5 the hop mark), the cycle 1 → 3 → 2 → 4 → 1 and k = 2::

    step      0  1   2  3   4  5   6  7   8   9  10
    token     3  2   1  3   4  1   2  4   1   5   5
    target    -  -   -  -   -  -   -  -   -   -   1
              facts                       start   hops

The target 1 is entity 2, counted from 0. The size of a sequence is k. As k is below E, an answer is never the start.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import classes
from palimpsest.tasks.shared.sequences import Part, Size, StreamConfig, check_sizes, distinct, parts

METRIC, RECORD = classes.METRIC, classes.RECORD
record, picture = classes.record, classes.picture
score = classes.score_once
BLANK = 0


class Config(StreamConfig):
    """Parameters of the task; its tokens are the blank, the entities and the hop mark, in this order."""

    num_entities: int = Field(12, ge=3, le=1000, description="entities E of the cycle")
    min_hops: int = Field(1, ge=1, le=999, description="fewest hops in training")
    max_hops: int = Field(4, ge=1, le=999, description="most hops in training, at the end of the curriculum")
    test_hops: tuple[Size, ...] = Field((1, 2, 3, 4, 6, 8), description="numbers of hops in the test split")

    @model_validator(mode="after")
    def _hops_stay_below_a_round(self) -> Config:
        check_sizes(self, "hops", self.min_hops, self.max_hops, self.test_hops)
        most = max(self.max_hops, *self.test_hops)
        if most >= self.num_entities:
            raise ValueError(f"{most} hops in a cycle of {self.num_entities} entities; allowed: fewer than entities")
        return self

    @property
    def hop(self) -> int:
        """The hop mark."""
        return self.num_entities + 1

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, and that its outputs are entities."""
        return {
            "num_tokens": self.num_entities + 2,
            "num_outputs": self.num_entities,
            "sequence_length": 2 * self.num_entities + 1 + max(self.max_hops, *self.test_hops),
            "code": "learned",
            "code_bits": 0,
            "code_levels": 0,
        }

    def trained(self, size: int) -> bool:
        """Whether training, at its end, has sequences of so many hops."""
        return self.min_hops <= size <= self.max_hops

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _draw(config: Config, part: Part) -> Examples:
    entities, generator = config.num_entities, part.generator
    hops = part.sizes(config.min_hops, config.max_hops, config.test_hops)
    count = len(hops)
    cycle = distinct(count, entities, entities, generator)
    facts = torch.stack([cycle, cycle.roll(-1, 1)], 2)
    order = distinct(count, entities, entities, generator)
    facts = facts.gather(1, order[..., None].expand_as(facts))
    place = torch.randint(entities, (count,), generator=generator)
    rows = torch.arange(count)
    time = 2 * entities + 1 + part.longest(config.max_hops, config.test_hops)
    inputs = torch.full((count, time), BLANK)
    inputs[:, : 2 * entities] = 1 + facts.flatten(1)
    inputs[:, 2 * entities] = 1 + cycle[rows, place]
    step, last = torch.arange(time), 2 * entities + hops[:, None]
    inputs = inputs.where((step <= 2 * entities) | (step > last), config.hop)
    answer = cycle[rows, (place + hops) % entities]
    targets = torch.where(step == last, answer[:, None], -1)
    return Examples(inputs, targets, {"length": last[:, 0] + 1, "group": part.group, "slice": hops})


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: every entity is the answer equally often."""
    return 1 / config.num_entities


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """An entity that is not the start, at every step, (examples, time): right with probability 1/(E − 1).

    It uses no fact. The arrows form a random cycle, so that all entities but the start are equally likely, whatever the
    number of hops.
    """
    start = inputs[:, 2 * config.num_entities] - 1
    return ((start + 1) % config.num_entities)[:, None].expand(inputs.shape)


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: 1, as the facts say all."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Follow the arrows from the start: the answer at every hop mark, (examples, time); −1 elsewhere."""
    entities = config.num_entities
    facts = inputs[:, : 2 * entities].unflatten(1, (entities, 2)) - 1
    follows = torch.empty_like(facts[..., 0]).scatter(1, facts[..., 0], facts[..., 1])
    at = inputs[:, 2 * entities : 2 * entities + 1] - 1
    answers = torch.full_like(inputs, -1)
    for step in range(2 * entities + 1, inputs.shape[1]):
        at = follows.gather(1, at)
        answers[:, step] = at[:, 0].where(inputs[:, step] == config.hop, -1)
    return answers
