"""Split digits: a stream of two digits at a time, in the three readings of continual learning.

Data set number p has the images of the digits 2p and 2p + 1 among the 1797 of 8 × 8 pixels that scikit-learn bundles
[Alpaydin and Kaynak 1998], shown pixel by pixel as in :mod:`palimpsest.tasks.permuted_pixels`. What is asked depends on
the reading [van de Ven and Tolias 2019]: ``task``: which of the two digits, where the pair is known; ``domain``:
whether the digit is odd, whatever the pair; ``class``: which of the ten digits. A 3, of the pair 1::

    step              0   1   2   3   4   5   6   7   …   64
    token             0   0   7  15  13   1   0   0   …   0
    target, task      -   -   -   -   -   -   -   -   …   3        the outputs of 2 and 3 alone are compared
    target, domain    -   -   -   -   -   -   -   -   …   1        odd
    target, class     -   -   -   -   -   -   -   -   …   3        all ten outputs are compared

Where the pair is known, an output of another pair is neither trained nor counted, as if each pair had a head of its
own. The seed of a data set decides which images are for training, validation and test.

Deviates: 8 × 8 pixels for the 28 × 28 of MNIST, since nothing is downloaded.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from palimpsest.tasks import SPLITS, Examples, Scores, Splits, TaskConfig
from palimpsest.tasks.permuted_digits import CLASSES, PIXELS, digits
from palimpsest.tasks.permuted_pixels import dealt, pixels_interface, with_cls
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
record, picture = classes.record, classes.picture
IN_PAIR = 2
"""Digits of a pair."""
NEVER = -1e4
"""Logit of an output that cannot be right; its probability is 0 in single and double precision."""


class Config(TaskConfig):
    """Parameters of the task."""

    generated: ClassVar[bool] = False
    extras: ClassVar[tuple[str, ...]] = ("answer_position", "slice", "length")

    reading: Literal["task", "domain", "class"] = Field(
        "class", description="what is asked: which digit of a pair that is known, odd or even, or which of ten digits"
    )
    pair: int = Field(0, ge=0, lt=CLASSES // IN_PAIR, description="number p of the pair: digits 2p and 2p + 1")
    num_train: int = Field(180, ge=1, description="training images")
    num_validation: int = Field(54, ge=1, description="images on which choices are made")
    num_test: int = Field(120, ge=1, description="images looked at once, after each phase")

    @model_validator(mode="after")
    def _images_suffice(self) -> Config:
        asked, there = sum(getattr(self, f"num_{split}") for split in SPLITS), len(_rows(self.pair))
        if asked > there:
            raise ValueError(f"{asked} images of the pair {self.pair}; allowed: at most {there}, each in one split")
        return self

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: levels, answers, and that CLS behind the last pixel asks."""
        return pixels_interface(IN_PAIR if self.reading == "domain" else CLASSES)

    def build(self, seed: int) -> Splits:
        """Deal the images of the pair to the splits; the same seed gives the same examples on every machine."""
        pixels, labels = digits()
        rows = _rows(self.pair)
        order = rows[torch.randperm(len(rows), generator=Generator().manual_seed(seed))]
        parts = dealt(order, self.num_test, self.num_validation, self.num_train)
        return Splits(*(self._examples(pixels[part], labels[part]) for part in parts))

    def sample(self, size: int) -> Examples:
        """White images of the smaller digit of the pair."""
        white = torch.zeros(size, PIXELS, dtype=torch.int64)
        return self._examples(white, white[:, 0] + IN_PAIR * self.pair)

    def _examples(self, pixels: Int[Tensor, "images pixels"], labels: Int[Tensor, " images"]) -> Examples:
        found = with_cls(pixels, labels % IN_PAIR if self.reading == "domain" else labels, self.pair)
        if self.reading == "task":
            found.extras["known_pair"] = found.extras["slice"].clone()
        return found


def _rows(pair: int) -> Int[Tensor, " images"]:
    """Return which images show a digit of a pair."""
    return (digits()[1] // IN_PAIR == pair).nonzero()[:, 0]


def score(logits: Float[Tensor, "runs batch 1 classes"], examples: Examples) -> Scores:
    """``loss`` (cross-entropy, nats) and ``accuracy`` of each example.

    Args:
        logits: of every answer.
        examples: ``known_pair`` among their extras (R, B) is the pair whose outputs alone are compared.
    """
    if "known_pair" in examples.extras:
        pair = torch.arange(logits.shape[-1], device=logits.device) // IN_PAIR
        logits = logits.masked_fill(pair != examples.extras["known_pair"][..., None, None], NEVER)
    return classes.score_once(logits, examples)


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one over the number of answers that are compared."""
    return 1 / (CLASSES if config.reading == "class" else IN_PAIR)


def informed_guess(config: Config, inputs: Tensor) -> None:
    """No image says anything of the others: the floor is chance."""
    del config, inputs


def ceiling(config: Config) -> float:
    """No predictor exceeds 1; whether one reaches it on handwriting is unknown."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> None:
    """No best predictor is known."""
    del config, inputs
