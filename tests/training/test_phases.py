"""Runs of several phases: what is trained, measured, carried and frozen; bytes are the same in company and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from palimpsest.foundation import tree
from palimpsest.foundation.sections import merge
from palimpsest.measuring import job as measuring
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_params
from palimpsest.training import checkpoint, datasets, job, loop
from palimpsest.training.pack import Pack, build_pack
from tests.training import presets

BASE = "mem_lambda=0.1"
PERSISTENT = "nema_lc/track=published/model=nema_lc/ablation=none"
PHASES = {"first": {}, "second": {"data": "other", "training": {"num_epochs": 2, "learning_rate": 0.02}}}
TWO = {"data": {"other": {"seed": 2}}, "training": {"num_epochs": 2}, "phases": PHASES}
"""Two data seeds of one task, one after the other."""
METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ewc": {"method": {"name": "ewc", "config": {"fisher_examples": 5}}},
    "replay": {"method": {"name": "replay", "config": {"replay_capacity": 7, "replay_batch": 3}}},
}


def quiet(*_: Any) -> None:
    """Progress that nobody looks at."""


def read(directory: Path, **changes: Any) -> Params:
    """The smallest preset in two phases."""
    return presets.read(directory, **merge(TWO, changes))


def read_persistent(directory: Path, state: str = "from_previous", **training: Any) -> Params:
    """A memory that outlives the batch, in two phases."""
    content = presets.lifecycle_content(num_epochs=2, **training)
    phases = {"first": {}, "second": {"data": "other", "state": state}}
    content["experiments"]["nema_lc"]["tracks"]["published"] |= {"data": {"other": {"seed": 2}}, "phases": phases}
    path = directory / "persistent.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_params(path)


def prepared(params: Params, root: Path, base: str = BASE) -> plan.Pack:
    """The pack of the cells whose path has ``base`` in it, its data sets generated."""
    cells = [cell for cell in plan.cells(params) if base in cell.base]
    for experiment, track, name in plan.data_sets(params):
        if (experiment, track) == (cells[0].experiment, cells[0].track):
            datasets.generate(params, experiment, track, root, name=name)
    return plan.Pack("pack", tuple(run for cell in cells for run in plan.runs_of(cell)))


def train(params: Params, root: Path, base: str = BASE, progress: Any = quiet) -> plan.Pack:
    """Generate the data sets, train the pack and measure it."""
    pack = prepared(params, root, base)
    job.train_pack(params, pack, root, file="params", progress=progress, report=quiet)
    measuring.measure_pack(params, pack, root, file="params", report=quiet)
    return pack


def contents(root: Path) -> dict[str, bytes]:
    """Every result file below a root."""
    paths = sorted(root.glob("results/**/*"))
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file()}


def matrix_of(directory: Path) -> pd.Series[Any]:
    """The accuracy matrix of a run."""
    frame = pd.read_csv(directory / plan.MATRIX_FILE)
    assert list(frame) == ["trained_phase", "evaluated_phase", "split", "metric", "value"]
    return frame.set_index(list(frame.columns[:4]))["value"]


def final_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "final.json").read_text())


def test_after_every_phase_the_splits_of_all_phases_are_measured(tmp_path: Path) -> None:
    """The first row is what a run of the first phase alone is measured at, the last one what the run is at the end."""
    pack = train(read(tmp_path), tmp_path / "two")
    alone = presets.read(tmp_path, training={"num_epochs": 2})
    train(alone, tmp_path / "one")
    for run in pack.runs:
        matrix = matrix_of(tmp_path / "two" / run.directory)
        assert set(matrix.index.droplevel(3)) == {
            (trained, evaluated, split)
            for trained in ("first", "second")
            for evaluated in ("first", "second")
            for split in ("validation", "test")
        }
        one, two = (final_of(tmp_path / name / run.directory)["metrics"] for name in ("one", "two"))
        history = pd.read_csv(tmp_path / "two" / run.directory / "history.csv")
        for metric in ("accuracy", "loss"):
            assert matrix["first", "first", "test", metric] == one[f"test_{metric}_on"]
            assert matrix["second", "first", "test", metric] == two[f"test_{metric}_on"]
            assert matrix["second", "second", "validation", metric] == history[f"validation_{metric}_on"].iloc[-1]
            for trained, evaluated in (("first", "second"), ("second", "first")):
                stored = two[f"test_{metric}_after_{trained}_on_{evaluated}"]
                assert stored == matrix[trained, evaluated, "test", metric]
        assert list(history["phase"]) == [1, 1, 2, 2]
        assert final_of(tmp_path / "two" / run.directory)["steps"] == 4 * 3


def test_one_named_phase_is_a_run_as_ever(tmp_path: Path) -> None:
    train(presets.read(tmp_path), tmp_path / "plain")
    pack = train(presets.read(tmp_path, phases={"only": {}}), tmp_path / "named")
    plain, named = contents(tmp_path / "plain"), contents(tmp_path / "named")
    assert set(plain) == set(named)
    assert all(named[name] == content for name, content in plain.items() if not name.endswith(".json"))
    found, expected = (final_of(tmp_path / name / pack.runs[0].directory) for name in ("named", "plain"))
    assert found["metrics"] == expected["metrics"]
    assert "phases" not in expected["spec"]
    assert "method" not in expected["spec"]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_has_the_same_bytes_alone_and_in_company(tmp_path: Path, method: str) -> None:
    params = read(tmp_path, **METHODS[method])
    train(params, tmp_path / "pack")
    train(params.model_copy(update={"seeds": (1,)}), tmp_path / "alone")
    pack, alone = contents(tmp_path / "pack"), contents(tmp_path / "alone")
    assert len(alone) == len(plan.RUN_FILES) + 1
    assert all(pack[name] == content for name, content in alone.items())


@pytest.mark.parametrize("method", METHODS)
def test_a_pack_that_does_not_fit_is_trained_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    params = read(tmp_path, **METHODS[method])
    train(params, tmp_path / "whole")

    def small(runs: list[Any]) -> Pack:
        if len(runs) > 2:
            raise torch.OutOfMemoryError("no room")
        return build_pack(runs)

    monkeypatch.setattr(job, "build_pack", small)
    train(params, tmp_path / "halves")
    assert contents(tmp_path / "halves") == contents(tmp_path / "whole")


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_stopped_within_and_between_phases_ends_with_the_same_bytes(tmp_path: Path, method: str) -> None:
    assert_resumes(read(tmp_path, **METHODS[method]), tmp_path, BASE)


def test_a_run_that_carries_its_memory_over_is_resumed_with_it(tmp_path: Path) -> None:
    assert_resumes(read_persistent(tmp_path), tmp_path, PERSISTENT)


def assert_resumes(params: Params, directory: Path, base: str) -> None:
    """Stop in every epoch but the first, and go on each time."""
    train(params, directory / "undisturbed", base)
    root = directory / "stopped"
    pack = prepared(params, root, base)
    for stop in (2, 3, 4):

        def progress(epoch: int, _: Any, stop: int = stop) -> None:
            if epoch == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            job.train_pack(params, pack, root, file="params", progress=progress, report=quiet)
    seen: list[int] = []
    job.train_pack(params, pack, root, file="params", progress=lambda epoch, _: seen.append(epoch), report=quiet)
    measuring.measure_pack(params, pack, root, file="params", report=quiet)
    assert seen == [4]
    assert contents(root) == contents(directory / "undisturbed")


@pytest.mark.parametrize(("base", "params"), [(BASE, read), (PERSISTENT, read_persistent)])
def test_a_restored_pack_is_the_saved_one(tmp_path: Path, base: str, params: Any) -> None:
    preset = params(tmp_path)

    def stop(epoch: int, _: Any) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(preset, tmp_path, base, progress=stop)
    (path,) = tmp_path.glob("checkpoints/*.safetensors")
    runs = specs.of_pack(preset, prepared(preset, tmp_path, base))
    code = job.code_of(runs[0].model, runs[0].task["name"], runs[0].method_module)
    (pack,) = checkpoint.restore(path, runs, datasets.load_phases(runs[0], tmp_path), code) or []
    assert (pack.phase, len(pack.history), len(pack.matrix)) == (1, 3, 1)
    again = tmp_path / "again.safetensors"
    checkpoint.save(again, [pack], code)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("patterns", "moves"),
    [
        ({"trained": ["classifier.*"]}, lambda name: name.startswith("classifier.")),
        ({"frozen": ["encoder.*", "gate*"]}, lambda name: not name.startswith(("encoder.", "gate"))),
    ],
)
def test_what_is_frozen_does_not_move(tmp_path: Path, patterns: dict[str, Any], moves: Any) -> None:
    pack = train(read(tmp_path, phases={"second": patterns}), tmp_path / "two")
    train(presets.read(tmp_path, training={"num_epochs": 2}), tmp_path / "one")
    for run in pack.runs:
        before, after = (load_file(tmp_path / name / run.directory / "model.safetensors") for name in ("one", "two"))
        moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
        assert moved
        assert all(map(moves, moved)), moved


@pytest.mark.parametrize("model", ["lstm", "ntm", "dnc", "causal_transformer"])
def test_a_model_of_sequences_trains_with_part_of_it_frozen(tmp_path: Path, model: str) -> None:
    """Passes back through a whole sequence are written by hand: they must do with parameters that want no gradient."""
    content = presets.sequence_content(num_epochs=1)
    track = content["experiments"]["copy"]["tracks"]["repaired"]
    track["phases"] = {"first": {"trained": ["head.*"]}, "second": {}}
    path = tmp_path / "sequences.yaml"
    path.write_text(yaml.safe_dump(content))
    params = read_params(path)
    pack = build_pack(specs.of_pack(params, prepared(params, tmp_path, f"copy/track=repaired/model={model}")))
    before = {name: value.detach().clone() for name, value in pack.model.named_parameters()}
    data = datasets.load_phases(pack.specs[0], tmp_path)

    def moved() -> set[str]:
        return {name for name, value in pack.model.named_parameters() if not torch.equal(value, before[name])}

    loop.train_epoch(pack, data[0].train, 0)
    assert moved()
    assert all(name.startswith("head.") for name in moved())
    pack.start_phase(1)
    loop.train_epoch(pack, data[1].train, 0)
    assert len(moved()) > len(before) / 2


def states_of(params: Params, root: Path) -> tuple[Pack, list[Any], list[Any]]:
    """A trained pack, and the states that training and evaluation started from, call by call."""
    pack = build_pack(specs.of_pack(params, prepared(params, root, PERSISTENT)))
    training: list[Any] = []
    forward = pack.model.forward

    def spy(batch: Any, hyper: Any, state: Any = None) -> Any:
        if pack.model.training:
            training.append(state)
        return forward(batch, hyper, state)

    pack.model.forward = spy
    kept: list[Any] = []

    def after_epoch(current: list[Pack], _: int) -> None:
        kept.append(current[0].state)

    loop.train([pack], datasets.load_phases(pack.specs[0], root), after_epoch=after_epoch, progress=quiet)
    return pack, training, kept


def test_a_phase_starts_from_the_memory_that_the_phase_before_left(tmp_path: Path) -> None:
    """Four steps an epoch, the last of 2 examples; the state of all 16 examples is kept, without its graph."""
    _, training, kept = states_of(read_persistent(tmp_path), tmp_path)
    assert len(training) == 16
    assert training[0] is None
    assert training[4] is None  # every epoch of a fresh phase starts empty
    for step, epoch in ((8, 1), (12, 2)):
        given, left = tree.leaves(training[step], "s"), tree.leaves(kept[epoch], "s")
        assert given.keys() == left.keys()
        for name, value in given.items():
            same = torch.equal(value, left[name]) if isinstance(value, torch.Tensor) else value == left[name]
            assert same, name
    assert tree.num_examples(kept[1]) == 16
    assert kept[1].steps == 3 * kept[1].steps // 3 > 0
    found = [leaf for leaf in tree.leaves(kept[1], "s").values() if isinstance(leaf, torch.Tensor)]
    assert not any(leaf.requires_grad for leaf in found)


def test_a_fresh_phase_starts_empty(tmp_path: Path) -> None:
    pack, training, _ = states_of(read_persistent(tmp_path, "fresh"), tmp_path)
    assert [step for step, state in enumerate(training) if state is None] == [0, 4, 8, 12]
    assert pack.state is None


def test_a_run_that_carries_its_memory_over_is_measured_with_it(tmp_path: Path) -> None:
    """Through the public jobs, alone and in company."""
    params = read_persistent(tmp_path)
    pack = train(params, tmp_path / "pack", PERSISTENT)
    train(params.model_copy(update={"seeds": (1,)}), tmp_path / "alone", PERSISTENT)
    train(read_persistent(tmp_path, "fresh"), tmp_path / "fresh", PERSISTENT)
    whole, alone, fresh = (contents(tmp_path / name) for name in ("pack", "alone", "fresh"))
    assert alone
    assert all(whole[name] == content for name, content in alone.items())
    name = str(pack.runs[0].directory / plan.MATRIX_FILE)
    assert whole[name] != fresh[name]
    matrix = matrix_of(tmp_path / "pack" / pack.runs[0].directory)
    assert len(matrix.loc["second", "first", "test"]) == len(matrix.loc["first", "second", "validation"]) > 2
