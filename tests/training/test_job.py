"""From a preset to the files of its runs: determinism, packs, kill and resume, divergence, bad data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.measuring import job as measuring
from palimpsest.planning import plan, specs
from palimpsest.planning.cards import load_card
from palimpsest.planning.parameters import Params
from palimpsest.planning.provenance import code_of
from palimpsest.training import checkpoint, datasets, job
from palimpsest.training.pack import Pack, build_pack
from tests.training import presets


def quiet(*_: Any) -> None:
    """Progress that nobody looks at."""


def pack_of(params: Params, base: str = "mem_lambda=0.1") -> plan.Pack:
    """The runs of the cells whose path has ``base`` in it."""
    cells = [cell for cell in plan.cells(params) if base in cell.base]
    return plan.Pack("pack", tuple(run for cell in cells for run in plan.runs_of(cell)))


def train(params: Params, root: Path, base: str = "mem_lambda=0.1", progress: Any = quiet) -> plan.Pack:
    """Generate the data and train the pack whose path ends in ``base``."""
    pack = pack_of(params, base)
    datasets.generate(params, pack.first.experiment, pack.first.track, root)
    job.train_pack(params, pack, root, file="params", progress=progress, report=quiet)
    measuring.measure_pack(params, pack, root, file="params", report=quiet)
    return pack


def contents(root: Path) -> dict[str, bytes]:
    """Every result file below a root."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("results/**/*")) if path.is_file()
    }


