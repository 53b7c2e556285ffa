"""Reading and writing tensors as safetensors files, which need no pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import write_bytes


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors to a safetensors file; the same content gives the same bytes."""
    write_bytes(path, safetensors.save({key: value.cpu().contiguous() for key, value in tensors.items()}, metadata))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        DataError: the file is missing or corrupt.
    """
    try:
        return safetensors.load(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{path}: corrupt: {error}; allowed: a safetensors file") from None


STORED = (torch.int8, torch.uint8, torch.int16, torch.int32)
"""Types in which integers are stored, from the smallest on."""


def narrowed(values: Tensor, lowest: int, highest: int) -> Tensor:
    """Integers in the smallest type that holds all from ``lowest`` to ``highest``.

    >>> narrowed(torch.tensor([3]), 0, 50_256).dtype, narrowed(torch.tensor([-1]), -1, 127).dtype
    (torch.int32, torch.int8)
    """
    fits = (kind for kind in STORED if torch.iinfo(kind).min <= lowest and highest <= torch.iinfo(kind).max)
    return values.to(next(fits, torch.int64))
