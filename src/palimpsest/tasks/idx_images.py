"""Images of IDX files, as of MNIST, whose pixels are permuted: a stream of tasks on data that the user gives.

The files are not part of this project: a ``folder`` has the four of MNIST [LeCun et al. 1998] under their names and
unpacked, or others of the same format. An IDX file begins with two zeros, the type of its elements (8: unsigned bytes),
the number of axes, and the length of each axis, a big-endian integer of four bytes; then come the elements, the last
axis fastest. A file of two images of 2 × 3 pixels::

    bytes  0  0  8  3 | 0 0 0 2 | 0 0 0 2 | 0 0 0 3 | 12 pixels, row by row

A token is the gray level of a pixel, 0 to 255; the token behind the last pixel is CLS, which is 0, and the class of the
image is asked there. Permutation 0 moves no pixel, every other number moves those of all images alike, as in
:mod:`palimpsest.tasks.permuted_pixels`. The seed deals the images of the training file to training and validation; the
test split is the beginning of the test file.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Generator, Tensor

from palimpsest.foundation.errors import DataError
from palimpsest.tasks import Examples, Splits, TaskConfig
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score_once, classes.record, classes.picture
LEVELS = 256
"""Gray levels of a pixel."""
FILES = {
    "images": "train-images-idx3-ubyte",
    "labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
UNSIGNED_BYTES = 8


class Config(TaskConfig):
    """Parameters of the reader; none of them needs the folder to be there."""

    generated: ClassVar[bool] = False
    extras: ClassVar[tuple[str, ...]] = ("answer_position", "slice", "length")

    folder: str = Field(
        "data/mnist",
        min_length=1,
        description="where the four files are; relative to the product directory, in which commands run",
    )
    rows: int = Field(28, ge=1, le=256, description="pixels of a column of an image")
    columns: int = Field(28, ge=1, le=256, description="pixels of a row of an image")
    num_classes: int = Field(10, ge=2, le=256, description="labels, from 0 on")
    permutation: int = Field(0, ge=0, lt=2**31, description="number of the permutation of pixels; 0: none moves")
    num_train: int = Field(50_000, ge=1, description="training images")
    num_validation: int = Field(10_000, ge=1, description="images of the training file on which choices are made")
    num_test: int = Field(
        10_000, ge=1, description="images looked at once, after each phase: the first of the test file"
    )

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self.rows * self.columns

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: levels, classes, and that CLS behind the last pixel asks."""
        return {
            "num_tokens": LEVELS,
            "num_outputs": self.num_classes,
            "sequence_length": self.pixels + 1,
            "asked": [self.pixels],
            "cls_position": self.pixels,
        }

    def files(self) -> dict[str, Path]:
        """Return the four files; nothing is looked at."""
        return {part: Path(self.folder) / name for part, name in FILES.items()}

    def sample(self, size: int) -> Examples:
        """White images of the class 0, to count memory and time steps with; nothing is read."""
        return _examples(self, torch.zeros(size, self.pixels, dtype=torch.int64), torch.zeros(size, dtype=torch.int64))

    def build(self, seed: int) -> Splits:
        """Read the files; the same seed deals the same images to training and validation on every machine.

        Raises:
            DataError: the folder or a file is missing, cannot be read or is no IDX file of bytes; images have another
                size, are fewer than asked for, or are not as many as labels; or a label is too large.
        """
        folder, files = Path(self.folder), self.files()
        if not folder.is_dir():
            raise DataError(f"{folder.absolute()}: no such folder; allowed: one with {', '.join(FILES.values())}")
        asked = self.num_train + self.num_validation
        pixels, labels = _read(self, files["images"], files["labels"], asked)
        order = torch.randperm(len(labels), generator=Generator().manual_seed(seed))
        validation, train = order[: self.num_validation], order[self.num_validation : asked]
        tested = _read(self, files["test_images"], files["test_labels"], self.num_test)
        parts = (
            (pixels[train], labels[train]),
            (pixels[validation], labels[validation]),
            tuple(part[: self.num_test] for part in tested),
        )
        return Splits(*(_examples(self, *part) for part in parts))


def _examples(config: Config, pixels: Int[Tensor, "images pixels"], labels: Int[Tensor, " images"]) -> Examples:
    """Permuted images with CLS behind their last pixel."""
    nothing = torch.zeros_like(labels)
    if config.permutation:
        generator = Generator().manual_seed(config.permutation)
        pixels = pixels[:, torch.randperm(config.pixels, generator=generator)]
    extras = {
        "answer_position": nothing - 1,
        "slice": nothing + config.permutation,
        "length": nothing + config.pixels + 1,
    }
    return Examples(torch.cat([pixels, nothing[:, None]], 1), labels[:, None], extras)


def _read(
    config: Config, images: Path, labels: Path, asked: int
) -> tuple[Int[Tensor, "images pixels"], Int[Tensor, " images"]]:
    """Pixels and labels of all images of two files."""
    pixels, answers = read_idx(images, 3), read_idx(labels, 1)
    if pixels.shape[1:] != (config.rows, config.columns):
        raise DataError(
            f"{images}: images of {pixels.shape[1]} × {pixels.shape[2]}; allowed: {config.rows} × {config.columns}"
        )
    if len(pixels) != len(answers):
        raise DataError(f"{labels}: {len(answers)} labels; allowed: {len(pixels)}, one for each image")
    if len(pixels) < asked:
        raise DataError(f"{images}: {len(pixels)} images, {asked} asked for; allowed: at most {len(pixels)}")
    if answers.max() >= config.num_classes:
        raise DataError(f"{labels}: label {answers.max()}; allowed: 0 to {config.num_classes - 1}")
    return torch.from_numpy(pixels.reshape(len(pixels), -1).astype(np.int64)), torch.from_numpy(
        answers.astype(np.int64)
    )


def read_idx(path: Path, axes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return what an IDX file of unsigned bytes holds.

    Args:
        path: of the file, unpacked.
        axes: that it must have.

    Raises:
        DataError: the file is missing, cannot be read, or is no such file; the message says what is wrong.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; allowed: an IDX file, unpacked") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    head = 4 + 4 * axes
    if len(content) < head or content[:4] != bytes((0, 0, UNSIGNED_BYTES, axes)):
        raise DataError(
            f"{path}: begins with {content[:4].hex(' ') or 'nothing'}; "
            f"allowed: 00 00 08 {axes:02x}, an unpacked IDX file of bytes with {axes} axes"
        )
    shape = struct.unpack(f">{axes}I", content[4:head])
    if math.prod(shape) != len(content) - head or not math.prod(shape):
        raise DataError(
            f"{path}: {len(content) - head} elements; allowed: {' × '.join(map(str, shape))}, as its beginning says, "
            "and one at least"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one over the number of classes, taken to be about as frequent."""
    return 1 / config.num_classes


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
