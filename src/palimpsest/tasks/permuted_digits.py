"""Permuted digits: small images of digits whose pixels a permutation has moved (source 002, continual learning).

The images are the 1797 handwritten digits of 8 × 8 pixels that scikit-learn bundles [Alpaydin and Kaynak 1998]. A
permutation moves the pixels of all images alike, as in permuted MNIST [Goodfellow et al. 2014]; number 0 moves none. A
token is the bits of a few pixels in a row; then ASK, at which the class is the target, and the class itself, or BLANK.
With a bit a pixel and a row of pixels a token, a 0 of permutation 0 is::

    step       0    1    2    3    4    5    6    7    8    9
    token      24   60   100  100  100  36   52   24   ASK  0      24: pixels 3 and 4 of the row are dark
    target     -    -    -    -    -    -    -    -    0    -

Training shows the class behind the step that asks for it (``shown``), so that a memory that outlives a sequence could
store what the image was. Validation and test show BLANK: nothing that an evaluation puts in says what was forgotten.

The seed of a data set decides which images are for training, validation and test, no image for two of them. Data sets
with one seed and several permutations have the same images in each split.

Deviates: 8 × 8 pixels for the 28 × 28 of MNIST, since nothing is downloaded; gray levels are cut to ``pixel_bits``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from palimpsest.tasks import SPLITS, Examples, Splits, TaskConfig
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score, classes.record, classes.picture
IMAGES, PIXELS, LEVELS, CLASSES = 1797, 64, 16, 10
"""Images there are, pixels of each, gray levels but the brightest (which counts as the one before), and classes."""


class Config(TaskConfig):
    """Parameters of the task."""

    generated: ClassVar[bool] = False
    extras: ClassVar[tuple[str, ...]] = ("length", "group", "slice")

    permutation: int = Field(0, ge=0, lt=2**31, description="number of the permutation of pixels; 0: none moves")
    pixel_bits: int = Field(1, ge=1, le=4, description="bits of a pixel, of 16 gray levels")
    pixels_per_token: Literal[1, 2, 4, 8] = Field(8, description="pixels side by side that are one token")
    shown: bool = Field(True, description="whether training shows the class once it has been asked")
    num_train: int = Field(1000, ge=1, description="training images")
    num_validation: int = Field(297, ge=1, description="images on which choices are made; the class is not shown")
    num_test: int = Field(500, ge=1, description="images looked at once, after each phase; the class is not shown")

    @model_validator(mode="after")
    def _images_suffice(self) -> Config:
        asked = sum(getattr(self, f"num_{split}") for split in SPLITS)
        if asked > IMAGES:
            raise ValueError(f"{asked} images in all; allowed: at most {IMAGES}, as no image is in two splits")
        if self.token_bits > 14:
            raise ValueError(
                f"pixel_bits {self.pixel_bits} of {self.pixels_per_token} pixels are {self.token_bits} bits a token; "
                "allowed: at most 14"
            )
        return self

    @property
    def token_bits(self) -> int:
        """Bits of a token."""
        return self.pixel_bits * self.pixels_per_token

    @property
    def ask(self) -> int:
        """Token ASK; BLANK and the classes are the next."""
        return 2**self.token_bits

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, the meaning of tokens, and that it names classes."""
        return {
            "num_tokens": self.ask + 2 + CLASSES,
            "num_outputs": CLASSES,
            "sequence_length": PIXELS // self.pixels_per_token + 2,
            "code": "bits",
            "code_bits": self.token_bits,
            "code_levels": 0,
        }

    def build(self, seed: int) -> Splits:
        """Deal the images to the splits; the same seed gives the same examples on every machine."""
        order = torch.randperm(IMAGES, generator=Generator().manual_seed(seed))
        test, others = order[: self.num_test], order[self.num_test :]
        validation, train = others[: self.num_validation], others[self.num_validation :][: self.num_train]
        pixels, labels = digits()
        return Splits(
            _examples(self, pixels[train], labels[train], shown=self.shown),
            *(_examples(self, pixels[rows], labels[rows], shown=False) for rows in (validation, test)),
        )

    def sample(self, size: int) -> Examples:
        """White images of the class 0."""
        white = torch.zeros(size, PIXELS, dtype=torch.int64)
        return _examples(self, white, white[:, 0], shown=self.shown)


@lru_cache(maxsize=1)
def digits() -> tuple[Int[Tensor, "images pixels"], Int[Tensor, " images"]]:
    """Return all images, row by row, each pixel in 0 … 16, and the class of each."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pixels).long(), torch.from_numpy(labels).long()


def places(permutation: int) -> Int[Tensor, " pixels"]:
    """Return which pixel stands at each place under a permutation."""
    if permutation == 0:
        return torch.arange(PIXELS)
    return torch.randperm(PIXELS, generator=Generator().manual_seed(permutation))


def _examples(
    config: Config, pixels: Int[Tensor, "images pixels"], labels: Int[Tensor, " images"], *, shown: bool
) -> Examples:
    levels = pixels.clamp_max(LEVELS - 1) * 2**config.pixel_bits // LEVELS
    in_tokens = levels[:, places(config.permutation)].unflatten(1, (-1, config.pixels_per_token))
    tokens = (in_tokens << config.pixel_bits * torch.arange(config.pixels_per_token)).sum(2)
    ask = torch.full_like(labels, config.ask)
    told = config.ask + 2 + labels if shown else config.ask + 1 + torch.zeros_like(labels)
    inputs = torch.cat([tokens, ask[:, None], told[:, None]], 1)
    targets = torch.full_like(inputs, -1)
    targets[:, -2] = labels
    zero = torch.zeros_like(labels)
    return Examples(
        inputs, targets, {"length": zero + inputs.shape[1], "group": zero, "slice": zero + config.permutation}
    )


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
