"""Shifting map: a stream of keys and values whose map changes from phase to phase (source 002, continual learning).

Map m is a random function from K keys of its own to V values. A sequence has P keys. The value of a key is the target
at the key's step, and the next token shows it, or is BLANK. With keys 0–7, values 8–10, BLANK 11, P = 4, and a map in
which 5 has value 1, 2 has value 0 and 7 has value 1, a sequence of training and one of the test are::

    step       0   1   2   3   4   5   6   7
    token      5   9   2   .   5   .   7   9
    target     1   -   0   -   1   -   1   -

    token      7   .   5   .   2   .   7   .
    target     1   -   1   -   0   -   1   -

Training shows each value with probability ``shown``, always behind the step that asks for it. Validation and test show
none, so that the score is about what was known before the sequence began, in weights or in a memory: nothing that an
evaluation puts in can refresh what was forgotten. All keys are asked alike often, in random order.

A run with a phase for each map never hears which map is in force. Maps have no key in common, so that the answers of an
old map stay right for ever and one predictor can know all of them.

With ``map: null`` every sequence has a map of its own, and so has every sequence of its validation and test, which
then show values as training does. There is nothing to know before such a sequence begins; a phase of them trains a
model to find a value that it was shown.

Design: with keys in common, two maps would contradict each other, and forgetting the old one would be what is asked. A
test that shows values would measure how fast a memory that persists learns an old map anew, not what it kept. Keys are
bits by default (``code``), so that a model computes all answers with the same weights; with a learned vector for every
key, training on one map does not touch the vectors of the others.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from palimpsest.tasks import Examples, Splits, TaskConfig, drawn
from palimpsest.tasks.shared import classes
from palimpsest.tasks.shared.sequences import distinct

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score, classes.record, classes.picture
DEALING = 2002
"""Seed of the order in which keys are dealt to maps; the map with number m is drawn with seed DEALING + 1 + m."""


class Config(TaskConfig):
    """Parameters of the task. The seed of a data set draws its sequences; ``map`` alone decides the map."""

    extras: ClassVar[tuple[str, ...]] = ("length", "group", "slice")

    map: int | None = Field(0, ge=0, le=1000, description="number m of the map; null: each sequence has one of its own")
    key_bits: int = Field(8, ge=1, le=12, description="bits of a key; 2^key_bits keys for all maps")
    code: Literal["bits", "learned"] = Field("bits", description="what keys are to a model: their bits, or symbols")
    keys_per_map: int = Field(16, ge=2, le=4096, description="keys K of a map")
    num_values: int = Field(8, ge=2, le=1024, description="values V, which all maps have in common")
    num_pairs: int = Field(8, ge=1, le=1024, description="keys P of a sequence, some of them equal")
    shown: float = Field(0.5, ge=0, le=1, description="share of values that training shows once they have been asked")
    num_train: int = Field(1000, ge=1, description="training sequences")
    num_validation: int = Field(64, ge=1, description="sequences on which choices are made; they show no value")
    num_test: int = Field(256, ge=1, description="sequences looked at once, after each phase; they show no value")

    @model_validator(mode="after")
    def _maps_have_keys_of_their_own(self) -> Config:
        most = 2**self.key_bits // self.keys_per_map
        number = self.map or 0
        if number >= most:
            raise ValueError(
                f"map {number} finds no keys: {self.keys_per_map} a map of 2^{self.key_bits}; "
                f"allowed: fewer than {most} maps"
                if most
                else f"keys_per_map {self.keys_per_map} is above 2^{self.key_bits}; allowed: 2 to {2**self.key_bits}"
            )
        return self

    @property
    def blank(self) -> int:
        """Token BLANK; keys come first, then values."""
        return 2**self.key_bits + self.num_values

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, what keys are, and that its outputs are values."""
        return {
            "num_tokens": self.blank + 1,
            "num_outputs": self.num_values,
            "sequence_length": 2 * self.num_pairs,
            "code": self.code,
            "code_bits": self.key_bits if self.code == "bits" else 0,
            "code_levels": 0,
        }

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        if self.map is None:
            return drawn(self, seed, _draw)
        train, *others = drawn(self, seed, _draw)
        return Splits(train, *(_hidden(self, split) for split in others))


