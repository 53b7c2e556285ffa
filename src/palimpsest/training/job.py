"""From one pack of a preset to the files of its runs: what the rule ``train`` runs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from palimpsest import models, tasks
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import digest, write_json, write_text
from palimpsest.foundation.tensors import write_tensors
from palimpsest.models import Batch
from palimpsest.planning import plan, specs
from palimpsest.planning.cards import load_card
from palimpsest.planning.parameters import Params
from palimpsest.planning.provenance import code_of
from palimpsest.planning.specs import RunSpec
from palimpsest.runtime import machine
from palimpsest.tasks import Examples, Splits
from palimpsest.training import checkpoint, datasets, loop, seeding
from palimpsest.training.evaluation import carries_state, slope_of_second_half

Report = Callable[[str], None]


def train_pack(
    params: Params, pack: plan.Pack, root: Path, *, file: Path | str, progress: loop.Progress, report: Report
) -> None:
    """Train one pack, or go on from its checkpoint, and write the files of each of its runs.

    Args:
        params: the preset.
        pack: runs that it asks for.
        root: product directory; data are read below it, results and checkpoints written.
        file: where the parameters came from, for messages.
        progress: called after every epoch.
        report: called with a sentence when something out of the ordinary happens.

    Raises:
        ParameterError: a parameter is wrong, or the device is not there.
        DataError: data or checkpoint are missing or corrupt, or the disk is full.
    """
    runs = specs.of_pack(params, pack, file)
    directory = root / plan.data_directory(pack.first.experiment, pack.first.track)
    card = load_card(directory)
    task = tasks.load(runs[0].task["name"])
    config = task.Config.model_validate(_config_of(runs[0].task))
    splits = datasets.load(directory, config, params.device)
    outputs = [root / run.directory for run in pack.runs]
    train_runs(runs, splits, card, outputs, root, params.trace_examples, progress=progress, report=report)


def _config_of(task: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in task.items() if key not in ("name", "seed")}


def train_runs(
    runs: list[RunSpec],
    splits: Splits,
    card: dict[str, object],
    outputs: list[Path],
    root: Path,
    trace_examples: int,
    *,
    progress: loop.Progress,
    report: Report,
) -> None:
    """Train the runs of one pack and write each one's files to its directory in ``outputs``; see :func:`train_pack`.

    A pack that does not fit into the device's memory is trained in halves, one after the other.
    """
    machine.prepare(runs[0].device)
    if runs[0].device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("params: device: 'cuda': no GPU is visible; allowed here: cpu")
    try:
        _train_together(runs, splits, card, outputs, root, trace_examples, progress=progress, report=report)
        return
    except torch.OutOfMemoryError as error:
        if len(runs) == 1:
            raise DataError(f"{outputs[0]}: a run alone does not fit into the memory of {runs[0].device}") from error
    report(f"{len(runs)} runs do not fit into the memory of {runs[0].device}: training them in halves")
    for part in (slice(0, len(runs) // 2), slice(len(runs) // 2, None)):
        train_runs(runs[part], splits, card, outputs[part], root, trace_examples, progress=progress, report=report)


def _train_together(
    runs: list[RunSpec],
    splits: Splits,
    card: dict[str, object],
    outputs: list[Path],
    root: Path,
    trace_examples: int,
    *,
    progress: loop.Progress,
    report: Report,
) -> None:
    code = code_of(runs[0].model, runs[0].task["name"])
    path = root / "checkpoints" / f"{digest([spec.model_dump(mode='json') for spec in runs])[:24]}.safetensors"
    pack = loop.build_pack(runs)
    if path.exists():
        if checkpoint.restore(path, pack, code):
            report(f"{path}: going on after epoch {len(pack.history)}")
        else:
            report(f"{path}: is of another version of the code; training from the start")

    def after_epoch(current: loop.Pack) -> None:
        done = len(current.history)
        if done % current.training.checkpoint_every == 0 and done < current.training.num_epochs:
            checkpoint.save(path, current, code)

    loop.train(pack, splits, after_epoch=after_epoch, progress=progress)
    final = _final_metrics(pack, splits)
    trace = probe(pack, splits, trace_examples)
    for index, (spec, directory) in enumerate(zip(runs, outputs, strict=True)):
        _write_run(pack, index, spec, card, directory, final, trace)
    path.unlink(missing_ok=True)


def _final_metrics(pack: loop.Pack, splits: Splits) -> dict[str, Tensor]:
    """Metrics of the last epoch, and those of the test split under every control; the test is looked at only here."""
    metrics = dict(pack.history[-1])
    for control, measured in loop.evaluate_pack(pack, splits.test, models.CONTROLS, by_slice=True).items():
        for name, value in measured.items():
            if name in pack.main_metrics:
                metrics[f"test_{name}_{control}"] = value.cpu()
            elif control == "on":
                metrics[f"test_{name}"] = value.cpu()
    return metrics | _slopes_over_training(pack)


def _slopes_over_training(pack: loop.Pack) -> dict[str, Tensor]:
    """Of a memory that outlives the batch, whose horizon is an epoch: slopes over the second half of the last one."""
    if not carries_state(pack.model):
        return {}
    names = {"utilisation": "train_utilisation_slope_training", "age_steps": "train_age_slope_training"}
    return {names[name]: slope_of_second_half(pack.log[-1][name].T) for name in names}


@torch.no_grad()
def probe(pack: loop.Pack, splits: Splits, examples: int) -> dict[str, Tensor]:
    """What the memory does on the first examples of the test split: every field of the trace, (R, examples, …)."""
    test = splits.test.rows(_probed(splits.test, examples))
    inputs = test.inputs.expand(pack.runs, -1, -1)
    extras = {key: value.expand(pack.runs, *value.shape) for key, value in test.extras.items()}
    pack.model.eval()
    key = seeding.noise_key(pack.seeds, loop.EVALUATION_STEP)
    output = pack.model(Batch(inputs, key, extras), pack.hyper)
    pack.model.train()
    trace = {name: value.to(STORED.get(name, torch.float32)) for name, value in output.trace.present().items()}
    trace |= pack.task.record(output.logits)
    return trace | {"inputs": inputs.to(torch.int16)} | extras


STORED = {
    **dict.fromkeys(("writes", "alive", "operations"), torch.uint8),
    "slot_time": torch.int32,
    **dict.fromkeys(("read_weighting", "write_weighting", "usage_steps", "link"), torch.float16),
}
"""Types of the trace on disk, float32 where none is said; what there is of every slot at every step is for pictures."""


def _probed(test: Examples, examples: int) -> slice | Tensor:
    """The first examples; where they differ in difficulty, the first of each: their traces are long."""
    if "slice" not in test.extras:
        return slice(0, examples)
    kinds = test.extras["slice"].cpu()
    first = [int(torch.nonzero(kinds == kind)[0]) for kind in kinds.unique()]
    return torch.tensor(first[:examples], device=test.targets.device)


def _write_run(
    pack: loop.Pack,
    index: int,
    spec: RunSpec,
    card: dict[str, object],
    directory: Path,
    final: dict[str, Tensor],
    trace: dict[str, Tensor],
) -> None:
    epochs = [{name: float(value[index]) for name, value in epoch.items()} for epoch in pack.history]
    steps = [
        dict(zip(epoch, row, strict=True))
        for epoch in pack.log
        for row in zip(*(value[:, index].tolist() for value in epoch.values()), strict=True)
    ]
    values = {name: float(value[index]) for name, value in final.items()}
    finite = all(math.isfinite(epoch["train_loss"]) for epoch in epochs)
    write_text(directory / "history.csv", _table("epoch", epochs, repr))
    write_text(directory / "steps.csv", _table("step", steps, "{:.6g}".format))
    write_tensors(directory / "model.safetensors", {k: v[index] for k, v in pack.model.state_dict().items()})
    write_tensors(directory / "trace.safetensors", {name: value[index] for name, value in trace.items()})
    write_json(
        directory / "final.json",
        {
            "spec": spec.model_dump(mode="json"),
            "status": "completed" if finite else "diverged",
            "epochs": len(pack.history),
            "steps": pack.optimiser.steps,
            "parameters": sum(parameter[0].numel() for parameter in pack.model.parameters()),
            "metrics": values,
            "chance": card["chance"],
            "ceiling": card["ceiling"],
            "data_sha256": card["sha256"],
            "backend": machine.backend(spec.device) | _company(pack, index),
        },
    )


def _table(counter: str, rows: list[dict[str, float]], spelt: Callable[[float], str]) -> str:
    """Rows as CSV: a counter from 1, then the metrics, sorted by name."""
    names = sorted(rows[0])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([counter, *names])
    writer.writerows([number, *(spelt(row[name]) for name in names)] for number, row in enumerate(rows, 1))
    return table.getvalue()


def _company(pack: loop.Pack, index: int) -> dict[str, str]:
    """Place in the pack, where it may have decided the last bits: on a GPU and in compiled code."""
    if pack.specs[0].device == "cpu" and not pack.specs[0].compiled:
        return {}
    return {"pack": f"run {index + 1} of {pack.runs}"}
