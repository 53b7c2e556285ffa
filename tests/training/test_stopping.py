"""Early stopping by one rule: each run ends at its own epoch, with the bytes that it has alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.sections import merge
from palimpsest.planning import plan, specs
from palimpsest.planning.cards import load_card
from palimpsest.planning.parameters import Params
from palimpsest.training import job
from palimpsest.training.pack import Pack, build_pack
from tests.training import presets
from tests.training.test_phases import (
    BASE,
    METHODS,
    PERSISTENT,
    contents,
    final_of,
    prepared,
    quiet,
    read,
    read_persistent,
    train,
)

EPOCHS = 5


def histories(pack: plan.Pack, root: Path) -> list[pd.DataFrame]:
    """The history of every run of a pack."""
    return [pd.read_csv(root / run.directory / "history.csv") for run in pack.runs]


def distance_for_some(pack: plan.Pack, root: Path) -> float:
    """A distance from the ceiling that one run at least reaches before its last epoch of a phase, and one does not."""
    card = load_card(root / plan.data_directory(pack.first.experiment, pack.first.track))
    found = histories(pack, root)
    if "phase" in found[0]:
        found = [history[history["phase"] == 1] for history in found]
    best = sorted(float(history["validation_accuracy_on"].iloc[:-1].max()) for history in found)
    assert best[0] < best[-1], "all runs are equally good: no run stops before others"
    return card["ceiling"] - best[-1] + 1e-6


def epochs_of(pack: plan.Pack, root: Path) -> list[int]:
    """Epochs of every run, which all its files agree on."""
    found = []
    for run in pack.runs:
        final, history = final_of(root / run.directory), pd.read_csv(root / run.directory / "history.csv")
        steps = pd.read_csv(root / run.directory / "steps.csv")
        assert (final["epochs"], final["steps"]) == (len(history), len(steps))
        found.append(final["epochs"])
    return found


def alone(params: Params, seed: int) -> Params:
    return params.model_copy(update={"seeds": (seed,)})


def planted(tmp_path: Path, base: str = BASE, make: Any = presets.read, **changes: Any) -> tuple[Params, plan.Pack]:
    """A preset of which some runs stop and some go on, trained below ``stopped``; below ``never`` without stopping."""
    pack = train(make(tmp_path, **changes), tmp_path / "never", base)
    within = distance_for_some(pack, tmp_path / "never")
    params = make(tmp_path, **merge(changes, {"training": {"stop_within": within}}))
    train(params, tmp_path / "stopped", base)
    return params, pack


LONG: dict[str, Any] = {"training": {"num_epochs": EPOCHS}}


def test_a_run_ends_at_its_own_epoch_and_others_go_on(tmp_path: Path) -> None:
    """A stopped run is one whose last epoch was planned there, and one that goes on is one that is never stopped."""
    _, pack = planted(tmp_path, **LONG)
    epochs = epochs_of(pack, tmp_path / "stopped")
    assert min(epochs) < EPOCHS == max(epochs)
    for number in set(epochs):
        train(presets.read(tmp_path, training={"num_epochs": number}), tmp_path / str(number))
    for run, number in zip(pack.runs, epochs, strict=True):
        for name in ("history.csv", "steps.csv", "model.safetensors", "trace.safetensors"):
            stopped = (tmp_path / "stopped" / run.directory / name).read_bytes()
            assert stopped == (tmp_path / str(number) / run.directory / name).read_bytes(), (run, name)


def test_a_run_stops_after_the_first_validation_that_is_near_enough(tmp_path: Path) -> None:
    params, pack = planted(tmp_path, **LONG)
    within = params.experiments["tiny"].tracks["repaired"].training.stop_within or 0.0
    ceiling = load_card(tmp_path / "never" / plan.data_directory("tiny", "repaired"))["ceiling"]
    for history, number in zip(histories(pack, tmp_path / "never"), epochs_of(pack, tmp_path / "stopped"), strict=True):
        near = [int(epoch) for epoch in history["epoch"][history["validation_accuracy_on"] >= ceiling - within]]
        assert number == min([*near, EPOCHS])


@pytest.mark.parametrize("base", [BASE, "model=no_memory"])
def test_a_run_has_the_same_bytes_alone(tmp_path: Path, base: str) -> None:
    params, pack = planted(tmp_path, base, **LONG)
    assert len(set(epochs_of(pack, tmp_path / "stopped"))) > 1
    for run in pack.runs:
        train(alone(params, run.seed), tmp_path / "alone", base)
    assert contents(tmp_path / "alone") == contents(tmp_path / "stopped")


@pytest.mark.parametrize("method", METHODS)
def test_phases_of_runs_end_by_themselves(tmp_path: Path, method: str) -> None:
    changes = {"training": {"num_epochs": 4}, **METHODS[method]}
    params, pack = planted(tmp_path, make=read, **changes)
    found = [history["phase"].value_counts()[1] for history in histories(pack, tmp_path / "stopped")]
    assert min(found) < 4 == max(found)
    epochs_of(pack, tmp_path / "stopped")
    for run in pack.runs:
        train(alone(params, run.seed), tmp_path / "alone")
    assert contents(tmp_path / "alone") == contents(tmp_path / "stopped")


def test_a_memory_that_is_carried_over_stays_that_of_its_run(tmp_path: Path) -> None:
    def make(directory: Path, training: dict[str, Any] | None = None) -> Params:
        return read_persistent(directory, **(training or {})).model_copy(update={"seeds": (0, 1, 2, 3)})

    params, pack = planted(tmp_path, PERSISTENT, make)
    assert len(set(epochs_of(pack, tmp_path / "stopped"))) > 1
    for run in pack.runs:
        train(alone(params, run.seed), tmp_path / "alone", PERSISTENT)
    assert contents(tmp_path / "alone") == contents(tmp_path / "stopped")


@pytest.mark.parametrize(
    ("make", "changes"), [(presets.read, LONG), (read, {"training": {"num_epochs": 4}, **METHODS["ewc"]})]
)
def test_a_pack_that_is_killed_goes_on_with_all_its_parts(tmp_path: Path, make: Any, changes: dict[str, Any]) -> None:
    """It is stopped after every number of epochs in turn, with and without a part that has ended."""
    params, pack = planted(tmp_path, make=make, **changes)
    prepared(params, tmp_path / "killed")
    done = 0

    def stop(epoch: int, _: Any) -> None:
        nonlocal done
        done += 1
        if done > 1:
            raise KeyboardInterrupt

    parts: list[int] = []
    for _ in range(40):
        done = 0
        try:
            job.train_pack(params, pack, tmp_path / "killed", file="params", progress=stop, report=quiet)
            break
        except KeyboardInterrupt:
            (path,) = (tmp_path / "killed").glob("checkpoints/*.safetensors")
            parts.append(len({name.partition(".")[0] for name in load_file(path)} - {"owner"}))
    assert max(parts) > 1
    train(params, tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "stopped")
    assert not list((tmp_path / "killed").glob("checkpoints/*"))


def test_a_checkpoint_that_lost_a_part_is_corrupt(tmp_path: Path) -> None:
    params, pack = planted(tmp_path, **LONG)
    prepared(params, tmp_path / "killed")

    def stop(epoch: int, metrics: Any) -> None:
        if len(metrics["train_loss"]) < len(pack.runs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.train_pack(params, pack, tmp_path / "killed", file="params", progress=stop, report=quiet)
    (path,) = (tmp_path / "killed").glob("checkpoints/*.safetensors")
    save_file({name: value for name, value in load_file(path).items() if not name.startswith("1.")}, path)
    with pytest.raises(DataError, match="corrupt: not every run is there once; delete it"):
        job.train_pack(params, pack, tmp_path / "killed", file="params", progress=quiet, report=quiet)


def test_halves_of_a_pack_that_does_not_fit_stop_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, _ = planted(tmp_path, **LONG)

    def small(runs: list[Any]) -> Pack:
        if len(runs) > 2:
            raise torch.OutOfMemoryError("no room")
        return build_pack(runs)

    monkeypatch.setattr(job, "build_pack", small)
    train(params, tmp_path / "halves")
    assert contents(tmp_path / "halves") == contents(tmp_path / "stopped")


def test_epochs_without_a_validation_stop_nothing(tmp_path: Path) -> None:
    every = {"num_epochs": EPOCHS, "validate_every": 2, "stop_within": 0.99}
    pack = train(presets.read(tmp_path, training=every), tmp_path)
    assert epochs_of(pack, tmp_path) == [2, 2, 2]


def test_a_ceiling_that_is_out_of_reach_stops_nothing(tmp_path: Path) -> None:
    train(presets.read(tmp_path), tmp_path / "never")
    pack = train(presets.read(tmp_path, training={"stop_within": 0.0}), tmp_path / "asked")
    assert epochs_of(pack, tmp_path / "asked") == [3, 3, 3]
    for run in pack.runs:
        for name in ("history.csv", "steps.csv", "model.safetensors", "trace.safetensors"):
            files = [tmp_path / root / run.directory / name for root in ("never", "asked")]
            assert files[0].read_bytes() == files[1].read_bytes()
        spec = json.loads((tmp_path / "asked" / run.directory / "training.json").read_text())["spec"]
        assert spec["training"]["stop_within"] == 0


@pytest.mark.parametrize("value", [-0.1, 1, "soon", True])
def test_a_distance_is_a_number_from_0_to_1(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ParameterError, match=r"repaired\.training\.stop_within: "):
        presets.read(tmp_path, training={"stop_within": value})


@pytest.mark.parametrize(
    "grid", [{"training": {"stop_within": 0.1}}, {"phases": {"one": {"training": {"stop_within": None}}}}]
)
def test_a_grid_has_no_rule_of_its_own(tmp_path: Path, grid: dict[str, Any]) -> None:
    params = presets.read(tmp_path, grids={"sweep": grid})
    with pytest.raises(ParameterError, match="stop_within: .*a grid has no rule of its own; allowed: in the track"):
        specs.check(params)
