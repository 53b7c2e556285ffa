"""Codes of places are the paper's."""

from __future__ import annotations

import math

import pytest

from palimpsest.layers.places import sinusoids


@pytest.mark.parametrize(("time", "width"), [(1, 1), (5, 4), (7, 5), (241, 32)])
def test_places_have_the_code_of_the_paper(time: int, width: int) -> None:
    found = sinusoids(time, width)
    assert found.shape == (time, width)
    for place in range(time):
        for feature in range(width):
            angle = place / 10000 ** (2 * (feature // 2) / width)
            expected = math.cos(angle) if feature % 2 else math.sin(angle)
            assert found[place, feature].item() == pytest.approx(expected, abs=1e-6)
