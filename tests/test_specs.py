"""What exactly each run of a preset is."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest import plan, specs
from palimpsest.config import read_params
from palimpsest.errors import ParameterError
from palimpsest.training import loop
from tests.training import presets


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


def test_runs_of_a_pack_have_their_own_values_in_its_order(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    found = plan.find_runs(params, "results/tiny/track=repaired/model=nema_lite", [])
    runs = specs.of_pack(params, plan.Pack("pack", found.runs[::-1]))
    assert [(spec.cell["mem_lambda"], spec.seed) for spec in runs] == [
        (r.cell.values["mem_lambda"], r.seed) for r in found.runs[::-1]
    ]
    assert all(spec.config["mem_lambda"] == spec.cell["mem_lambda"] for spec in runs)


def test_runs_that_differ_in_structure_are_no_pack(tmp_path: Path) -> None:
    params = presets.read(tmp_path, grids={"sweep": {"axes": {"capacity": [4, 16]}}})
    pack = plan.find_runs(params, "results/tiny/track=repaired/model=nema_lite", [])
    with pytest.raises(
        ParameterError, match=r"capacity=4.* cannot be trained together; allowed: runs that differ in seed"
    ):
        specs.of_pack(params, pack, "file")


@pytest.mark.parametrize("axis", ["capacity", "mem_lamda"])
def test_packs_go_along_per_run_parameters_only(tmp_path: Path, axis: str) -> None:
    params = presets.read(tmp_path)
    packing = params.packing.model_copy(update={"axes": ("seed", axis)})
    with pytest.raises(ParameterError, match=rf"file: packing\.axes: '{axis}': .*; allowed: .*mem_lambda, seed, "):
        specs.check(params.model_copy(update={"packing": packing}), "file")
