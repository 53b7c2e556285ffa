"""What a metric can be is read where it is measured."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from palimpsest.analysis.ranges import declared_ranges, range_of
from palimpsest.foundation.errors import DataError

SHARE, LINE, HALF = (0, 1), (-math.inf, math.inf), (0, math.inf)
TABLES = Path(__file__).parents[2] / "tables" / "runs"


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", SHARE),
        ("test_accuracy_on", SHARE),
        ("validation_sequence_accuracy_at_20", SHARE),
        ("test_loss_forget", HALF),
        ("test_slots_written", SHARE),
        ("validation_read_focus", SHARE),
        ("train_age_steps", HALF),
        ("test_utilisation", SHARE),
        ("test_utilisation_slope", LINE),
        ("train_utilisation_slope_training", LINE),
        ("train_objective", LINE),
        ("test_lossless", LINE),
        ("test_", LINE),
    ],
)
def test_the_longest_declared_name_speaks_for_a_metric(metric: str, expected: tuple[float, float]) -> None:
    assert range_of(metric) == expected


@pytest.mark.parametrize("table", sorted(TABLES.glob("*.csv")), ids=lambda path: path.stem)
def test_no_run_left_the_range_of_a_metric(table: Path) -> None:
    runs = pd.read_csv(table)
    for metric in (name for name in runs if name.startswith(("train_", "validation_", "test_"))):
        values, ends = runs[metric].dropna(), range_of(metric)
        assert values.between(*ends).all(), f"{metric}: {values.min()} to {values.max()}; allowed: {ends[:]}"


def declare(root: Path, module: str, text: str) -> Path:
    for package in ("memory", "tasks", "training"):
        (root / package).mkdir(exist_ok=True)
    path = root / "memory" / f"{module}.py"
    path.write_text(text)
    return path


def test_a_memory_of_ones_own_declares_beside_what_it_measures(tmp_path: Path) -> None:
    declare(tmp_path, "mine_log", 'X = 1\nRANGES = {"pages": (1, None), "debt": (None, 0), "full": (0, 1)}\n')
    declare(tmp_path, "other_log", 'RANGES = {"full": (0, 1)}\n')
    assert declared_ranges(tmp_path) == {"pages": (1, math.inf), "debt": (-math.inf, 0), "full": SHARE}


@pytest.mark.parametrize(
    "value",
    [
        '{"x": 1}',
        "[1, 2]",
        '{"x": (0, 1, 2)}',
        '{"x": (1, 0)}',
        '{"x": (0, 0)}',
        '{"x": (0, LIMIT)}',
        '{"x": ("a", 1)}',
    ],
)
def test_a_wrong_declaration_is_named_with_its_file(tmp_path: Path, value: str) -> None:
    path = declare(tmp_path, "mine_log", f"RANGES = {value}\n")
    with pytest.raises(DataError, match=f"{path}: RANGES: .*allowed: name: .low, high."):
        declared_ranges(tmp_path)


def test_two_modules_may_not_differ_about_a_metric(tmp_path: Path) -> None:
    declare(tmp_path, "a_log", 'RANGES = {"full": (0, 1)}\n')
    path = declare(tmp_path, "b_log", 'RANGES = {"full": (0, None)}\n')
    with pytest.raises(DataError, match=f"{path}: RANGES: full: .0.0, inf.; allowed: .0.0, 1.0., as another module"):
        declared_ranges(tmp_path)
