r"""LRA Retrieval: do two papers of the ACL Anthology Network cite one another? Read from the release's files.

The data are not part of this project: the user gives a ``folder`` with ``new_aan_pairs.train.tsv``,
``new_aan_pairs.eval.tsv`` and ``new_aan_pairs.test.tsv``. A line has five fields, split by tabs, without a header and
without quoting: label, two identifiers, two texts (google-research/long-range-arena, commit cd31e5c,
``lra_benchmarks/matching/input_pipeline.py``; the label is read as a float there). The texts are bytes as Python prints
them, so that a tab or a line's end inside a text is two printable characters and never splits one; that their alphabet
is printable ASCII is what state-spaces/s4, commit ab287c6, ``src/dataloaders/lra.py``, counts: 95 and 3 of its own.
A line of the file, and the example that is made of it with ``max_bytes`` 5 and ``question_length`` 3::

    1.0 ⇥ P93-1024 ⇥ W04-3213 ⇥ b'We\tsay' ⇥ b"It's"

    position   0   1   2   3    4     5   6   7   8    9   10   11   12
    token      88  102 10  116  98    74  117 40  116  0   SEP  SEP  CLS     target: 1
               document 1: W e ⇥ s a  document 2: I t ' s   question          a byte b is token b + 1, 0 is padding

Deviates:
    The benchmark encodes the two documents apart and compares them; here they are one sequence, as for every task, and
    a last chunk asks. Published models read the printed form itself (``text: literal``), quotes and escapes included;
    by default it is read back to bytes first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from palimpsest.foundation.errors import DataError
from palimpsest.tasks import Examples, Splits, TaskConfig
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score_once, classes.record, classes.picture
FILES = {"train": "new_aan_pairs.train.tsv", "validation": "new_aan_pairs.eval.tsv", "test": "new_aan_pairs.test.tsv"}
"""File of each split."""
SEP, CLS = 257, 258
"""Tokens after padding (0) and the bytes (1 to 256)."""
LABELS = {b"0": 0, b"1": 1, b"0.0": 0, b"1.0": 1}
FIELDS = 5
# What repr() makes of bytes: printable ASCII without the quote around it, and the escapes \t \n \r \\ \' \x00.
_ESCAPE = rb"\\(?:[tnr\\'\x22]|x[0-9a-f]{2})"
BYTES_LITERAL = re.compile(
    rb"b'(?:[ -&(-\[\]-~]++|" + _ESCAPE + rb")*+'|" + rb"b\x22(?:[ !#-\[\]-~]++|" + _ESCAPE + rb")*+\x22"
)


class Config(TaskConfig):
    """Parameters of the reader; none of them needs the folder to be there."""

    extras: ClassVar[tuple[str, ...]] = ("answer_position",)

    generated: ClassVar[bool] = False

    folder: str = Field(
        "data/lra_release",
        min_length=1,
        description="where the release's three files are; relative to the product directory, in which commands run",
    )
    text: Literal["decoded", "literal"] = Field(
        "decoded", description="whether a text b'…' is read back to bytes, or its characters are the bytes"
    )
    max_bytes: int = Field(4000, ge=1, le=100_000, description="bytes of each document; longer ones are cut")
    question_length: int = Field(8, ge=2, le=4096, description="tokens after the documents: SEP, and CLS last")
    num_train: int = Field(147_086, ge=1, description="training pairs, the first of the file; all, if as in S4")
    num_validation: int = Field(18_090, ge=1, description="pairs on which choices are made, the first of the file")
    num_test: int = Field(17_437, ge=1, description="pairs that are looked at once, at the end, the first of the file")

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: sizes of its input and output, and where CLS stands."""
        length = 2 * self.max_bytes + self.question_length
        return {
            "num_tokens": CLS + 1,
            "num_outputs": 2,
            "sequence_length": length,
            "asked": [length - 1],
            "cls_position": length - 1,
        }

    def files(self) -> dict[str, Path]:
        """File of each split; nothing is looked at."""
        return {split: Path(self.folder) / name for split, name in FILES.items()}

    def sample(self, size: int) -> Examples:
        """Examples of the right shapes with empty documents, to count memory and time steps with; nothing is read."""
        inputs = torch.zeros(size, 2 * self.max_bytes + self.question_length, dtype=torch.int64)
        inputs[:, 2 * self.max_bytes :] = SEP
        inputs[:, -1] = CLS
        extras = {"answer_position": torch.full((size,), -1)}
        return Examples(inputs, torch.zeros(size, 1, dtype=torch.int64), extras)

    def build(self, seed: int) -> Splits:
        """Read the three files; the seed changes nothing, as the release has its own splits.

        A pair takes 64 kB, so all 147,086 that [Gu et al. 2022] count for training take 9.4 GB.

        Raises:
            DataError: the folder or a file is missing, cannot be read, is empty, has fewer lines than asked for, or has
                a line (named by its number) that is no pair.
        """
        del seed
        folder = Path(self.folder)
        if not folder.is_dir():
            raise DataError(
                f"{folder.absolute()}: no such folder; allowed: one with {', '.join(FILES.values())} of the release"
            )
        return Splits(*(_read(self, path, getattr(self, f"num_{split}")) for split, path in self.files().items()))


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: the two labels are about equally frequent in the release."""
    del config
    return 0.5


def informed_guess(config: Config, inputs: Tensor) -> None:
    """``None``: no such predictor is known that does better than the share of a class, so the floor is chance."""
    del config, inputs


def ceiling(config: Config) -> float:
    """Upper bound of the accuracy; the best predictor of citations is not known."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> None:
    """``None``: the best predictor of citations is not known."""
    del config, inputs


