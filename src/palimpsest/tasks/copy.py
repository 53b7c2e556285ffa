"""Copy: repeat the input sequence after its end [Graves et al. 2014, section 4.1].

A sequence has random vectors of ``bits`` bits, END, and as many blank steps; at these steps the vectors are the
targets, in order. With three vectors, written as the numbers with these bits::

    step      0    1    2    3    4    5    6
    token     7    200  13   END  .    .    .
    target    -    -    -    -    7    200  13        only the recall half is scored
              input               recall

If the first half were scored, too, where the target would be blank, chance would rise from 1/2 to 3/4. The size of a
sequence is its number of vectors L; it takes 2 L + 1 steps.
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
        """Return what a model must know of the task: its alphabet, the meaning of tokens, and the kind of outputs."""
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
    step = torch.arange(2 * longest + 1)
    recall = step - length[:, None] - 1  # number of the vector that is the target; negative before the recall half
    inputs = vectors.gather(1, step.clamp_max(longest - 1).expand(recall.shape))
    inputs = inputs.where(recall < -1, torch.where(recall == -1, config.end, config.end + 1))
    targets = vectors.gather(1, recall.clamp(0, longest - 1)).where((recall >= 0) & (recall < length[:, None]), -1)
    return Examples(inputs, targets, {"length": 2 * length + 1, "group": part.group, "slice": length})


def chance(config: Config) -> float:
    """Bit accuracy of a guess that looks at nothing: one half, as bits are fair and independent."""
    del config
    return 0.5


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """The bitwise majority of the vectors, at every step, (examples, time): it does not know their order."""
    return bits.majority(inputs, inputs < config.end, config.bits).expand(inputs.shape)


def ceiling(config: Config) -> float:
    """Best bit accuracy that any predictor could reach: 1, because all targets were inputs before."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Return the outputs of a best predictor, (examples, time); −1 at steps that are not scored.

    The target of a step stands as many steps back as there are vectors, plus one for END. So the position of END gives
    this distance.
    """
    back = (inputs == config.end).int().argmax(1, keepdim=True) + 1
    step = torch.arange(inputs.shape[1]).expand(inputs.shape)
    there = (step >= back) & (step < 2 * back - 1)
    return inputs.gather(1, (step - back).clamp_min(0)).where(there, -1)
