"""Reading IDX files, which are written here byte by byte, and refusing broken ones."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from palimpsest.foundation.errors import DataError
from palimpsest.planning import specs
from palimpsest.planning.presets import read_params
from palimpsest.tasks import idx_images
from palimpsest.tasks.idx_images import FILES, Config, read_idx
from tests.training.presets import PROJECT

SIZES = {"rows": 2, "columns": 3, "num_classes": 4, "num_train": 6, "num_validation": 3, "num_test": 4}


def idx(values: np.ndarray[Any, Any]) -> bytes:
    """An IDX file, put together byte by byte."""
    head = b"\0\0" + bytes([8, values.ndim]) + b"".join(struct.pack(">I", length) for length in values.shape)
    return head + bytes(int(value) for value in values.flatten())


def write(folder: Path, images: int = 10, tested: int = 5) -> dict[str, Any]:
    """The four files: image number n has the pixels n, n + 1, … and the label n mod 4."""
    folder.mkdir(parents=True, exist_ok=True)
    for count, names in ((images, ("images", "labels")), (tested, ("test_images", "test_labels"))):
        numbers = np.arange(count)
        pixels = numbers[:, None, None] + np.arange(6).reshape(2, 3)
        for name, values in zip(names, (pixels, numbers % 4), strict=True):
            (folder / FILES[name]).write_bytes(idx(values))
    return {"folder": str(folder), **SIZES}


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=5)))
def test_what_is_written_is_read_back(values: np.ndarray[Any, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(idx(values))
        assert np.array_equal(read_idx(path, values.ndim), values)


def test_every_image_keeps_its_label_and_no_image_is_in_two_splits(tmp_path: Path) -> None:
    splits = Config.model_validate(write(tmp_path)).build(3)
    first = [split.inputs[:, 0].tolist() for split in splits]
    assert [len(part) for part in first] == [6, 3, 4]
    assert len({*first[0], *first[1]}) == 9
    assert first[2] == [0, 1, 2, 3]  # the first of the test file
    for split in splits:
        assert torch.equal(split.targets[:, 0], split.inputs[:, 0] % 4)
        assert torch.equal(split.inputs[:, :6], split.inputs[:, :1] + torch.arange(6))
        assert not split.inputs[:, 6].any()


def test_a_permutation_moves_the_pixels_of_all_images_alike_and_no_image_to_another_split(tmp_path: Path) -> None:
    config = write(tmp_path)
    plain = Config.model_validate(config).build(3)
    moved = Config.model_validate({**config, "permutation": 2}).build(3)
    places = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    for one, other in zip(plain, moved, strict=True):
        assert torch.equal(one.inputs[:, :6][:, places], other.inputs[:, :6])
        assert torch.equal(one.targets, other.targets)
        assert set(other.extras["slice"].tolist()) == {2}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images", None, "no such file; allowed: an IDX file, unpacked"),
        ("labels", b"", "begins with nothing; allowed: 00 00 08 01"),
        ("images", b"\x1f\x8b\x08\x00" + bytes(40), "begins with 1f 8b 08 00; allowed: 00 00 08 03, an unpacked"),
        ("images", idx(np.zeros((10, 2, 3)))[:-1], "59 elements; allowed: 10 × 2 × 3, as its beginning says"),
        ("labels", idx(np.zeros(10)) + b"\0", "11 elements; allowed: 10"),
        ("images", idx(np.zeros((0, 2, 3))), "0 elements; allowed: 0 × 2 × 3"),
        ("images", idx(np.zeros((10, 3, 2))), "images of 3 × 2; allowed: 2 × 3"),
        ("labels", idx(np.zeros(9)), "9 labels; allowed: 10, one for each image"),
        ("labels", idx(np.full(10, 4)), "label 4; allowed: 0 to 3"),
        ("test_images", idx(np.zeros((5, 6))), "begins with 00 00 08 02; allowed: 00 00 08 03"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    config = Config.model_validate(write(tmp_path))
    file = tmp_path / FILES[name]
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        config.build(0)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_fewer_images_than_asked_for_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    config = write(tmp_path, images=8)
    with pytest.raises(DataError, match="8 images, 9 asked for; allowed: at most 8"):
        Config.model_validate(config).build(0)
    with pytest.raises(DataError, match="no such folder; allowed: one with train-images-idx3-ubyte"):
        Config.model_validate({**config, "folder": str(tmp_path / "none")}).build(0)


def test_the_preset_has_the_stream_of_the_default_one_without_the_data_being_there() -> None:
    path = PROJECT / "params/idx_images.yaml"
    params = read_params(path)
    track = params.experiments["continual_permuted"].tracks["repaired"]
    default = read_params(PROJECT / "params/default.yaml").experiments["continual_permuted"].tracks["repaired"]
    assert list(track.phases) == list(default.phases)
    assert {part.config["permutation"] for part in track.data.values()} == {1, 2, 3, 4}
    config = specs.task_config(track, path, "here")
    assert isinstance(config, Config)
    assert (config.num_train, config.num_validation, config.num_test) == (50_000, 10_000, 10_000)
    assert {name: grid.method and grid.method.name for name, grid in track.grids.items()} == {
        "fine_tuning": None,
        "ewc_exact": "ewc",
        "replay": "replay",
        "agem": "agem",
        "joint": "joint",
    }
    assert idx_images.chance(config) == 0.1
