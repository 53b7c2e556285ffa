"""Copy: say again what was heard, once it has ended [Graves et al. 2014, section 4.1].

Random vectors of ``bits`` bits, END, and as many blank steps, in which the vectors are to be said in their order. With
three vectors, written as numbers whose bits they are::

    step      0    1    2    3    4    5    6
    token     7    200  13   END  .    .    .
    target    -    -    -    -    7    200  13        only the recall half is scored
              heard               said

Scoring the first half as well, where nothing is to be said, would lift chance from 1/2 to 3/4. The size of a sequence
is its number of vectors L, and it takes 2 L + 1 steps.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import bits
from palimpsest.tasks.shared.bits import BitStreamConfig
from palimpsest.tasks.shared.sequences import Part, Size, check_sizes, parts

METRIC, RECORD = bits.METRIC, bits.RECORD
score, record, picture = bits.score, bits.record, bits.picture


class Config(BitStreamConfig):
    """Parameters of the task; Graves et al. train on 8 bits and lengths 1 to 20, and test up to 120."""

    bits: int = Field(8, ge=1, le=14, description="bits of a vector")
    min_length: Size = Field(1, description="fewest vectors in training")
    max_length: Size = Field(20, description="most vectors in training, at the end of the curriculum")
    test_lengths: tuple[Size, ...] = Field((10, 20, 40, 80, 120), description="numbers of vectors in the test split")

    @model_validator(mode="after")
    def _sizes_are_in_order(self) -> Config:
        check_sizes(self, "length", self.min_length, self.max_length, self.test_lengths)
        return self

    @property
    def end(self) -> int:
        """Token END; the blank is the next."""
        return 2**self.bits

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: its alphabet, what tokens stand for, and what is to be said."""
        return {
            "num_tokens": self.end + 2,
            "num_outputs": self.bits,
            "sequence_length": 2 * max(self.max_length, *self.test_lengths) + 1,
            "code": "bits",
            "code_bits": self.bits,
            "code_levels": 0,
        }

    def trained(self, size: int) -> bool:
        """Whether training, at its end, has sequences of a size."""
        return self.min_length <= size <= self.max_length

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _draw(config: Config, part: Part) -> Examples:
    length = part.sizes(config.min_length, config.max_length, config.test_lengths)
    longest = part.longest(config.max_length, config.test_lengths)
    vectors = torch.randint(2**config.bits, (len(length), longest), generator=part.generator)
    heard = torch.arange(2 * longest + 1)
    said = heard - length[:, None] - 1
    inputs = vectors.gather(1, heard.clamp_max(longest - 1).expand(said.shape))
    inputs = inputs.where(said < -1, torch.where(said == -1, config.end, config.end + 1))
    targets = vectors.gather(1, said.clamp(0, longest - 1)).where((said >= 0) & (said < length[:, None]), -1)
    return Examples(inputs, targets, {"length": 2 * length + 1, "group": part.group, "slice": length})


def chance(config: Config) -> float:
    """Bit accuracy of a guess that looks at nothing: one half, as bits are fair and independent."""
    del config
    return 0.5


def ceiling(config: Config) -> float:
    """Best bit accuracy that any predictor could reach: 1, as all that is to be said was heard before."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """What a best predictor says at each step, (examples, time); −1 where nothing is scored.

    END, the same number of steps after the vector that is to be said as there are vectors and END, tells how far to
    look back.
    """
    back = (inputs == config.end).int().argmax(1, keepdim=True) + 1
    step = torch.arange(inputs.shape[1]).expand(inputs.shape)
    there = (step >= back) & (step < 2 * back - 1)
    return inputs.gather(1, (step - back).clamp_min(0)).where(there, -1)
