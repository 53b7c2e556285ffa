"""Runs on sequences, from data on disk to the files of each: packs, checkpoints, scores by difficulty, traces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from palimpsest.measuring import job as measuring
from palimpsest.planning import plan
from palimpsest.planning.parameters import Params
from palimpsest.training import datasets, job
from tests.training import presets

LENGTHS = (2, 4, 6)


def quiet(*_: Any) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both data sets of the preset, drawn once."""
    root = tmp_path_factory.mktemp("data")
    params = presets.read_sequences(root)
    for experiment in ("copy", "mqar"):
        datasets.generate(params, experiment, "repaired", root)
    return root


def pack_of(params: Params, base: str) -> plan.Pack:
    """The runs of the cell whose path ends in ``base``."""
    (cell,) = (cell for cell in plan.cells(params) if cell.base.endswith(base))
    return plan.Pack("pack", tuple(plan.runs_of(cell)))


def train(params: Params, data: Path, root: Path, base: str, progress: Any = quiet) -> plan.Pack:
    """Train the pack of a cell with the data at hand."""
    pack = pack_of(params, base)
    shutil.copytree(data / "data", root / "data", dirs_exist_ok=True)
    job.train_pack(params, pack, root, file="params", progress=progress, report=quiet)
    measuring.measure_pack(params, pack, root, file="params", report=quiet)
    return pack


