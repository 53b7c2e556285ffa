"""From presets to runs: which, where, and what exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest import plan, specs
from palimpsest.config import read_params
from palimpsest.training import loop
from tests.training import presets


def test_every_combination_and_seed_is_asked_for_once(tmp_path: Path) -> None:
    params = presets.read(tmp_path, grids={"sweep": {"axes": {"mem_lambda": [0, 0.1], "write_threshold": [0.3, 0.5]}}})
    directories = [cell.directory(seed).as_posix() for cell in plan.cells(params) for seed in cell.seeds]
    assert len(directories) == len(set(directories)) == (2 * 2 + 1) * 3
    base = "results/tiny/track=repaired/model=nema_lite"
    assert f"{base}/mem_lambda=0.1/write_threshold=0.3/seed=2" in directories
    assert "results/tiny/track=repaired/model=no_memory/seed=0" in directories


def test_packs_are_sorted_and_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    forward = presets.read(tmp_path, grids={"sweep": {"axes": {"mem_lambda": [0, 0.1]}}})
    backward = presets.read(tmp_path, grids={"sweep": {"axes": {"mem_lambda": [0.1, 0]}}})
    assert [cell.base for cell in plan.cells(forward)] == [cell.base for cell in plan.cells(backward)]


def test_a_spec_says_everything(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    cell = next(cell for cell in plan.cells(params) if "mem_lambda=0.1" in cell.base)
    spec = specs.resolve(params, cell)[1]
    assert spec.seed == 1
    assert spec.config["mem_lambda"] == 0.1
    assert spec.config["num_tokens"] == 21  # set by the task
    assert spec.config["gate_logit_penalty"] == 0  # a default
    assert spec.task["num_train"] == 48
    assert spec.training.learning_rate == 0.01


def test_an_axis_of_the_training_reaches_the_training(tmp_path: Path) -> None:
    params = presets.read(tmp_path, grids={"no_memory": {"axes": {"learning_rate": [0.1, 0.2]}}})
    every = [spec for runs in specs.check(params).values() for spec in runs]
    rates = {spec.training.learning_rate for spec in every if spec.model == "no_memory"}
    assert rates == {0.1, 0.2}


@given(st.lists(st.floats(0, 10), min_size=1, max_size=6, unique=True))
def test_every_value_of_an_axis_has_a_path_of_its_own(values: list[float]) -> None:
    cells = [plan.Cell("e", "repaired", "m", "g", {"mem_lambda": value}, (0,)) for value in values]
    assert len({cell.base for cell in cells}) == len({float(value) for value in values})


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_baselines_have_as_many_parameters_as_the_model(preset: str) -> None:
    params = read_params(presets.PROJECT / f"params/{preset}.yaml").model_copy(update={"device": "cpu"})
    counts: dict[str, dict[str, int]] = {}
    for cell in plan.cells(params):
        if cell.model not in counts.setdefault(cell.track, {}):
            model = loop.build_pack(specs.resolve(params, cell)[:1]).model
            counts[cell.track][cell.model] = sum(parameter.numel() for parameter in model.parameters())
    for track, models in counts.items():
        for name, count in models.items():
            assert count == pytest.approx(models["nema_lite"], rel=0.02), (track, name)
