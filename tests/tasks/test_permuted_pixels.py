"""Digits as vectors of pixels: permutations move pixels alike, no image is in two splits, parts share none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from palimpsest.tasks.permuted_digits import places
from palimpsest.tasks.permuted_pixels import Config


def test_without_a_permutation_tokens_are_the_pixels_of_scikit_learn() -> None:
    pixels, labels = load_digits(return_X_y=True)
    known = {(*map(int, image), int(label)) for image, label in zip(pixels, labels, strict=True)}
    for split in Config().build(3):
        assert {
            (*image[:64], *label) for image, label in zip(split.inputs.tolist(), split.targets.tolist(), strict=True)
        } <= known
        assert not split.inputs[:, 64].any()


@given(st.integers(0, 2**31 - 1), st.integers(0, 50))
def test_a_permutation_moves_the_pixels_of_all_images_alike(permutation: int, seed: int) -> None:
    sizes = {"num_train": 4, "num_validation": 2, "num_test": 3}
    plain, moved = (Config(permutation=number, **sizes).build(seed) for number in (0, permutation))
    for one, other in zip(plain, moved, strict=True):
        assert torch.equal(other.inputs[:, :64], one.inputs[:, places(permutation)])
        assert torch.equal(one.targets, other.targets)
        assert (other.extras["slice"] == permutation).all()


def test_parts_of_the_training_images_share_none_and_have_the_same_tests() -> None:
    sizes = {"num_train": 40, "num_validation": 297, "num_test": 500}
    parts = [Config(skipped=40 * part, **sizes).build(1) for part in range(5)]
    whole = Config(num_train=200, num_validation=297, num_test=500).build(1)
    assert torch.equal(torch.cat([part.train.inputs for part in parts]), whole.train.inputs)
    assert all(torch.equal(part.test.inputs, whole.test.inputs) for part in parts)


@pytest.mark.parametrize("sizes", [{"num_train": 1001}, {"skipped": 1}])
def test_more_images_than_there_are_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1798 images in all; allowed: at most 1797"):
        Config(**sizes)
