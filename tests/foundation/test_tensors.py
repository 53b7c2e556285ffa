"""Tensors come back as they were, and bad files are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation import tensors
from palimpsest.foundation.errors import DataError


@pytest.mark.parametrize("content", [b"", b"12345678", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_corrupt_tensors_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.safetensors: corrupt"):
        tensors.read_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file"):
        tensors.read_tensors(tmp_path / "nowhere")


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_tensors_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    tensors.write_tensors(path, {"x": torch.tensor(values, dtype=torch.float32)})
    assert torch.equal(tensors.read_tensors(path)["x"], torch.tensor(values, dtype=torch.float32))


@pytest.mark.parametrize(
    ("lowest", "highest", "kind"),
    [
        (0, 127, torch.int8), (-1, 127, torch.int8), (0, 255, torch.uint8), (-1, 255, torch.int16),
        (0, 2**15 - 1, torch.int16), (0, 50_256, torch.int32), (0, 2**31, torch.int64),
    ],
)  # fmt: skip
def test_integers_are_stored_in_the_smallest_type_that_holds_them(lowest: int, highest: int, kind: torch.dtype) -> None:
    found = tensors.narrowed(torch.tensor([lowest, highest]), lowest, highest)
    assert found.dtype == kind
    assert found.tolist() == [lowest, highest]
