"""Train the runs of one pack and write what only training can tell of them: what the rule ``train`` runs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from palimpsest import models
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import digest, write_json, write_text
from palimpsest.foundation.series import slope_of_second_half
from palimpsest.foundation.tensors import write_tensors
from palimpsest.planning import plan, specs
from palimpsest.planning.cards import load_card
from palimpsest.planning.parameters import Params
from palimpsest.planning.provenance import code_of
from palimpsest.planning.specs import RunSpec
from palimpsest.runtime import machine
from palimpsest.tasks import Splits
from palimpsest.training import checkpoint, datasets, loop
from palimpsest.training.pack import Pack, build_pack

Report = Callable[[str], None]
"""Called with a sentence when something out of the ordinary happens."""


@dataclass(frozen=True)
class Job:
    """Runs that are trained together, and where their files go."""

    specs: list[RunSpec]
    data: list[Splits]
    """The data set of each phase, on the device of the runs."""
    data_sha256: str
    """Hash of the file that has the data set of the track's task."""
    outputs: list[Path]
    """Directory of each run."""
    root: Path
    """Product directory; checkpoints are below it."""
    progress: loop.Progress
    report: Report

    def part(self, runs: slice) -> Job:
        """The same job for some of its runs."""
        return replace(self, specs=self.specs[runs], outputs=self.outputs[runs])


def train_pack(
    params: Params, pack: plan.Pack, root: Path, *, file: Path | str, progress: loop.Progress, report: Report
) -> None:
    """Train one pack, or continue from its checkpoint, and write :data:`plan.TRAINING_FILES` of each of its runs.

    Args:
        params: the preset.
        pack: runs that it asks for.
        root: product directory; data are read below it, results and checkpoints written.
        file: where the parameters came from, for messages.
        progress: called after every epoch.
        report: see :data:`Report`.

    Raises:
        ParameterError: a parameter is wrong, or the device is not there.
        DataError: data or checkpoint are missing or corrupt, or the disk is full.
    """
    runs = specs.of_pack(params, pack, file)
    directory = root / plan.data_directory(pack.first.experiment, pack.first.track)
    sha256 = load_card(directory)["sha256"]
    data = datasets.load_phases(runs[0], root)
    train_runs(Job(runs, data, sha256, [root / run.directory for run in pack.runs], root, progress, report))


def train_runs(job: Job) -> None:
    """Train the runs of a job and write the files of each; see :func:`train_pack`.

    A pack that does not fit into the device's memory is trained in halves, one after the other.
    """
    device = job.specs[0].device
    machine.prepare(device)
    if device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("params: device: 'cuda': no GPU is visible; allowed here: cpu")
    try:
        _train_together(job)
        return
    except torch.OutOfMemoryError as error:
        if len(job.specs) == 1:
            raise DataError(f"{job.outputs[0]}: a run alone does not fit into the memory of {device}") from error
    job.report(f"{len(job.specs)} runs do not fit into the memory of {device}: training them in halves")
    middle = len(job.specs) // 2
    for half in (slice(0, middle), slice(middle, None)):
        train_runs(job.part(half))


def _train_together(job: Job) -> None:
    first = job.specs[0]
    chosen = models.chosen_modules(first.model, first.config)
    code = code_of(first.model, first.task["name"], *chosen, first.method_module)
    name = digest([spec.model_dump(mode="json") for spec in job.specs])[:24]
    path = job.root / "checkpoints" / f"{name}.safetensors"
    packs = checkpoint.restore(path, job.specs, job.data, code) if path.exists() else None
    if packs:
        job.report(f"{path}: going on after epoch {max(len(pack.history) for pack in packs)}")
    elif path.exists():
        job.report(f"{path}: is of another version of the code; training from the start")

    def after_epoch(current: list[Pack], done: int) -> None:
        if done % current[0].training.checkpoint_every == 0 and not all(pack.is_trained for pack in current):
            checkpoint.save(path, current, code)

    packs = packs or [build_pack(job.specs)]
    for pack in loop.train(packs, job.data, after_epoch=after_epoch, progress=job.progress):
        drift = _drift(pack)
        for index, place in enumerate(pack.places):
            company = _company(job.specs, place)
            _write_run(pack, index, job.outputs[place], job.data_sha256, drift, company)
    path.unlink(missing_ok=True)


def _drift(pack: Pack) -> dict[str, Tensor]:
    """Slopes over the second half of the last epoch, of a memory that outlives the batch; its horizon is an epoch."""
    slopes = models.drifts(pack.model).items()
    return {f"train_{slope}": slope_of_second_half(pack.log[-1][name].T) for name, slope in slopes}


def _write_run(
    pack: Pack, index: int, directory: Path, data_sha256: str, drift: dict[str, Tensor], company: dict[str, str]
) -> None:
    spec = pack.specs[index]
    epochs = [{name: float(value[index]) for name, value in epoch.items()} for epoch in pack.history]
    steps = [
        dict(zip(epoch, row, strict=True))
        for epoch in pack.log
        for row in zip(*(value[:, index].tolist() for value in epoch.values()), strict=True)
    ]
    matrix = list(loop.matrix_rows(pack, index))
    if matrix:
        lines = ([*row[:-1], repr(row.value)] for row in matrix)
        write_text(directory / plan.MATRIX_FILE, _rows(loop.MatrixRow._fields, lines))
    finite = all(math.isfinite(epoch["train_loss"]) for epoch in epochs)
    write_text(directory / "history.csv", _table("epoch", epochs, repr))
    write_text(directory / "steps.csv", _table("step", steps, "{:.6g}".format))
    write_tensors(directory / "model.safetensors", {k: v[index] for k, v in pack.model.state_dict().items()})
    write_json(
        directory / "training.json",
        {
            "spec": spec.model_dump(mode="json"),
            "status": "completed" if finite else "diverged",
            "epochs": len(pack.history),
            "steps": pack.steps,
            "parameters": sum(parameter[0].numel() for parameter in pack.model.parameters()),
            "metrics": {name: float(value[index]) for name, value in drift.items()} | _main_of(pack, matrix),
            "data_sha256": data_sha256,
            "backend": machine.backend(spec.device) | company,
        },
    )


def _main_of(pack: Pack, matrix: list[loop.MatrixRow]) -> dict[str, float]:
    """The main metrics of the accuracy matrix by name, e.g. ``test_accuracy_after_first_on_second``."""
    return {
        f"{row.split}_{row.metric}_after_{row.trained_phase}_on_{row.evaluated_phase}": row.value
        for row in matrix
        if row.metric in pack.main_metrics
    }


def _table(counter: str, rows: list[dict[str, float]], spelt: Callable[[float], str]) -> str:
    """Rows as CSV: a counter from 1, then the metrics, sorted by name; empty where a row lacks one.

    An epoch without a validation lacks the metrics of the validation.
    """
    names = sorted({name for row in rows for name in row})
    lines = (
        [str(number), *(spelt(row[name]) if name in row else "" for name in names)]
        for number, row in enumerate(rows, 1)
    )
    return _rows([counter, *names], lines)


def _rows(header: Sequence[str], rows: Iterable[list[str]]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return table.getvalue()


def _company(runs: Sequence[RunSpec], place: int) -> dict[str, str]:
    """Place in the pack, where it may have decided the last bits: on a GPU and in compiled code."""
    if runs[0].device == "cpu" and not runs[0].compiled:
        return {}
    return {"pack": f"run {place + 1} of {len(runs)}"}