def test_two_trainings_give_the_same_bytes(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    for name in ("one", "two"):
        train(params, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 3 * len(plan.RUN_FILES)


@pytest.mark.parametrize("model", ["model=nema_lite/mem_lambda=0.1", "model=no_memory"])
@pytest.mark.parametrize("seeds", [(1,), (2, 1)])
def test_a_run_has_the_same_bytes_in_every_pack(tmp_path: Path, model: str, seeds: tuple[int, ...]) -> None:
    params = presets.read(tmp_path)
    train(params, tmp_path / "pack", model)
    train(params.model_copy(update={"seeds": seeds}), tmp_path / "other", model)
    pack, other = contents(tmp_path / "pack"), contents(tmp_path / "other")
    assert other
    assert all(pack[name] == content for name, content in other.items())


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_a_run_has_the_same_bytes_in_packs_of_any_size_that_span_cells(tmp_path: Path, size: int) -> None:
    axes = {"mem_lambda": [0, 0.1, 0.2, 0.5, 1], "write_threshold": [0.3, 0.5], "learning_rate": [0.001, 0.01]}
    params = presets.read(tmp_path, training={"num_epochs": 2}, grids={"sweep": {"axes": axes}})
    params = params.model_copy(update={"seeds": (4,)})
    runs = pack_of(params, "nema_lite").runs
    assert len(runs) == 20
    train_all(params, tmp_path / "whole", [runs])
    reversed_runs = runs[::-1]
    parts = [reversed_runs[start : start + size] for start in range(0, 2 * size if size < 20 else 20, size)]
    train_all(params, tmp_path / "parts", parts)
    whole, found = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert len(found) == len(plan.RUN_FILES) * sum(map(len, parts))
    assert all(whole[name] == content for name, content in found.items())


def train_all(params: Params, root: Path, packs: list[tuple[plan.Run, ...]]) -> None:
    """Train several packs in one root."""
    datasets.generate(params, "tiny", "repaired", root)
    for runs in packs:
        pack = plan.Pack("pack", runs)
        job.train_pack(params, pack, root, file="params", progress=quiet, report=quiet)
        measuring.measure_pack(params, pack, root, file="params", report=quiet)


def test_a_pack_that_does_not_fit_is_trained_in_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = presets.read(tmp_path)
    train(params, tmp_path / "whole", "nema_lite")
    build, sizes, reports = build_pack, [], []

    def small(runs: list[Any]) -> Pack:
        sizes.append(len(runs))
        if len(runs) > 2:
            raise torch.OutOfMemoryError("no room")
        return build(runs)

    for module in (job, measuring):
        monkeypatch.setattr(module, "build_pack", small)
    datasets.generate(params, "tiny", "repaired", tmp_path / "halves")
    job.train_pack(
        params, pack_of(params, "nema_lite"), tmp_path / "halves", file="p", progress=quiet, report=reports.append
    )
    measuring.measure_pack(params, pack_of(params, "nema_lite"), tmp_path / "halves", file="p", report=reports.append)
    assert sizes == [6, 3, 1, 2, 3, 1, 2] * 2
    for number, doing in ((0, "training"), (3, "measuring")):
        assert reports[number] == f"6 runs do not fit into the memory of cpu: {doing} them in halves"
    assert contents(tmp_path / "halves") == contents(tmp_path / "whole")


def test_a_run_that_does_not_fit_alone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(runs: list[Any]) -> Pack:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(job, "build_pack", never)
    with pytest.raises(DataError, match=r"seed=0: a run alone does not fit into the memory of cpu"):
        train(presets.read(tmp_path), tmp_path)


def test_files_of_a_run_say_what_it_is(tmp_path: Path) -> None:
    pack = train(presets.read(tmp_path), tmp_path)
    directory = tmp_path / pack.runs[1].directory
    final = json.loads((directory / "final.json").read_text())
    history = pd.read_csv(directory / "history.csv")
    assert final["spec"]["seed"] == 1
    assert final["spec"]["config"]["mem_lambda"] == 0.1
    assert final["status"] == "completed"
    assert list(history["epoch"]) == [1, 2, 3]
    assert final["steps"] == 3 * 3
    last = history.iloc[-1]
    for name in history.columns.drop("epoch"):
        assert final["metrics"][name] == last[name], name
    weights = load_file(directory / "model.safetensors")
    assert sum(value.numel() for value in weights.values()) == final["parameters"]
    trace = load_file(directory / "trace.safetensors")
    assert trace["write_gate"].shape == (4, 16)
    assert trace["slot_time"].shape == (4, 16)


def test_a_kill_in_mid_training_and_a_second_start_give_the_bytes_of_an_undisturbed_run(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    train(params, tmp_path / "undisturbed")
    root = tmp_path / "killed"
    datasets.generate(params, "tiny", "repaired", root)
    pack = pack_of(params)
    code = (
        "import sys, time; from pathlib import Path; from palimpsest.planning import plan, presets; "
        "from palimpsest.training import job; p = presets.read_params(Path(sys.argv[1])); "
        "pack = plan.find_runs(p, sys.argv[2], sys.argv[4:]); "
        "job.train_pack(p, pack, Path(sys.argv[3]), file='params', report=print, "
        "progress=lambda epoch, metrics: time.sleep(30) if epoch == 3 else None)"
    )
    arguments = [sys.executable, "-c", code, str(presets.write(tmp_path)), pack.first.model_base, str(root)]
    arguments += [run.name for run in pack.runs]
    source = str(presets.PROJECT / "src")
    process = subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": source}, stdout=subprocess.DEVNULL)
    waited = time.monotonic() + 60
    while time.monotonic() < waited and not _epochs_saved(root) >= 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(root.glob("results/**/training.json"))
    seen: list[int] = []
    job.train_pack(params, pack, root, file="params", progress=lambda e, _: seen.append(e), report=quiet)
    measuring.measure_pack(params, pack, root, file="params", report=quiet)
    assert seen == [3]
    assert contents(root) == contents(tmp_path / "undisturbed")
    assert not list(root.glob("checkpoints/*"))


def _epochs_saved(root: Path) -> int:
    for path in root.glob("checkpoints/*.safetensors"):
        return len(load_file(path)["0.history.lengths"])
    return 0


def interrupted(params: Params, root: Path, base: str = "mem_lambda=0.1") -> Path:
    """Train until the second epoch, then stop; returns the checkpoint."""

    def stop(epoch: int, _: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(params, root, base, progress=stop)
    (path,) = root.glob("checkpoints/*.safetensors")
    return path


def test_a_corrupt_checkpoint_is_one_line_that_names_it(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    path = interrupted(params, tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"checkpoints/.*\.safetensors: corrupt"):
        train(params, tmp_path)
    assert not contents(tmp_path)


def test_a_checkpoint_of_another_version_of_the_code_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = presets.read(tmp_path)
    interrupted(params, tmp_path)
    monkeypatch.setattr(job, "code_of", lambda *names: "other")
    epochs: list[int] = []
    train(params, tmp_path, progress=lambda epoch, _: epochs.append(epoch))
    assert epochs == [1, 2, 3]


def test_a_diverged_run_is_recorded_and_does_not_take_the_others_along(tmp_path: Path) -> None:
    steady = presets.read(tmp_path)
    train(steady, tmp_path / "steady")
    first, second, third = specs.of_pack(steady, pack_of(steady))
    wild = second.model_copy(update={"training": second.training.model_copy(update={"learning_rate": 1e38})})
    directory = tmp_path / "steady" / plan.data_directory("tiny", "repaired")
    task = specs.task_config(steady.experiments["tiny"].tracks["repaired"], "params", "here")
    outputs = [tmp_path / "wild" / f"seed={seed}" for seed in range(3)]
    runs, splits, card = [first, wild, third], datasets.load(directory, task), load_card(directory)
    job.train_runs(job.Job(runs, [splits], card["sha256"], outputs, tmp_path / "wild", quiet, quiet))
    measuring.measure_runs(runs, splits, card, outputs, 4, report=quiet)
    statuses = [json.loads((output / "final.json").read_text())["status"] for output in outputs]
    assert statuses == ["completed", "diverged", "completed"]
    for seed in (0, 2):
        pack = tmp_path / "steady/results/tiny/track=repaired/model=nema_lite/mem_lambda=0.1/write_threshold=0.5"
        for name in plan.RUN_FILES:
            assert (outputs[seed] / name).read_bytes() == (pack / f"seed={seed}" / name).read_bytes()


def test_runs_of_different_structure_are_no_pack(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    first = specs.resolve(params, plan.cells(params)[0])[0]
    other = first.model_copy(update={"config": {**first.config, "width": 16}})
    with pytest.raises(ValueError, match="these runs are no pack"):
        build_pack([first, other])


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (
            lambda t: t.update({"train.inputs": t["train.inputs"][:, :8].contiguous()}),
            r"train\.inputs: shape \(48, 8\)",
        ),
        (lambda t: t["test.inputs"].fill_(99), r"test\.inputs: value 99; allowed: 0 to 20"),
        (lambda t: t["validation.targets"].fill_(-1), r"validation\.targets: value -1; allowed: 0 to 9"),
        (lambda t: t.pop("test.targets"), r"test\.targets: missing"),
    ],
)
def test_a_data_file_of_another_shape_is_refused(tmp_path: Path, tamper: Any, message: str) -> None:
    from safetensors.torch import save_file

    params = presets.read(tmp_path)
    datasets.generate(params, "tiny", "repaired", tmp_path)
    path = tmp_path / plan.data_directory("tiny", "repaired") / "examples.safetensors"
    tensors = load_file(path)
    tamper(tensors)
    save_file(tensors, path)
    with pytest.raises(DataError, match=message):
        job.train_pack(params, pack_of(params), tmp_path, file="params", progress=quiet, report=quiet)
    assert not contents(tmp_path)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = presets.read(tmp_path)

    def full(self: Path, content: bytes) -> int:
        with open(self, "wb") as file:  # noqa: PTH123
            file.write(content[:10])
        raise OSError(28, "No space left on device", str(self))

    datasets.generate(params, "tiny", "repaired", tmp_path)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        job.train_pack(params, pack_of(params), tmp_path, file="params", progress=quiet, report=quiet)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]
    assert not contents(tmp_path)


def test_a_gpu_that_is_not_there_is_reports_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    params = presets.read(tmp_path).model_copy(update={"device": "cuda"})
    runs = specs.resolve(params, plan.cells(params)[0])
    task = specs.task_config(params.experiments["tiny"].tracks["repaired"], "params", "here")
    splits = task.build(0)
    card = {"answers": 9, "chance": 0.1, "floor": 0.1, "floors_by_slice": {}, "ceiling": 1.0, "sha256": ""}
    with pytest.raises(ParameterError, match="device: 'cuda': no GPU is visible"):
        job.train_runs(job.Job(runs, [splits], "", [tmp_path] * 3, tmp_path, quiet, quiet))
    with pytest.raises(ParameterError, match="device: 'cuda': no GPU is visible"):
        measuring.measure_runs(runs, splits, card, [tmp_path] * 3, 4, report=quiet)


def test_a_restored_pack_is_the_saved_one(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    path = interrupted(params, tmp_path)
    runs = specs.of_pack(params, pack_of(params))
    code = code_of("nema_lite", "delayed_qa", runs[0].method_module)
    (pack,) = checkpoint.restore(path, runs, datasets.load_phases(runs[0], tmp_path), code) or []
    assert len(pack.history) == 2
    again = tmp_path / "again.safetensors"
    checkpoint.save(again, [pack], code)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_is_compiled_if_the_preset_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    asked: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: asked.append(self))
    params = presets.read(tmp_path).model_copy(update={"compiled": compiled})
    pack = train(params, tmp_path)
    assert len(asked) == 2 * compiled  # to be trained, and to be measured
    final = json.loads((tmp_path / pack.runs[1].directory / "final.json").read_text())
    assert final["spec"]["compiled"] == compiled
    assert final["backend"].get("pack") == ("run 2 of 3" if compiled else None)


def test_lower_precision_reaches_the_products_of_training(tmp_path: Path) -> None:
    exact = presets.read(tmp_path)
    train(exact, tmp_path / "float32")
    train(exact.model_copy(update={"precision": "bfloat16"}), tmp_path / "bfloat16")
    losses = [
        pd.read_csv(next((tmp_path / name).rglob("history.csv")))["train_loss"] for name in ("float32", "bfloat16")
    ]
    assert not losses[0].equals(losses[1])
    assert losses[1].to_numpy() == pytest.approx(losses[0].to_numpy(), rel=0.05)


# --- memories with a lifecycle ----------------------------------------------------------------------------------------

PERSISTENT = "nema_lc/track=published/model=nema_lc/ablation=none"
EPISODIC = "nema_lc/track=repaired/model=nema_lc/ablation=none"
ABLATED = "nema_lc/track=repaired/model=nema_lc/ablation=forget"
SWITCHED_OFF = "nema_lc_lra/track=published/model=nema_lc/use_memory=false"
POLICY = "nema_lc/track=repaired/model=fifo"
EVERY = (PERSISTENT, EPISODIC, ABLATED, SWITCHED_OFF, POLICY)


@pytest.mark.parametrize("base", EVERY)
def test_the_log_has_a_row_a_step_and_its_means_are_those_of_the_history(tmp_path: Path, base: str) -> None:
    """50 examples in batches of 16: the last step of an epoch has 2, and counts as much less."""
    pack = train(presets.read_lifecycle(tmp_path), tmp_path, base)
    for run in pack.runs:
        steps = pd.read_csv(tmp_path / run.directory / "steps.csv")
        history = pd.read_csv(tmp_path / run.directory / "history.csv")
        assert list(steps["step"]) == [*range(1, 3 * 4 + 1)]
        names = list(steps.columns.drop("step"))
        assert names == sorted(names)
        assert {f"train_{name}" for name in names} == {n for n in history.columns if n.startswith("train_")}
        weights = pd.Series([16, 16, 16, 2] * 3)
        epochs = steps["step"].sub(1) // 4
        for name in names:
            mean = (steps[name] * weights).groupby(epochs).sum() / 50
            assert mean.to_numpy() == pytest.approx(history[f"train_{name}"].to_numpy(), rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("base", EVERY)
def test_the_objective_is_the_loss_and_what_is_charged(tmp_path: Path, base: str) -> None:
    pack = train(presets.read_lifecycle(tmp_path), tmp_path, base)
    steps = pd.read_csv(tmp_path / pack.runs[1].directory / "steps.csv")
    weights = {"write": 0.01, "forget": 0.01, "stability": 0.001}
    charged = {PERSISTENT: {*weights}, EPISODIC: {*weights}, ABLATED: {"write", "stability"}}.get(base, set())
    expected = steps["loss"] + sum(weights[term] * steps[f"loss_{term}"] for term in charged)
    assert steps["objective"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-4)
    reported = set() if base == SWITCHED_OFF else {f"loss_{term}" for term in weights}
    assert {name for name in steps.columns if name.startswith("loss_")} == reported


@pytest.mark.parametrize("base", [PERSISTENT, EPISODIC, POLICY])
def test_a_training_that_goes_on_from_a_checkpoint_ends_with_the_same_files(tmp_path: Path, base: str) -> None:
    params = presets.read_lifecycle(tmp_path)
    train(params, tmp_path / "whole", base)
    interrupted(params, tmp_path / "halted", base)
    seen: list[int] = []
    train(params, tmp_path / "halted", base, progress=lambda epoch, _: seen.append(epoch))
    assert seen == [3]
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "halted") == whole
    assert {Path(name).name for name in whole} == set(plan.RUN_FILES)
    assert len(whole) == 2 * len(plan.RUN_FILES)


@pytest.mark.parametrize("base", [PERSISTENT, EPISODIC])
def test_a_run_with_a_lifecycle_has_the_same_bytes_alone(tmp_path: Path, base: str) -> None:
    params = presets.read_lifecycle(tmp_path)
    train(params, tmp_path / "pack", base)
    train(params.model_copy(update={"seeds": (1,)}), tmp_path / "alone", base)
    pack, alone = contents(tmp_path / "pack"), contents(tmp_path / "alone")
    assert len(alone) == len(plan.RUN_FILES)
    assert all(pack[name] == content for name, content in alone.items())


@pytest.mark.parametrize(("base", "persistent"), [(PERSISTENT, True), (EPISODIC, False)])
def test_drift_is_the_slope_of_the_last_epochs_log_where_the_memory_lives_as_long(
    tmp_path: Path, base: str, persistent: bool
) -> None:
    pack = train(presets.read_lifecycle(tmp_path, batch_size=4), tmp_path, base)
    directory = tmp_path / pack.runs[0].directory
    metrics = json.loads((directory / "final.json").read_text())["metrics"]
    steps = pd.read_csv(directory / "steps.csv")
    assert len(steps) == 3 * 13
    slopes = {"train_utilisation_slope_training": "utilisation", "train_age_slope_training": "age_steps"}
    assert {name for name in metrics if name.endswith("_training")} == (set(slopes) if persistent else set())
    for name, column in slopes.items() if persistent else ():
        slope = np.polyfit(range(7), steps[column][-7:], 1)[0]
        assert metrics[name] == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_an_epoch_of_one_step_has_no_drift(tmp_path: Path) -> None:
    pack = train(presets.read_lifecycle(tmp_path, num_epochs=1, batch_size=50), tmp_path, PERSISTENT)
    final = json.loads((tmp_path / pack.runs[0].directory / "final.json").read_text())
    assert (final["steps"], final["status"]) == (1, "completed")
    assert [name for name, value in final["metrics"].items() if value is None] == []
    drift = [value for name, value in final["metrics"].items() if name.endswith("_slope_training")]
    assert drift == [0, 0]


@pytest.mark.parametrize("base", [PERSISTENT, EPISODIC])
def test_the_trace_of_a_run_says_what_happened_to_every_slot(tmp_path: Path, base: str) -> None:
    pack = train(presets.read_lifecycle(tmp_path), tmp_path, base)
    trace = load_file(tmp_path / pack.runs[0].directory / "trace.safetensors")
    steps = 1 if base == PERSISTENT else 8
    assert trace["operations"].shape == (4, steps, 4)
    assert trace["operations"].dtype == torch.uint8
    assert trace["operations"].max() <= 5
    for name in ("write_gate", "writes", "utilisation", "age_steps", "over_budget"):
        assert trace[name].shape == (4, steps), name
    for name in ("slot_time", "alive", "age", "usage", "read_weights"):
        assert trace[name].shape == (4, 4), name
    assert not trace["over_budget"].any()


def test_a_run_without_a_memory_has_no_trace_of_one(tmp_path: Path) -> None:
    pack = train(presets.read_lifecycle(tmp_path), tmp_path, SWITCHED_OFF)
    trace = load_file(tmp_path / pack.runs[0].directory / "trace.safetensors")
    assert set(trace) == {"inputs", "prediction", "answer_position"}


def test_validating_less_often_leaves_weights_and_steps_and_empties_cells_of_the_history(tmp_path: Path) -> None:
    pack = train(presets.read(tmp_path), tmp_path / "every")
    train(presets.read(tmp_path, training={"validate_every": 2, "num_epochs": 3}), tmp_path / "second")
    for run in pack.runs:
        every, second = (tmp_path / name / run.directory for name in ("every", "second"))
        for name in ("model.safetensors", "steps.csv", "trace.safetensors"):
            assert (every / name).read_bytes() == (second / name).read_bytes(), name
        whole, sparse = (pd.read_csv(path / "history.csv") for path in (every, second))
        validated = [name for name in whole.columns if name.startswith("validation_")]
        assert list(sparse.columns) == list(whole.columns)
        assert validated
        assert sparse[validated].iloc[0].isna().all()  # the second epoch is validated, and the last is always
        pd.testing.assert_frame_equal(sparse.iloc[1:], whole.iloc[1:])
        pd.testing.assert_frame_equal(sparse.drop(columns=validated), whole.drop(columns=validated))
        metrics = [json.loads((path / "final.json").read_text())["metrics"] for path in (every, second)]
        assert metrics[0] == metrics[1]


def test_a_checkpoint_keeps_which_epochs_were_validated(tmp_path: Path) -> None:
    params = presets.read(tmp_path, training={"validate_every": 2})
    train(params, tmp_path / "whole")
    interrupted(params, tmp_path / "halted")
    train(params, tmp_path / "halted")
    assert contents(tmp_path / "halted") == contents(tmp_path / "whole")
