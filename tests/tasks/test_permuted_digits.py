"""Permuted digits: images of scikit-learn, each in one split, with their pixels moved alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import permuted_digits
from palimpsest.tasks.permuted_digits import Config


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters; checked outside, as shape checks draw random numbers, which a strategy may not."""
    pixel_bits = draw(st.integers(1, 4))
    return {
        "permutation": draw(st.integers(0, 5)),
        "pixel_bits": pixel_bits,
        "pixels_per_token": draw(st.sampled_from([p for p in (1, 2, 4, 8) if p * pixel_bits <= 14])),
        "shown": draw(st.booleans()),
        "num_train": 12,
        "num_validation": 5,
        "num_test": 6,
    }


def naive(config: Config, image: np.ndarray, label: int, *, shown: bool) -> list[int]:
    """Tokens of one image of 64 pixels in 0 … 16, pixel by pixel."""
    moved = [int(image[place]) for place in permuted_digits.places(config.permutation).tolist()]
    tokens = []
    for start in range(0, 64, config.pixels_per_token):
        token = 0
        for number, pixel in enumerate(moved[start : start + config.pixels_per_token]):
            level = min(pixel, 15) // 2 ** (4 - config.pixel_bits)
            token += level * 2 ** (config.pixel_bits * number)
        tokens.append(token)
    return [*tokens, config.ask, config.ask + 2 + label if shown else config.ask + 1]


@given(contents(), st.integers(0, 1000))
def test_every_example_is_an_image_and_none_is_in_two_splits(content: dict[str, Any], seed: int) -> None:
    config = Config(**content)
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(seed)).tolist()
    used = {"test": order[:6], "validation": order[6:11], "train": order[11:23]}
    for name, (inputs, targets, extras) in config.build(seed)._asdict().items():
        shown = config.shown and name == "train"
        expected = [naive(config, images[row], int(labels[row]), shown=shown) for row in used[name]]
        assert inputs.tolist() == expected
        assert targets[:, -2].tolist() == labels[used[name]].tolist()
        assert (targets[:, :-2] == -1).all()
        assert (targets[:, -1] == -1).all()
        assert set(extras["slice"].tolist()) == {config.permutation}


def test_the_picture_is_an_example() -> None:
    images, labels = load_digits(return_X_y=True)
    tokens = naive(Config(), images[0], int(labels[0]), shown=True)
    assert tokens == [24, 60, 100, 100, 100, 36, 52, 24, 256, 258]
    assert all(str(token) in str(permuted_digits.__doc__) for token in tokens[:8])


@given(st.integers(0, 2**31 - 1))
def test_a_permutation_moves_every_pixel_to_one_place(number: int) -> None:
    places = permuted_digits.places(number)
    assert sorted(places.tolist()) == list(range(64))
    assert (places.tolist() == list(range(64))) == (number == 0)


def test_data_sets_of_one_seed_have_the_same_images_in_each_split() -> None:
    one, other = (Config(permutation=number).build(3) for number in (0, 1))
    for split, moved in zip(one, other, strict=True):
        assert torch.equal(split.targets, moved.targets)
        assert not torch.equal(split.inputs, moved.inputs)


def test_classes_are_about_as_frequent() -> None:
    _, labels = permuted_digits.digits()
    assert labels.bincount().div(len(labels)).sub(permuted_digits.chance(Config())).abs().max() < 0.01


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"num_train": 1001}, "1798 images in all; allowed: at most 1797, as no image is in two splits"),
        ({"pixel_bits": 2}, "pixel_bits 2 of 8 pixels are 16 bits a token; allowed: at most 14"),
        ({"pixels_per_token": 3}, "pixels_per_token"),
        ({"permutation": -1}, "permutation"),
    ],
)
def test_bad_input_is_one_line(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        checked(Config, content, "p.yaml", "task.config")
    assert "\n" not in str(caught.value)
