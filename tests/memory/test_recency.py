"""The tournament against a list of times."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.memory import recency
from palimpsest.memory.versioned import Version


def fresh(num_rows: int) -> Version:
    return Version({recency.COLUMN: recency.never_used(1, 1, num_rows, torch.device("cpu"))})


@settings(max_examples=30)
@given(st.sampled_from([1, 2, 5, 127, 128, 129, 300]), st.integers(0, 2**32 - 1))
def test_the_least_recent_row_is_that_of_a_list_of_times(num_rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    version, times = fresh(num_rows), [0] * num_rows
    for time in range(1, 12):
        expected = min(range(num_rows), key=lambda row: (times[row], row))
        assert recency.least_recent(version, num_rows).item() == expected
        index = torch.randint(num_rows, (1, 1, 4), generator=generator)
        index[..., 0] = expected
        used = torch.rand(num_rows, generator=generator)[index] > 0.3
        version = recency.use(version, index, used, time, num_rows)
        for row, really in zip(index.flatten().tolist(), used.flatten().tolist(), strict=True):
            times[row] = time if really else times[row]


@pytest.mark.parametrize("num_rows", [1, 128, 129, 128**2 + 1])
def test_rows_that_were_never_used_come_in_order(num_rows: int) -> None:
    version = fresh(num_rows)
    for time in range(1, min(num_rows, 5) + 1):
        row = recency.least_recent(version, num_rows)
        assert row.item() == time - 1
        version = recency.use(version, row[..., None], torch.ones(1, 1, 1, dtype=torch.bool), time, num_rows)


def test_the_later_a_row_was_used_the_larger_its_key() -> None:
    version = fresh(4)
    for time, row in enumerate((2, 0, 3), 1):
        version = recency.use(version, torch.tensor([[[row]]]), torch.ones(1, 1, 1, dtype=torch.bool), time, 4)
    keys = recency.last_used(version, torch.tensor([[[1, 2, 0, 3]]]))
    assert (keys.diff() > 0).all()
