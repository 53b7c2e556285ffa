"""Checkpoints bring back what was measured, whatever the lengths of epochs."""

from __future__ import annotations

import pytest
import torch

from palimpsest.training import checkpoint
from palimpsest.training.pack import Log


@pytest.mark.parametrize("steps", [(3, 4), (4, 3, 4), (5,)])
def test_rows_of_epochs_of_different_numbers_of_steps_come_back(steps: tuple[int, ...]) -> None:
    """Many times, as a check of the type of a list looks at one item of it, drawn at random."""
    rows: list[Log] = [
        {name: torch.rand(count, 2, dtype=torch.float64) for name in ("loss", "accuracy")} for count in steps
    ]
    del rows[0]["accuracy"]
    for _ in range(30):
        restored = checkpoint._rows("log", checkpoint._table("log", rows))
        assert [row.keys() for row in restored] == [row.keys() for row in rows]
        for row, expected in zip(restored, rows, strict=True):
            assert all(torch.equal(row[name], expected[name]) for name in expected)
