"""Files are written whole or not at all, and bad ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest import files
from palimpsest.errors import DataError


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"a\.txt: cannot be written: No space left on device"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("content", ["", "{", "not json", "\x00"])
def test_corrupt_json_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"a\.json: not JSON"):
        files.read_json(path)


@pytest.mark.parametrize("content", [b"", b"12345678", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_corrupt_tensors_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.safetensors: corrupt"):
        files.read_tensors(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (files.read_json, files.read_tensors):
        with pytest.raises(DataError, match="nowhere: no such file"):
            read(tmp_path / "nowhere")


def test_json_has_sorted_keys_and_null_for_what_is_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"b": float("nan"), "a": np.float64(1.5), "c": (np.int64(2), float("inf"))})
    assert files.read_json(path) == {"a": 1.5, "b": None, "c": [2, None]}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_tensors_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    files.write_tensors(path, {"x": torch.tensor(values, dtype=torch.float32)})
    assert torch.equal(files.read_tensors(path)["x"], torch.tensor(values, dtype=torch.float32))


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1}) != files.digest({"a": 1, "b": 3})