def _read(config: Config, path: Path, limit: int) -> Examples:
    """The first ``limit`` pairs of a file."""
    try:
        with path.open("rb") as file:
            size = sum(1 for _ in islice(file, limit))
            if not size:
                raise DataError(f"{path}: empty; allowed: a file with a pair on every line")
            if size < limit:
                raise DataError(f"{path}: {size} lines, {limit} asked for; allowed: at most {size}")
            file.seek(0)
            return _examples(config, _pairs(config, path, islice(file, limit)), size)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; allowed: the release's files, under their names") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _examples(config: Config, pairs: Iterator[tuple[int, bytes, bytes]], size: int) -> Examples:
    inputs, targets, extras = config.sample(size)
    tokens, labels = inputs.numpy(), targets.numpy()  # the same memory
    for row, (label, *documents) in enumerate(pairs):
        labels[row, 0] = label
        for start, document in zip((0, config.max_bytes), documents, strict=True):
            tokens[row, start : start + len(document)] = np.frombuffer(document, np.uint8).astype(np.int64) + 1
    return Examples(inputs, targets, extras)


def _pairs(config: Config, path: Path, lines: Iterator[bytes] | BinaryIO) -> Iterator[tuple[int, bytes, bytes]]:
    """Label and the two documents of every line, cut to their length."""
    for number, line in enumerate(lines, start=1):
        fields = line.removesuffix(b"\n").removesuffix(b"\r").split(b"\t")
        where = f"{path}: line {number}"
        if len(fields) != FIELDS:
            raise DataError(f"{where}: {len(fields)} fields; allowed: {FIELDS}, split by tabs: label, 2 ids, 2 texts")
        label, _, _, *texts = fields
        if label not in LABELS:
            raise DataError(f"{where}: label {_shown(label)}; allowed: 0, 1, 0.0, 1.0")
        if config.text == "decoded":
            texts = [_decoded(text, f"{where}: text {place}") for place, text in enumerate(texts, start=1)]
        first, second = (text[: config.max_bytes] for text in texts)
        yield LABELS[label], first, second


def _decoded(text: bytes, where: str) -> bytes:
    """The bytes that were printed as ``text``."""
    if not BYTES_LITERAL.fullmatch(text):
        raise DataError(f"{where}: {_shown(text)}; allowed: bytes as Python prints them, b'…' or b\"…\"")
    return ast.literal_eval(text.decode("ascii"))


def _shown(value: bytes) -> str:
    """A value for a message, on one line and not longer than it."""
    return repr(value if len(value) <= 40 else value[:40] + b"...").removeprefix("b")
