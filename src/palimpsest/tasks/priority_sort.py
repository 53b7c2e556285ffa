"""Priority sort: recall the vectors of highest priority, the highest first [Graves et al. 2014, section 4.5].

A sequence has random vectors of ``bits`` bits, each with a priority in [−1, 1] on its own input channel; then END and
blank steps, at which the ``num_sorted`` vectors of highest priority are the targets, in the order of their priorities.
With four vectors, three of which are targets::

    step        0     1     2     3     4     5     6     7
    token       7     200   13    90    END   .     .     .
    priority    0.5  -1     1     0
    target      -     -     -     -     -     13    7     90
                input                         recall

The size of a sequence is its number of vectors n, and it takes n + 1 + min(n, num_sorted) steps.

Deviates: Graves et al. draw priorities from all of [−1, 1]; here each is one of ``num_levels`` in equal steps, and no
two vectors of a sequence have the same, so that their order is never in doubt. A token is vector + 2^bits · level.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import bits
from palimpsest.tasks.shared.bits import BitStreamConfig
from palimpsest.tasks.shared.sequences import Part, Size, check_sizes, distinct, parts

METRIC, RECORD = bits.METRIC, bits.RECORD
score, record, picture = bits.score, bits.record, bits.picture


class Config(BitStreamConfig):
    """Parameters of the task; Graves et al. give 20 vectors of 8 bits, of which 16 are targets."""

    bits: int = Field(8, ge=1, le=14, description="bits of a vector")
    num_levels: int = Field(64, ge=2, le=4096, description="priorities that there are, in equal steps from -1 to 1")
    num_sorted: Size = Field(6, description="how many vectors the answer has; all of them where there are fewer")
    min_vectors: Size = Field(8, description="fewest vectors in training")
    max_vectors: Size = Field(8, description="most vectors in training, at the end of the curriculum")
    test_vectors: tuple[Size, ...] = Field((8,), description="numbers of vectors in the test split")

    @model_validator(mode="after")
    def _sizes_are_in_order(self) -> Config:
        check_sizes(self, "vectors", self.min_vectors, self.max_vectors, self.test_vectors)
        if self.most > self.num_levels:
            raise ValueError(f"num_levels {self.num_levels} is below {self.most} vectors; allowed: that many or more")
        return self

    @property
    def most(self) -> int:
        """Most vectors of any split."""
        return max(self.max_vectors, *self.test_vectors)

    @property
    def end(self) -> int:
        """Token END; the blank is the next."""
        return 2**self.bits * self.num_levels

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, the meaning of tokens, and the kind of outputs."""
        return {
            "num_tokens": self.end + 2,
            "num_outputs": self.bits,
            "sequence_length": self.most + 1 + min(self.most, self.num_sorted),
            "code": "bits",
            "code_bits": self.bits,
            "code_levels": self.num_levels,
        }

    def trained(self, size: int) -> bool:
        """Whether training, at its end, has sequences of a size."""
        return self.min_vectors <= size <= self.max_vectors

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _draw(config: Config, part: Part) -> Examples:
    count = part.sizes(config.min_vectors, config.max_vectors, config.test_vectors)[:, None]
    most = part.longest(config.max_vectors, config.test_vectors)
    vectors = torch.randint(2**config.bits, (len(count), most), generator=part.generator)
    levels = distinct(len(count), most, config.num_levels, part.generator)
    place = torch.arange(most)
    order = levels.where(place < count, -1).argsort(dim=1, descending=True, stable=True)
    best = vectors.gather(1, order)[:, : config.num_sorted]
    step = torch.arange(most + 1 + best.shape[1])
    recall = step - count - 1  # number of the target in order of priority; negative before the blank steps
    sought = count.clamp_max(config.num_sorted)
    targets = best.gather(1, recall.clamp(0, best.shape[1] - 1)).where((recall >= 0) & (recall < sought), -1)
    inputs = torch.where(step == count, config.end, config.end + 1)
    tokens = vectors + 2**config.bits * levels
    inputs[:, :most] = tokens.where(place < count, inputs[:, :most])
    sizes = {"length": count + 1 + sought, "slice": count}
    return Examples(inputs, targets, {name: value[:, 0] for name, value in sizes.items()} | {"group": part.group})


def chance(config: Config) -> float:
    """Bit accuracy of a guess that looks at nothing: one half, as bits are fair and independent of priorities."""
    del config
    return 0.5


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """The bitwise majority of the vectors, at every step, (examples, time): it does not look at priorities."""
    return bits.majority(inputs, inputs < config.end, config.bits).expand(inputs.shape)


def ceiling(config: Config) -> float:
    """Best bit accuracy that any predictor could reach: 1, because priorities differ and all targets were inputs."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Return the outputs of a best predictor, (examples, time); −1 at steps that are not scored.

    A token with a higher priority is a larger number, for any vector. So the tokens before END are sorted as numbers.
    """
    guess = torch.full_like(inputs, -1)
    for row, tokens in enumerate(inputs.tolist()):
        place = tokens.index(config.end)
        best = sorted(tokens[:place], reverse=True)[: config.num_sorted]
        guess[row, place + 1 : place + 1 + len(best)] = torch.tensor([token % 2**config.bits for token in best])
    return guess
