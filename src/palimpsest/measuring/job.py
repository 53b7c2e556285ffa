"""Measure the trained runs of one pack and write what is measured: what the rule ``measure`` runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palimpsest import models
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import read_json, write_json
from palimpsest.foundation.tensors import read_tensors, write_tensors
from palimpsest.measuring.evaluation import measure
from palimpsest.measuring.probe import probe
from palimpsest.planning import plan, specs
from palimpsest.planning.cards import load_card
from palimpsest.planning.parameters import Params
from palimpsest.planning.specs import RunSpec
from palimpsest.runtime import machine
from palimpsest.tasks import Splits
from palimpsest.training import datasets
from palimpsest.training.pack import Pack, build_pack

Report = Callable[[str], None]


def measure_pack(params: Params, pack: plan.Pack, root: Path, *, file: Path | str, report: Report) -> None:
    """Measure the trained runs of one pack and write :data:`plan.MEASURED_FILES` of each.

    Args:
        params: the preset.
        pack: runs that it asks for, all of them trained.
        root: product directory; data and weights are read below it.
        file: where the parameters came from, for messages.
        report: called with a sentence when something out of the ordinary happens.

    Raises:
        ParameterError: a parameter is wrong, or the device is not there.
        DataError: data or weights are missing, corrupt or of other runs, or the disk is full.
    """
    runs = specs.of_pack(params, pack, file)
    directory = root / plan.data_directory(pack.first.experiment, pack.first.track)
    card, splits = load_card(directory), datasets.load_for(runs[0], directory)
    measure_runs(runs, splits, card, [root / run.directory for run in pack.runs], params.trace_examples, report=report)


def measure_runs(
    runs: list[RunSpec],
    splits: Splits,
    card: dict[str, Any],
    directories: list[Path],
    trace_examples: int,
    *,
    report: Report,
) -> None:
    """Measure runs from the files that training left in their directories; see :func:`measure_pack`.

    A pack that does not fit into the device's memory is measured in halves, one after the other.

    Args:
        runs: specification of each run.
        splits: the data, on the runs' device.
        card: of the data; see :func:`palimpsest.planning.cards.load_card`.
        directories: of each run.
        trace_examples: examples of the probe batch.
        report: see :func:`measure_pack`.
    """
    device = runs[0].device
    machine.prepare(device)
    if device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("params: device: 'cuda': no GPU is visible; allowed here: cpu")
    try:
        _measure_together(runs, splits, card, directories, trace_examples)
        return
    except torch.OutOfMemoryError as error:
        if len(runs) == 1:
            raise DataError(f"{directories[0]}: a run alone does not fit into the memory of {device}") from error
    report(f"{len(runs)} runs do not fit into the memory of {device}: measuring them in halves")
    for half in (slice(0, len(runs) // 2), slice(len(runs) // 2, None)):
        measure_runs(runs[half], splits, card, directories[half], trace_examples, report=report)


def _measure_together(
    runs: list[RunSpec], splits: Splits, card: dict[str, Any], directories: list[Path], trace_examples: int
) -> None:
    trained = [_read_training(where, spec, card) for spec, where in zip(runs, directories, strict=True)]
    pack = load_pack(runs, directories)
    metrics, trace = _metrics(pack, splits), probe(pack, splits, trace_examples)
    for index, (training, directory) in enumerate(zip(trained, directories, strict=True)):
        measured = {name: float(value[index]) for name, value in metrics.items()}
        write_tensors(directory / "trace.safetensors", {name: value[index] for name, value in trace.items()})
        write_json(
            directory / "final.json",
            {
                **training,
                "metrics": _last_epoch(directory / "history.csv") | training["metrics"] | measured,
                "answers": card["answers"],
                "chance": card["chance"],
                "floor": card["floor"],
                "floors": card["floors_by_slice"],
                "ceiling": card["ceiling"],
            },
        )


def _read_training(directory: Path, spec: RunSpec, card: dict[str, Any]) -> dict[str, Any]:
    """``training.json`` of a run.

    Raises:
        DataError: it is missing, or of another run or other data.
    """
    path = directory / "training.json"
    content = read_json(path)
    for key, expected in (("spec", spec.model_dump(mode="json")), ("data_sha256", card["sha256"])):
        if content.get(key) != expected:
            raise DataError(f"{path}: {key}: of another run; allowed: what `palimpsest train-pack` writes for this one")
    return content


def load_pack(runs: list[RunSpec], directories: list[Path]) -> Pack:
    """A pack with the weights that training left in the directories of its runs.

    Raises:
        DataError: weights are missing or corrupt, or of another model.
    """
    pack = build_pack(runs)
    expected = {name: value.shape[1:] for name, value in pack.model.state_dict().items()}
    weights = []
    for directory, spec in zip(directories, runs, strict=True):
        weights.append(read_tensors(directory / "model.safetensors"))
        if {name: value.shape for name, value in weights[-1].items()} != expected:
            path = directory / "model.safetensors"
            raise DataError(f"{path}: parameters do not fit; allowed: those of {spec.model}")
    pack.model.load_state_dict({name: torch.stack([run[name] for run in weights]) for name in expected})
    return pack


def _metrics(pack: Pack, splits: Splits) -> dict[str, Tensor]:
    """Metrics of the test split under every control, and those of the traces of the validation split, each (R,)."""
    metrics = {}
    measured, of_trace = measure(pack, splits.test, models.CONTROLS)
    for control, values in measured.items():
        for name, value in values.items():
            if name in pack.main_metrics:
                metrics[f"test_{name}_{control}"] = value
            elif control == "on":
                metrics[f"test_{name}"] = value
    metrics |= {f"test_{name}": value for name, value in of_trace.items()}
    if of_trace:  # what has no trace is in the history of training
        _, of_trace = measure(pack, splits.validation, ("on",))
        metrics |= {f"validation_{name}": value for name, value in of_trace.items()}
    return {name: value.cpu() for name, value in metrics.items()}


def _last_epoch(path: Path) -> dict[str, float]:
    """Metrics of the last epoch.

    Raises:
        DataError: the table is missing or damaged.
    """
    try:
        names, *_, last = (line.split(",") for line in path.read_text(encoding="utf-8").splitlines())
        return {name: float(text) for name, text in list(zip(names, last, strict=True))[1:]}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error}; allowed: what `palimpsest train-pack` writes") from None
