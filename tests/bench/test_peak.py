"""The peak: operations are counted as they are by hand, and the products of a step are recorded entirely."""

from __future__ import annotations

import argparse

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench import peak, workload
from palimpsest.foundation.errors import ParameterError


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    peak.add_options(parser)
    return argparse.Namespace(device="cpu", **vars(parser.parse_args(words)))


def test_products_are_recorded_forward_and_backward_with_their_layouts() -> None:
    layer, x = nn.Linear(3, 5), torch.randn(4, 3, requires_grad=True)
    with peak.Products() as recorded:
        layer(x).sum().backward()
    assert len(recorded.calls) == 3
    with FlopCounterMode(display=False) as counter:
        for call in recorded.calls:
            call()
    assert counter.get_total_flops() == 3 * 2 * 4 * 3 * 5


def test_operands_that_overlap_in_memory_are_laid_out_as_they_were() -> None:
    a = torch.randn(1, 4, 3).expand(6, 4, 3)
    with peak.Products() as recorded:
        torch.bmm(a, torch.randn(6, 3, 2))
    operand = recorded.calls[0].arguments[0]
    assert (operand.shape, operand.stride()) == (a.shape, a.stride())
    assert recorded.calls[0]().shape == (6, 4, 2)


def test_the_bare_products_of_a_step_are_all_of_its_operations() -> None:
    spec = workload.specs_of("default", "published")[0]
    small = {"width": 8, "feedforward": 8, "num_layers": 1}
    step = peak.take_apart([workload.sized(spec, device="cpu", batch=4, steps=1, config=small)] * 1)
    with FlopCounterMode(display=False) as counter:
        step.products()
    assert counter.get_total_flops() == step.flop > 0


def test_a_pack_of_two_has_twice_the_operations_of_one() -> None:
    runs = workload.grid(workload.specs_of("default", "repaired"), 2)
    specs = [workload.sized(spec, device="cpu", batch=2, steps=1) for spec in runs]
    assert peak.take_apart(specs).flop == 2 * peak.take_apart(specs[:1]).flop


def test_the_fraction_of_the_peak_splits_into_two_factors() -> None:
    row = peak.row(("default", "published", 5), 10**9, 0.05, 0.02, 1e11)
    assert row["step_of_peak"] == pytest.approx(0.2)
    assert row["step_of_peak"] == pytest.approx(row["products_of_peak"] * row["products_of_step"])


def test_rows_are_of_every_preset_track_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "interleaved", lambda functions, *rest: dict.fromkeys(functions, 0.5))
    monkeypatch.setattr(peak, "take_apart", lambda specs: peak.Step(len(specs), lambda: None, lambda: None))
    rows = peak.measure(options("--pack", "1", "3"))
    assert len(rows) == 2 * 2 * 2
    assert all(set(row) == set(peak.COLUMNS) for row in rows)
    assert {(row["preset"], row["batch"]) for row in rows} == {("default", 32), ("paper", 64)}
    largest = max(flop for flop, _ in peak.large_products("cpu").values())
    assert all(row["peak_gflops"] == pytest.approx(largest / 0.5 / 1e9) for row in rows)


@pytest.mark.parametrize("words", [["--pack", "0"], ["--repeats", "0"], ["--preset", "huge"]])
def test_options_out_of_range_are_refused(words: list[str]) -> None:
    with pytest.raises(ParameterError, match=r"^--.*; allowed: .*$"):
        peak.measure(options(*words))
