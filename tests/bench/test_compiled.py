"""The text on torch.compile follows from the times."""

from __future__ import annotations

import argparse

import pytest

from bench import compiled
from palimpsest.foundation.errors import ParameterError

OPTIONS = argparse.Namespace(device="cpu", runs=5, batch=32, repeats=1)


@pytest.mark.parametrize(
    ("eager", "fast", "ratio", "pays"), [(0.4, 0.2, 2.0, (30.2 - 0.2) / 0.05), (0.2, 0.4, 0.5, None)]
)
def test_it_pays_if_a_step_is_faster_and_after_what_it_cost(
    eager: float, fast: float, ratio: float, pays: float | None
) -> None:
    seconds = {("repaired", "eager"): eager, ("repaired", "compiled"): fast}
    row = compiled.row("repaired", OPTIONS, {("repaired", "compiled"): 30.0 + fast}, seconds)
    assert tuple(row) == compiled.COLUMNS
    assert row["ratio"] == pytest.approx(ratio)
    assert row["seconds_to_compile"] == pytest.approx(30)
    assert row["eager_ms_per_run_step"] == pytest.approx(1e3 * eager / compiled.STEPS / 5)
    assert row["steps_to_pay"] == (None if pays is None else pytest.approx(pays))


def test_packs_differ_in_nothing_but_the_compiler() -> None:
    eager, fast = (compiled._pack("repaired", kind, OPTIONS) for kind in (False, True))
    assert [spec.model_copy(update={"compiled": True}) for spec in eager] == fast
    assert len(eager) == 5


@pytest.mark.parametrize("option", ["runs", "batch", "repeats"])
def test_numbers_below_one_are_refused(option: str) -> None:
    with pytest.raises(ParameterError, match="compiled: a number is below 1; allowed: at least 1 each"):
        compiled.measure(argparse.Namespace(**{**vars(OPTIONS), option: 0}))
