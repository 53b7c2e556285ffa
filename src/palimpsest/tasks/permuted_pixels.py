"""Digits as vectors of pixels, moved by a permutation: a stream of tasks for networks that see an image at once.

The images are the 1797 handwritten digits of 8 × 8 pixels that scikit-learn bundles [Alpaydin and Kaynak 1998], as in
:mod:`palimpsest.tasks.permuted_digits`. A token is the gray level of a pixel, 0 (white) to 16; the token behind the
last pixel is CLS, which is always white, and the class of the image is asked there. A small part of a 0, in the order
of permutation 0::

    step     0   1   2   3   4   5   6   7   8   9   …   64
    token    0   0   5  13   9   1   0   0   0   0   …   0        levels 5, 13, 9, 1: the upper stroke
    target   -   -   -   -   -   -   -   -   -   -   …   0

Permutation 0 moves no pixel. Every other number moves the pixels of all images alike, so that a layer that is connected
to all pixels finds each permutation as hard as any other, and what it learns of one is of no use for the next
[Goodfellow et al. 2014]. The seed of a data set decides which images are for training, validation and test. Data sets
with one seed have the same images for validation and for test; those that leave out (``skipped``) as many training
images as others use share no image with them in training.

Deviates: 8 × 8 pixels for the 28 × 28 of MNIST, since nothing is downloaded.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from palimpsest.tasks import SPLITS, Examples, Splits, TaskConfig
from palimpsest.tasks.permuted_digits import CLASSES, IMAGES, PIXELS, digits, places
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score_once, classes.record, classes.picture
LEVELS = 17
"""Gray levels of a pixel."""


class Config(TaskConfig):
    """Parameters of the task."""

    generated: ClassVar[bool] = False
    extras: ClassVar[tuple[str, ...]] = ("answer_position", "slice", "length")

    permutation: int = Field(0, ge=0, lt=2**31, description="number of the permutation of pixels; 0: none moves")
    skipped: int = Field(0, ge=0, description="images left out before the first training image")
    num_train: int = Field(1000, ge=1, description="training images")
    num_validation: int = Field(297, ge=1, description="images on which choices are made")
    num_test: int = Field(500, ge=1, description="images looked at once, after each phase")

    @model_validator(mode="after")
    def _images_suffice(self) -> Config:
        asked = self.skipped + sum(getattr(self, f"num_{split}") for split in SPLITS)
        if asked > IMAGES:
            raise ValueError(f"{asked} images in all; allowed: at most {IMAGES}, as no image is in two splits")
        return self

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: levels, classes, and that CLS behind the last pixel asks."""
        return pixels_interface(CLASSES)

    def build(self, seed: int) -> Splits:
        """Deal the images to the splits; the same seed gives the same examples on every machine."""
        pixels, labels = digits()
        order = torch.randperm(IMAGES, generator=Generator().manual_seed(seed))
        parts = dealt(order, self.num_test, self.num_validation, self.num_train, self.skipped)
        return Splits(*(self._examples(pixels[rows], labels[rows]) for rows in parts))

    def sample(self, size: int) -> Examples:
        """White images of the class 0."""
        white = torch.zeros(size, PIXELS, dtype=torch.int64)
        return self._examples(white, white[:, 0])

    def _examples(self, pixels: Int[Tensor, "images pixels"], labels: Int[Tensor, " images"]) -> Examples:
        return with_cls(pixels[:, places(self.permutation)], labels, self.permutation)


def pixels_interface(num_outputs: int) -> dict[str, Any]:
    """Return the interface of images that are shown pixel by pixel, CLS last."""
    return {
        "num_tokens": LEVELS,
        "num_outputs": num_outputs,
        "sequence_length": PIXELS + 1,
        "asked": [PIXELS],
        "cls_position": PIXELS,
    }


def dealt(order: Int[Tensor, " images"], test: int, validation: int, train: int, skipped: int = 0) -> list[Tensor]:
    """Return the rows of the training, validation and test split: test images first, so that they are always the same.

    Args:
        order: of all images.
        test: images of the test split.
        validation: of the validation split.
        train: of the training split.
        skipped: images between validation and training that no split has.
    """
    first = test + validation + skipped
    return [order[first : first + train], order[test : test + validation], order[:test]]


def with_cls(pixels: Int[Tensor, "images pixels"], answers: Int[Tensor, " images"], number: int) -> Examples:
    """Return images with CLS behind their last pixel.

    Args:
        pixels: levels, in the order in which they are shown.
        answers: the class of each image.
        number: of the data set among those of a stream, by which scores are also measured.
    """
    nothing = torch.zeros_like(answers)
    extras = {"answer_position": nothing - 1, "slice": nothing + number, "length": nothing + PIXELS + 1}
    return Examples(torch.cat([pixels, nothing[:, None]], 1), answers[:, None], extras)


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one over the number of classes, which are about as frequent."""
    del config
    return 1 / CLASSES


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
