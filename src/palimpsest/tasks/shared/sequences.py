"""What tasks made of sequences have in common: blocks of one size, a curriculum, draws without replacement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from palimpsest.tasks import TaskConfig

Size = Annotated[int, Field(ge=1, le=1000)]
"""How many vectors, items and the like a sequence has."""


class StreamConfig(TaskConfig):
    """Sizes of a data set whose training split is a stream: it is gone through once, from short sequences to long ones.

    The largest size grows in equal steps from ``curriculum_start`` to its final value over the first
    ``curriculum_share`` of the stream; sizes are uniform up to it. Each task defines what the size of a sequence is.
    """

    extras: ClassVar[tuple[str, ...]] = ("length", "group", "slice")

    block: int = Field(32, ge=1, description="training examples in a row that have the same size; best the batch size")
    curriculum_start: int = Field(1, ge=1, description="largest size at the beginning of the training stream")
    curriculum_share: float = Field(
        0.0, ge=0, le=1, description="share of the training stream over which the largest size grows; 0: none"
    )
    num_train: int = Field(5000, ge=2, description="training examples, a stream")
    num_validation: int = Field(1000, ge=2, description="examples on which choices are made, as at the stream's end")
    num_test: int = Field(1000, ge=2, description="examples looked at once, at the end; as many of each tested size")


class Part(NamedTuple):
    """One split before its sequences are drawn."""

    is_test: bool
    group: Int[Tensor, " examples"]
    """Number of the block that each example belongs to."""
    progress: Float[Tensor, " blocks"]
    """How far the curriculum is in each block, in [0, 1]."""
    start: int
    """Largest size before the curriculum has begun."""
    generator: Generator

    def sizes(self, smallest: int, largest: int, tested: Sequence[int]) -> Int[Tensor, " examples"]:
        """A size for every example: the same within a block, or, in the test split, each of ``tested`` alike often.

        Args:
            smallest: size of the stream.
            largest: size at the stream's end, and of validation.
            tested: sizes in the test split, which begins with the first; their shares differ by one example at most.
        """
        examples = len(self.group)
        if self.is_test:
            return torch.tensor(tested)[torch.arange(examples) * len(tested) // max(1, examples)]
        start = min(max(self.start, smallest), largest)
        limit = (start + (self.progress * (largest - start + 1)).long()).clamp_max(largest)
        return drawn_up_to(smallest, limit, self.generator)[self.group]

    def longest(self, largest: int, tested: Sequence[int]) -> int:
        """Largest size that the split may have, whatever was drawn."""
        return max(tested) if self.is_test else largest


def parts(config: StreamConfig, seed: int) -> Iterator[Part]:
    """Train, validation and test, each with a generator of its own (seeds 3·seed, 3·seed+1, 3·seed+2).

    So a longer training stream leaves the other two splits as they are. These are in no order that matters, and have a
    size drawn for each example alone: a few blocks would be a poor sample of the sizes.
    """
    for index, examples in enumerate((config.num_train, config.num_validation, config.num_test)):
        block = config.block if index == 0 else 1
        group = torch.arange(examples) // block
        first = torch.arange(0, examples, block, dtype=torch.float64)
        growing = config.curriculum_share * examples if index == 0 else 0.0
        progress = (first / growing).clamp_max(1) if growing else torch.ones_like(first)
        generator = Generator().manual_seed(3 * seed + index)
        yield Part(index == 2, group, progress, config.curriculum_start, generator)


def drawn_up_to(smallest: int, largest: Int[Tensor, " count"], generator: Generator) -> Int[Tensor, " count"]:
    """Integers, uniform from ``smallest`` to ``largest``, both included; no number is favoured by more than 2⁻⁴⁰."""
    drawn = torch.randint(2**62, largest.shape, generator=generator)
    return smallest + drawn % (largest - smallest + 1)


def distinct(examples: int, count: int, below: int, generator: Generator) -> Int[Tensor, "examples count"]:
    """Integers of 0 … below − 1, drawn without replacement in each row; every order is as likely as every other.

    The next number is one of those that are left, counted from the smallest; those that are gone are passed over. The
    first columns of a row are themselves such a draw.

    Raises:
        ValueError: there are not so many.
    """
    if count > below:
        raise ValueError(f"{count} distinct numbers below {below}")
    drawn = torch.empty(examples, count, dtype=torch.int64)
    left = torch.empty(
        examples, 0, dtype=torch.int64
    )  # how many smaller ones are left beside each that is gone, sorted
    for already in range(count):
        rank = torch.randint(below - already, (examples, 1), generator=generator)
        passed = torch.searchsorted(left, rank, right=True)
        drawn[:, already] = (rank + passed)[:, 0]
        place = torch.arange(already + 1)
        above = torch.where(place == passed, rank, F.pad(left - 1, (1, 0)))
        left = torch.where(place < passed, F.pad(left, (0, 1)), above)
    return drawn


def check_sizes(config: StreamConfig, what: str, smallest: int, largest: int, tested: Sequence[object]) -> None:
    """Make sure that the sizes of a stream are in order.

    Args:
        config: where the stream's own parameters stand.
        what: what the sizes count, as in ``max_length``.
        smallest: value of ``min_<what>``.
        largest: value of ``max_<what>``.
        tested: one entry for each part of the test split.

    Raises:
        ValueError: one line with key, value and what is allowed.
    """
    if smallest > largest:
        raise ValueError(f"min_{what} {smallest} is above max_{what}; allowed: 1 to {largest}")
    if config.curriculum_start > largest:
        raise ValueError(f"curriculum_start {config.curriculum_start} is above max_{what}; allowed: 1 to {largest}")
    check_tested(config, tested)


def check_tested(config: StreamConfig, tested: Sequence[object]) -> None:
    """Make sure that there is something to test, and that every part of it is asked for once and gets an example.

    Raises:
        ValueError: one line with key, value and what is allowed.
    """
    if not tested:
        raise ValueError("nothing is tested; allowed: at least one size")
    repeated = [one for index, one in enumerate(tested) if one in tested[:index]]
    if repeated:
        raise ValueError(f"the test asks for {repeated[0]} twice; allowed: each size once")
    if config.num_test < len(tested):
        raise ValueError(f"num_test {config.num_test} is too few for {len(tested)} tested sizes; allowed: that or more")