def keys_and_values(config: Config) -> tuple[Int[Tensor, " keys"], Int[Tensor, " keys"]]:
    """Return the K keys of the map and the value of each, in 0 … V − 1.

    Values differ in their number of keys by one at most, so that no constant guess is better than chance.
    """
    count, number = config.keys_per_map, config.map or 0
    dealt = torch.randperm(2**config.key_bits, generator=Generator().manual_seed(DEALING))
    generator = Generator().manual_seed(DEALING + 1 + number)
    values = torch.randperm(config.num_values, generator=generator)[torch.arange(count) % config.num_values]
    return dealt[number * count :][:count], values[torch.randperm(count, generator=generator)]


def _maps(config: Config, examples: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Keys and values of the map of each sequence, (examples, K) each."""
    if config.map is not None:
        keys, values = keys_and_values(config)
        return keys.expand(examples, -1), values.expand(examples, -1)
    keys = distinct(examples, config.keys_per_map, 2**config.key_bits, generator)
    return keys, torch.randint(config.num_values, keys.shape, generator=generator)


def _draw(config: Config, examples: int, seed: int) -> Examples:
    """Sequences that show some of their values."""
    generator, shape = Generator().manual_seed(seed), (examples, config.num_pairs)
    keys, values = _maps(config, examples, generator)
    chosen = torch.randint(config.keys_per_map, shape, generator=generator)
    keys, values = keys.gather(1, chosen), values.gather(1, chosen)
    shows = torch.rand(shape, generator=generator) < config.shown
    inputs = torch.stack([keys, torch.where(shows, 2**config.key_bits + values, config.blank)], 2).flatten(1)
    targets = torch.stack([values, torch.full(shape, -1)], 2).flatten(1)
    zero = torch.zeros(examples, dtype=torch.int64)
    return Examples(
        inputs, targets, {"length": zero + inputs.shape[1], "group": zero, "slice": zero + (config.map or 0)}
    )


def _hidden(config: Config, split: Examples) -> Examples:
    """The same sequences without any value."""
    return split._replace(inputs=split.inputs.where(split.inputs < 2**config.key_bits, config.blank))


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: the share of keys that the most frequent value has, about 1/V."""
    if config.map is None:
        return 1 / config.num_values
    return -(-config.keys_per_map // config.num_values) / config.keys_per_map


def informed_guess(config: Config, inputs: Tensor) -> Tensor | None:
    """The value that was shown most often so far, of equal ones the smallest, where each sequence has its own map.

    It does not know which key a value belongs to. ``None`` for one map: a test sequence shows nothing of it.
    """
    if config.map is not None:
        return None
    shown = (inputs[..., None] == 2**config.key_bits + torch.arange(config.num_values)).float()
    return shown.cumsum(1).argmax(2)


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: 1, as a map is a function and training shows all of it.

    Where each sequence has its own map, key number j of it, from 0, was shown before with probability
    p_j = 1 − (1 − s/K)^j, s the share ``shown``, and else it can only be guessed: the mean of p_j + (1 − p_j)/V.
    """
    if config.map is not None:
        return 1.0
    unknown = [(1 - config.shown / config.keys_per_map) ** number for number in range(config.num_pairs)]
    return 1 - sum(unknown) / len(unknown) * (1 - 1 / config.num_values)


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Return the outputs of a best predictor, (examples, time); −1 at steps that are not scored.

    It knows the map; where each sequence has its own, it knows the values shown so far, and guesses value 0 elsewhere.
    """
    if config.map is not None:
        keys, values = keys_and_values(config)
        return torch.full((config.blank + 1,), -1).scatter(0, keys, values)[inputs]
    keys, told = inputs[:, ::2], inputs[:, 1::2]
    earlier = torch.ones(config.num_pairs, config.num_pairs, dtype=torch.bool).tril(-1)
    found = (keys[:, :, None] == keys[:, None]) & earlier & (told != config.blank)[:, None]
    answers = (found * (told[:, None] - 2**config.key_bits)).amax(2)  # all that is found is the same value
    return torch.stack([answers, torch.full_like(answers, -1)], 2).flatten(1)
