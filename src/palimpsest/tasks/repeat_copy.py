"""Repeat copy: repeat the input sequence a given number of times, then END [Graves et al. 2014, section 4.2].

A sequence has random vectors of ``bits`` bits; then the number of repeats R, on its own input channel; then blank
steps. At these the targets are the vectors, R times in order, and then END, for which a model must count. With two
vectors::

    step      0    1    2    3    4    5    6    7    8    9
    token     7    200  ×3   .    .    .    .    .    .    .
    target    -    -    -    7    200  7    200  7    200  END
              input          recall

The size of a sequence is its number of vectors L and its number of repeats R, and it takes L + L R + 2 steps. END is
one more output bit, above those of a vector; the number R is level R of a vector of zeros, which the code of the tokens
scales to [−1, 1] over the largest number of all splits.

Deviates: Graves et al. scale the number to mean 0 and variance 1.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import bits
from palimpsest.tasks.shared.bits import BitStreamConfig
from palimpsest.tasks.shared.sequences import Part, Size, check_sizes, parts

METRIC, RECORD = bits.METRIC, bits.RECORD
score, record, picture = bits.score, bits.record, bits.picture
Repeats = Annotated[int, Field(ge=1, le=99)]
SLICE = 100
"""A slice is 100 L + R: 2010 are 20 vectors, 10 times."""


class Config(BitStreamConfig):
    """Parameters of the task; Graves et al. train on up to 10 vectors and 10 repeats, and test 20 of either.

    ``curriculum_start`` is the largest number of vectors at the beginning, and of repeats.
    """

    bits: int = Field(8, ge=1, le=12, description="bits of a vector")
    min_length: Size = Field(1, description="fewest vectors in training")
    max_length: Size = Field(10, description="most vectors in training, at the end of the curriculum")
    min_repeats: Repeats = Field(1, description="fewest repeats in training")
    max_repeats: Repeats = Field(10, description="most repeats in training, at the end of the curriculum")
    test_sizes: tuple[tuple[Size, Repeats], ...] = Field(
        ((5, 5), (10, 10), (20, 10), (10, 20)), description="[vectors, repeats] in the test split"
    )

    @model_validator(mode="after")
    def _sizes_are_in_order(self) -> Config:
        if self.min_repeats > self.max_repeats:
            raise ValueError(f"min_repeats {self.min_repeats} is above max_repeats; allowed: 1 to {self.max_repeats}")
        check_sizes(self, "length", self.min_length, self.max_length, self.test_sizes)
        return self

    @property
    def levels(self) -> int:
        """Levels of the input's number: 0 beside the vectors, and every number of repeats."""
        return 1 + max(self.max_repeats, *(repeats for _, repeats in self.test_sizes))

    @property
    def blank(self) -> int:
        """The blank token, the only flag."""
        return 2**self.bits * self.levels

    @property
    def end(self) -> int:
        """Target END."""
        return 2**self.bits

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, the meaning of tokens, and the kind of outputs."""
        largest = self.max_length, self.max_repeats
        return {
            "num_tokens": self.blank + 1,
            "num_outputs": self.bits + 1,
            "sequence_length": max(_steps(*size) for size in (largest, *self.test_sizes)),
            "code": "bits",
            "code_bits": self.bits,
            "code_levels": self.levels,
        }

    def trained(self, size: int) -> bool:
        """Whether training, at its end, has sequences of a size."""
        length, repeats = divmod(size, SLICE)
        return self.min_length <= length <= self.max_length and self.min_repeats <= repeats <= self.max_repeats

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _steps(length: Any, repeats: Any) -> Any:
    """Steps that a sequence takes, of numbers or of tensors: its vectors, the number, the repeats, END."""
    return length + 1 + length * repeats + 1


def _draw(config: Config, part: Part) -> Examples:
    tested = config.test_sizes
    length = part.sizes(config.min_length, config.max_length, [vectors for vectors, _ in tested])[:, None]
    repeats = part.sizes(config.min_repeats, config.max_repeats, [times for _, times in tested])[:, None]
    largest = config.max_length, config.max_repeats
    time = max(_steps(*size) for size in (tested if part.is_test else [largest]))
    vectors = torch.randint(2**config.bits, (len(length), time), generator=part.generator)
    step = torch.arange(time)
    number = 2**config.bits * repeats
    inputs = vectors.where(step < length, torch.where(step == length, number, config.blank))
    recall = step - length - 1  # number of the target; negative before the blank steps
    repeated = vectors.gather(1, recall % length)
    targets = torch.where(recall < length * repeats, repeated, config.end)
    targets = targets.where((recall >= 0) & (recall <= length * repeats), -1)
    sizes = {"length": _steps(length, repeats), "slice": SLICE * length + repeats}
    return Examples(inputs, targets, {name: value[:, 0] for name, value in sizes.items()} | {"group": part.group})


def chance(config: Config) -> float:
    """Bit accuracy, on the test split, of the best guess that looks at nothing: that no bit is set.

    Bits of vectors are fair. END's own bit is set in the last step alone, where the vector's bits are not, so that of
    the n = L R + 1 steps of an example a share of

        ((n − 1) (bits/2 + 1) + bits) / (n (bits + 1))

    of the bits is right: more than half.
    """
    counts = [length * repeats + 1 for length, repeats in config.test_sizes]
    which = torch.arange(config.num_test) * len(counts) // config.num_test
    right = [((n - 1) * (config.bits / 2 + 1) + config.bits) / (n * (config.bits + 1)) for n in counts]
    return sum(right[index] for index in which.tolist()) / config.num_test


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """The bitwise majority of the vectors, at every step, (examples, time): it neither counts nor knows their order.

    END's bit is 0 in it, as in all targets but the last one.
    """
    return bits.majority(inputs, inputs < 2**config.bits, config.bits).expand(inputs.shape)


def ceiling(config: Config) -> float:
    """Best bit accuracy that any predictor could reach: 1, because vectors and number come before all targets."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Return the outputs of a best predictor, (examples, time); −1 at steps that are not scored.

    The first token above the vectors is the number R; after it, the vectors before it are repeated R times.
    """
    vectors = 2**config.bits
    guess = torch.full_like(inputs, -1)
    for row, tokens in enumerate(inputs.tolist()):
        place = next(index for index, token in enumerate(tokens) if token >= vectors)
        answer = tokens[:place] * (tokens[place] // vectors) + [vectors]
        guess[row, place + 1 : place + 1 + len(answer)] = torch.tensor(answer)
    return guess