def contents(root: Path) -> dict[str, bytes]:
    """Every result file below a root."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("results/**/*") if path.is_file()}


COPY, RECALL = "copy/track=repaired/model=lstm", "mqar/track=repaired/model=lstm"


@pytest.mark.parametrize("batch_size", [8, 9])
def test_a_training_that_stops_after_an_epoch_goes_on_to_the_same_files(
    tmp_path: Path, data: Path, batch_size: int
) -> None:
    """12 steps in three epochs of four; or 11, in epochs of three, four and four."""
    params = presets.read_sequences(tmp_path, batch_size=batch_size)
    train(params, data, tmp_path / "whole", COPY)

    def stop(epoch: int, _: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(params, data, tmp_path / "halted", COPY, progress=stop)
    assert len(list((tmp_path / "halted").glob("checkpoints/*.safetensors"))) == 1
    assert not contents(tmp_path / "halted")
    seen: list[int] = []
    train(params, data, tmp_path / "halted", COPY, progress=lambda epoch, _: seen.append(epoch))
    assert seen == [3]
    whole = contents(tmp_path / "whole")
    assert len(whole) == 2 * len(plan.RUN_FILES)
    assert contents(tmp_path / "halted") == whole
    assert not list((tmp_path / "halted").glob("checkpoints/*"))


@pytest.mark.parametrize("base", [COPY, RECALL, "copy/track=repaired/model=ntm"])
def test_a_run_alone_has_the_bytes_that_it_has_in_a_pack_of_two(tmp_path: Path, data: Path, base: str) -> None:
    params = presets.read_sequences(tmp_path, num_epochs=2)
    train(params, data, tmp_path / "pack", base)
    pack = contents(tmp_path / "pack")
    for seed in params.seeds:
        root = tmp_path / f"alone{seed}"
        train(params.model_copy(update={"seeds": (seed,)}), data, root, base)
        alone = contents(root)
        assert len(alone) == len(plan.RUN_FILES)
        assert all(pack[name] == content for name, content in alone.items())


def test_a_run_of_a_shuffled_split_has_the_bytes_that_it_has_in_a_pack_whatever_the_others_lengths(
    tmp_path: Path, data: Path
) -> None:
    params = presets.read_sequences(tmp_path, num_epochs=1, order="shuffled")
    base = "copy/track=repaired/model=causal_transformer"
    train(params, data, tmp_path / "pack", base)
    train(params.model_copy(update={"seeds": (1,)}), data, tmp_path / "alone", base)
    pack, alone = contents(tmp_path / "pack"), contents(tmp_path / "alone")
    assert len(alone) == len(plan.RUN_FILES)
    assert all(pack[name] == content for name, content in alone.items())


@pytest.mark.parametrize("batch_size", [8, 5])
def test_a_stream_is_gone_through_once_in_all_epochs_together(tmp_path: Path, data: Path, batch_size: int) -> None:
    """12 steps of 8 examples; of 5 there are 20, the last of which has one example."""
    params = presets.read_sequences(tmp_path, num_epochs=4, batch_size=batch_size)
    pack = train(params, data, tmp_path, COPY)
    for run in pack.runs:
        final = json.loads((tmp_path / run.directory / "final.json").read_text())
        steps = pd.read_csv(tmp_path / run.directory / "steps.csv")
        assert final["steps"] == len(steps) == -(-96 // batch_size)
        assert final["status"] == "completed"
        assert list(steps["step"]) == list(range(1, len(steps) + 1))


def test_the_files_of_a_run_tell_its_scores_by_difficulty(tmp_path: Path, data: Path) -> None:
    pack = train(presets.read_sequences(tmp_path), data, tmp_path, COPY)
    for run in pack.runs:
        final = json.loads((tmp_path / run.directory / "final.json").read_text())
        history = pd.read_csv(tmp_path / run.directory / "history.csv")
        metrics = final["metrics"]
        assert list(history["epoch"]) == [1, 2, 3]
        for name in ("loss", "accuracy", "sequence_accuracy", "objective"):
            assert metrics[f"train_{name}"] == history[f"train_{name}"].iloc[-1]
        for name in ("loss_on", "accuracy_on", "loss_off", "accuracy_off", "sequence_accuracy"):
            assert metrics[f"validation_{name}"] == history[f"validation_{name}"].iloc[-1]
        for name, total in (("loss", "loss_on"), ("accuracy", "accuracy_on"), ("sequence_accuracy",) * 2):
            of_slices = [metrics[f"test_{name}_at_{length}"] for length in LENGTHS]
            assert metrics[f"test_{total}"] == pytest.approx(np.mean(of_slices))  # four examples of each
        slices = {name for name in metrics if "_at_" in name}
        assert slices == {f"test_{n}_at_{k}" for n in ("loss", "accuracy", "sequence_accuracy") for k in LENGTHS}
        assert (final["chance"], final["ceiling"]) == (0.5, 1)
        assert 0.3 < metrics["test_accuracy_on"] < 0.9


def test_bits_are_learned_from_a_longer_stream(tmp_path: Path) -> None:
    """One bit is the answer again, after a step: no more than an LSTM learns in a second."""
    content = presets.sequence_content(num_epochs=2, learning_rate=0.01)
    easy = {"bits": 1, "max_length": 1, "test_lengths": [1], "num_train": 1600, "curriculum_share": 0.0}
    content["experiments"]["copy"]["tracks"]["repaired"]["task"]["config"] |= easy
    params = Params.model_validate(content)
    datasets.generate(params, "copy", "repaired", tmp_path / "drawn")
    pack = train(params, tmp_path / "drawn", tmp_path, COPY)
    for run in pack.runs:
        metrics = json.loads((tmp_path / run.directory / "final.json").read_text())["metrics"]
        assert metrics["test_accuracy_on"] == metrics["test_sequence_accuracy"] == 1


def first_of_each(data: Path, experiment: str) -> tuple[torch.Tensor, list[int]]:
    """Tokens of the first test example of each difficulty, and the difficulties, the easiest first."""
    examples = load_file(data / plan.data_directory(experiment, "repaired") / "examples.safetensors")
    kinds = examples["test.extras.slice"].tolist()
    rows = [kinds.index(kind) for kind in sorted(set(kinds))]
    return examples["test.inputs"][rows], sorted(set(kinds))


@pytest.mark.parametrize("model", ["ntm", "dnc"])
def test_the_trace_shows_one_example_of_each_difficulty_in_few_bytes(tmp_path: Path, data: Path, model: str) -> None:
    pack = train(presets.read_sequences(tmp_path, num_epochs=1), data, tmp_path, f"copy/track=repaired/model={model}")
    trace = load_file(tmp_path / pack.runs[1].directory / "trace.safetensors")
    tokens, kinds = first_of_each(data, "copy")
    assert torch.equal(trace["inputs"], tokens)
    assert trace["slice"].tolist() == kinds == list(LENGTHS)
    assert trace["length"].tolist() == [2 * length + 1 for length in LENGTHS]
    shapes = {
        "probability": (3, 13, 4),
        "read_weighting": (3, 13, 2, 5),
        "write_weighting": (3, 13, 1, 5),
        "usage_steps": (3, 13, 5),
        "link": (3, 5, 5),
    }
    of_dnc = {"usage_steps", "link"}
    assert {name for name in shapes if name in trace} == set(shapes) - (of_dnc if model == "ntm" else set())
    for name in shapes.keys() & trace.keys():
        assert trace[name].dtype == torch.float16, name
        assert trace[name].shape == shapes[name], name
        assert ((trace[name] >= 0) & (trace[name] <= 1)).all(), name
    assert trace["inputs"].dtype == torch.int8
    assert "prediction" not in trace
    metrics = json.loads((tmp_path / pack.runs[1].directory / "final.json").read_text())["metrics"]
    for name in ("slots_written", "read_focus"):
        assert 0 <= metrics[f"validation_{name}"] <= 1
        assert 0 <= metrics[f"test_{name}"] <= 1
        assert f"train_{name}" not in metrics  # training has no time to look


def test_the_trace_of_classes_has_the_class_that_is_the_output_at_every_step(tmp_path: Path, data: Path) -> None:
    params = presets.read_sequences(tmp_path, num_epochs=1).model_copy(update={"trace_examples": 1})
    pack = train(params, data, tmp_path, RECALL)
    trace = load_file(tmp_path / pack.runs[0].directory / "trace.safetensors")
    tokens, kinds = first_of_each(data, "mqar")
    assert set(trace) == {"inputs", "prediction", "slice", "length", "group"}
    assert torch.equal(trace["inputs"], tokens[:1])  # no more than were asked for
    assert trace["slice"].tolist() == kinds[:1]
    assert trace["prediction"].shape == (1, 16)
    assert trace["prediction"].dtype == torch.int8
    assert 0 <= trace["prediction"].min() <= trace["prediction"].max() < 12
