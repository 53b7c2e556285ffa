"""Files are written whole or not at all, and bad ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from palimpsest.foundation import files
from palimpsest.foundation.errors import DataError


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


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file"):
        files.read_json(tmp_path / "nowhere")


def test_json_has_sorted_keys_and_null_for_what_is_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"b": float("nan"), "a": np.float64(1.5), "c": (np.int64(2), float("inf"))})
    assert files.read_json(path) == {"a": 1.5, "b": None, "c": [2, None]}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1}) != files.digest({"a": 1, "b": 3})
