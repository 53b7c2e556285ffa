"""Reading and writing tensors as safetensors files, which need no pickle."""

from __future__ import annotations

from pathlib import Path

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
