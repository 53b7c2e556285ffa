"""Sizes that no memory has are named with their value and what is allowed."""

from __future__ import annotations

import math

import pytest

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.sizes import at_least_one, within


def test_good_sizes_pass() -> None:
    at_least_one(num_slots=1, slot_dim=7)
    within("decay", 0.0, 0.0, 1.0)
    within("decay", 1.0, 0.0, 1.0)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_named(size: int) -> None:
    with pytest.raises(ParameterError, match=f"^slot_dim: {size} is too small; allowed: 1 or more$"):
        at_least_one(num_slots=2, slot_dim=size)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_a_number_out_of_range_is_named(value: float) -> None:
    with pytest.raises(ParameterError, match=r"^decay: \S+ is out of range; allowed: 0.0 to 1.0$"):
        within("decay", value, 0.0, 1.0)
