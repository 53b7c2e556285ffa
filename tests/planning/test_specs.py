"""What exactly each run of a preset is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from palimpsest import models
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_whole
from palimpsest.planning.specs import RunSpec
from tests.training import presets


def test_a_spec_holds_everything(tmp_path: Path) -> None:
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


def sizes(spec: RunSpec) -> tuple[int, int]:
    """Parameters of one run, and those of them that stand for positions of an encoder; counted without data."""
    module = models.load(spec.model)
    with torch.device("meta"):
        model = module.Model(module.Config.model_validate(spec.config), 1)
    positions = getattr(getattr(model, "encoder", None), "positions", None)
    own = 0 if positions is None else positions.weight.numel()
    return sum(parameter.numel() for parameter in model.parameters()), own


def sizes_by_track(preset: str) -> dict[str, dict[str, set[tuple[int, int]]]]:
    """Sizes of the cells of every model in every track; a model without its memory is an ablation and left out."""
    found: dict[str, dict[str, set[tuple[int, int]]]] = {}
    for first, *_ in specs.check(read_whole(presets.PROJECT / f"params/{preset}.yaml")).values():
        if first.config.get("use_memory", True):
            of_track = found.setdefault(f"{first.experiment}/{first.track}", {})
            of_track.setdefault(first.model, set()).add(sizes(first))
    return found


REFERENCES = (
    "nema_lc",
    "nema_lite",
    "memnet",
    "ntm",
    "memory_rnn",
    "emt",
    "temporal_memory",
    "knowledge_graph_memory",
    "reasoning_network",
    "mlp",
)
"""The model of a track that the others are compared with: the first of these that it has."""
OF_SEQUENCES = {"lstm", "causal_transformer", "windowed_transformer"}
"""Baselines without a memory, beside models of sequences; those that have one come in sizes of their own."""


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_baselines_have_as_many_parameters_as_the_model(preset: str) -> None:
    """Within 2 %; one that embeds every position where the model embeds those of a chunk may have so many more."""
    for track, counts in sizes_by_track(preset).items():
        reference = next(name for name in REFERENCES if name in counts)
        compared = set(counts) if reference.startswith(("nema", "knowledge")) else set(counts) & OF_SEQUENCES
        for name in compared:
            for count, own in counts[name]:
                assert any(
                    count - (own - positions) <= whole
                    if own > positions and count > whole
                    else count == pytest.approx(whole, rel=0.02)
                    for whole, positions in counts[reference]
                ), (track, name)


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_every_model_is_used_by_some_experiment(preset: str) -> None:
    params = read_whole(presets.PROJECT / f"params/{preset}.yaml")
    assert {cell.model for cell in plan.cells(params)} == set(models.names())


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


def ablated(tmp_path: Path) -> list[RunSpec]:
    """Runs of a grid whose axis is a word."""
    params = presets.read_lifecycle(tmp_path)
    cells = [cell for cell in plan.cells(params) if "nema_lc/track=repaired/model=nema_lc/" in cell.base]
    assert [cell.values for cell in cells] == [{"ablation": "forget"}, {"ablation": "none"}]
    pack = plan.Pack("pack", tuple(run for cell in cells for run in plan.runs_of(cell)))
    return specs.of_pack(params, pack)


def test_runs_that_differ_in_a_word_that_is_per_run_are_a_pack(tmp_path: Path) -> None:
    runs = ablated(tmp_path)
    assert [(spec.config["ablation"], spec.seed) for spec in runs] == [
        ("forget", 0),
        ("forget", 1),
        ("none", 0),
        ("none", 1),
    ]
    assert "ablation" not in specs.structure(runs[0])["config"]
    assert specs.structure(runs[0]) == specs.structure(runs[3])


def test_runs_that_differ_in_a_word_that_is_not_per_run_are_no_pack(tmp_path: Path) -> None:
    runs = ablated(tmp_path)
    other = runs[1].model_copy(update={"config": {**runs[1].config, "read": "sigmoid"}})
    assert specs.structure(runs[0]) != specs.structure(other)


def test_a_word_may_be_what_packs_go_along(tmp_path: Path) -> None:
    params = presets.read_lifecycle(tmp_path)
    packing = params.packing.model_copy(update={"axes": ("seed", "ablation")})
    assert specs.check(params.model_copy(update={"packing": packing}))


def test_a_model_of_sequences_gets_the_sizes_of_its_task(tmp_path: Path) -> None:
    params = presets.read_sequences(tmp_path)
    resolved = {cell.base: specs.resolve(params, cell)[0] for cell in plan.cells(params)}
    for base, spec in resolved.items():
        of_bits = base.startswith("results/copy")
        expected = ("bits", 4, 18, 4, 13) if of_bits else ("learned", 0, 12, 12, 16)
        names = ("code", "code_bits", "num_tokens", "num_outputs", "sequence_length")
        assert tuple(spec.config[name] for name in names) == expected, base
        assert (spec.training.order, spec.training.optimiser, spec.training.clip_value) == ("stream", "rmsprop", 10)


def of_one_grid(task: str, model: str) -> Params:
    """A preset of one model on one task."""
    content = presets.sequence_content(order="shuffled")
    track = content["experiments"]["copy"]["tracks"]["repaired"]
    track["task"] = {"name": task}
    track["grids"] = {"here": {"model": model}}
    del track["shared"], content["experiments"]["mqar"]
    return Params.model_validate(content)


@pytest.mark.parametrize("model", ["oracle_writer", "oracle_replacement"])
def test_a_model_that_needs_to_know_more_than_its_task_gives_is_refused(model: str) -> None:
    line = rf"params: .*grids\.here\.model: '{model}' needs 'answer_position', which task 'copy' does not give; .*less"
    with pytest.raises(ParameterError, match=line) as caught:
        specs.check(of_one_grid("copy", model))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("task", "model"), [("copy", "nema_lite"), ("delayed_qa", "ntm"), ("delayed_qa", "lstm")])
def test_models_are_told_where_a_task_asks(task: str, model: str) -> None:
    (specs_of_cell,) = specs.check(of_one_grid(task, model)).values()
    config = specs_of_cell[0].config
    assert config["asked"] == (None if task == "copy" else [config["sequence_length"] - 1])


def test_a_stream_has_a_step_for_every_epoch(tmp_path: Path) -> None:
    assert specs.check(presets.read_sequences(tmp_path, num_epochs=6))
    params = presets.read_sequences(tmp_path, num_epochs=7)
    with pytest.raises(ParameterError, match=r"num_epochs: 7: the stream has 6 steps of 8 examples; allowed: 1 to 6"):
        specs.check(params)
    assert specs.check(presets.read_sequences(tmp_path, num_epochs=70, order="shuffled"))


@pytest.mark.parametrize("key", ["code", "num_outputs"])
def test_what_a_task_sets_no_grid_may_set(tmp_path: Path, key: str) -> None:
    content = presets.sequence_content()
    content["experiments"]["copy"]["tracks"]["repaired"]["grids"]["lstm"]["config"] = {key: 3}
    with pytest.raises(ParameterError, match=rf"grids\.lstm\.config: '{key}' is set by the task; allowed: every other"):
        specs.check(Params.model_validate(content))
