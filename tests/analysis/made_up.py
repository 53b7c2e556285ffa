"""Made-up runs: as rows of the table of runs, and as files in a tree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from palimpsest.analysis.claim_file import Claims, read_claims
from palimpsest.analysis.frames import axes_of, records
from palimpsest.analysis.measure import Resolved
from palimpsest.analysis.runs import RUNS, run_directory, run_frame
from palimpsest.foundation.files import write_json, write_text
from palimpsest.foundation.tensors import write_tensors
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params

AXES = ["mem_lambda", "write_threshold"]
SORTED_BY = ["track", "model", *AXES, "seed"]


def cell(
    model: str,
    metrics: Mapping[str, Sequence[float]],
    point: Mapping[str, float | str] | None = None,
    track: str = "repaired",
    ceiling: float = 1.0,
    floor: float = 0.1,
    diverged: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """Rows of one cell: one run for each value of its metrics, with the seeds 0, 1 and so on."""
    count = len(next(iter(metrics.values())))
    return [
        {
            "experiment": "nema_lite",
            "track": track,
            "model": model,
            **(point or {}),
            "seed": seed,
            "status": "diverged" if seed in diverged else "completed",
            "parameters": 1000,
            "epochs": 2,
            "steps": 8,
            "chance": 0.1,
            "floor": floor,
            "ceiling": ceiling,
            "flags": "",
            **{name: values[seed] for name, values in metrics.items()},
        }
        for seed in range(count)
    ]


def table(*cells: list[dict[str, Any]]) -> pd.DataFrame:
    """The table of runs of these cells."""
    return run_frame([row for rows in cells for row in rows], AXES, list(RUNS.middle))


def known(
    runs: pd.DataFrame, *, num_test: int = 1000, config: Mapping[str, Any] | None = None, **task: Any
) -> Resolved:
    """What these runs resolve to: the same task and model in all of them."""
    parts = {"task": {"num_test": num_test, "num_train": 1000, **task}, "config": config or {}}
    return {run_directory(run, axes_of(runs)): parts for run in records(runs)}


def claims(tmp_path: Path, groups: dict[str, Any], *tests: dict[str, Any], **more: Any) -> Claims:
    """Claim 000-a with these tests, read from a file."""
    claim = {
        "source": "000",
        "experiment": "nema_lite",
        "statement": "made up",
        "place": "nowhere",
        "tracks": ["repaired"],
        "tests": [{"name": "it", "unit": "u", **test} for test in tests],
        **more,
    }
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"groups": groups, "claims": {"000-a": claim}}))
    return read_claims(path)


def write_tree(params: Params, root: Path) -> None:
    """Files of every run that a preset asks for, as if it had been trained."""
    for cell in plan.cells(params):
        for spec in specs.resolve(params, cell):
            write_run(root / cell.directory(spec.seed), spec)


def write_run(directory: Path, spec: specs.RunSpec) -> None:
    """Files of one run."""
    remembers = "write_threshold" in spec.config
    steps = sum(
        phase.training.num_epochs * math.ceil(phase.task["num_train"] / phase.training.batch_size)
        for phase in spec.stages
    )
    metrics = {"test_accuracy_on": 0.75, "test_accuracy_off": 0.125, "test_loss_on": 0.5, "test_loss_off": 2.5}
    metrics |= accuracies_in_phases(spec)
    content = {
        "spec": spec.model_dump(mode="json"),
        "status": "completed",
        "epochs": spec.num_epochs,
        "steps": steps,
        "parameters": 1234,
        "metrics": {**metrics, **({"test_write_ratio": 0.25} if remembers else {})},
        "answers": 24,
        "chance": 0.1,
        "floor": 0.125,
        "floors": {},
        "ceiling": 1.0,
        "data_sha256": "0" * 64,
        "backend": {"torch": "2", "cpu": "some"},
    }
    write_json(directory / "final.json", content)
    places = [place for place, phase in enumerate(spec.stages, 1) for _ in range(phase.training.num_epochs)]
    epochs = "".join(f"{epoch},{place},{1 / epoch}\n" for epoch, place in enumerate(places, 1))
    header = "epoch,phase,train_loss"
    if len(spec.phases) < 2:
        header, epochs = header.replace("phase,", ""), epochs.replace(",1,", ",")
    write_text(directory / "history.csv", f"{header}\n{epochs}")
    log = "".join(f"{step},{1 / step}\n" for step in range(1, steps + 1))
    write_text(directory / "steps.csv", f"step,loss\n{log}")
    trace = {"answer_position": torch.tensor([1, 3])}
    if remembers:
        trace["write_gate"] = torch.tensor([[0.0, 1.0, 0.5, 0.25], [0.0, 0.0, 0.5, 0.75]])
        trace["writes"] = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.uint8)
    write_tensors(directory / "trace.safetensors", trace)


def accuracy_in_phases(trained: int, phase: int, seed: int) -> float:
    """Test accuracy on a phase after another, both counted from 0: learnt, then forgotten by and by."""
    learnt = 0.9 - 0.05 * seed - 0.1 * phase
    return learnt - 0.2 * (trained - phase) if trained >= phase else 0.2 + 0.01 * seed


def accuracies_in_phases(spec: specs.RunSpec) -> dict[str, float]:
    """The accuracy matrices of a run as ``final.json`` has them; nothing of a run of one phase."""
    if len(spec.phases) < 2:
        return {}
    lower = {"test": 0.0, "validation": 0.125}
    return {
        f"{split}_accuracy_after_{after.name}_on_{on.name}": accuracy_in_phases(trained, phase, spec.seed) - offset
        for split, offset in lower.items()
        for trained, after in enumerate(spec.phases)
        for phase, on in enumerate(spec.phases)
    }
