"""Scaling: along each axis one thing varies and all else stays."""

from __future__ import annotations

import argparse

import pytest

from bench import scaling
from palimpsest.foundation.errors import ParameterError

WORDS = ["--pack", "1", "3", "--batch", "2", "--length", "16", "--slots", "8", "--runs", "2", "--repeats", "1"]


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    scaling.add_options(parser)
    return argparse.Namespace(device="cpu", **vars(parser.parse_args(words)))


def test_along_each_axis_one_thing_varies() -> None:
    cases = scaling.cases(options("--batch", "32"))
    sizes = {
        (axis, value): (
            len(specs),
            specs[0].track,
            specs[0].task["sequence_length"],
            specs[0].config["sequence_length"],
            specs[0].config["capacity"],
        )
        for (axis, value, _), specs in cases.items()
    }
    assert [sizes["pack", size] for size in (1, 20)] == [(size, "published", 64, 64, 256) for size in (1, 20)]
    assert [sizes["length", size] for size in (16, 256)] == [(5, "published", size, size, 256) for size in (16, 256)]
    assert [sizes["slots", size] for size in (16, 256)] == [(5, "repaired", 64, 64, size) for size in (16, 256)]


def test_a_row_has_every_column_and_a_positive_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        scaling, "interleaved", lambda functions, *rest: {key: (f(), 0.024)[1] for key, f in functions.items()}
    )
    rows = scaling.measure(options(*WORDS))
    assert [(row["axis"], row["value"]) for row in rows] == [("pack", 1), ("pack", 3), ("length", 16), ("slots", 8)]
    assert all(set(row) == set(scaling.COLUMNS) for row in rows)
    assert [row["ms_per_run_step"] for row in rows] == pytest.approx([6.0, 2.0, 3.0, 3.0])


def test_a_number_below_one_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"^scaling: a number is below 1; allowed: at least 1 each$"):
        scaling.measure(options("--length", "16", "0"))
