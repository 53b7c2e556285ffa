"""What is measured of a split: scores by difficulty and measures of traces, against one example at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from palimpsest import tasks
from palimpsest.measuring.evaluation import measure
from palimpsest.memory.stepwise_trace import look
from palimpsest.models import CONTROLS, Batch
from palimpsest.planning import plan, specs
from palimpsest.tasks import Examples, Splits
from palimpsest.training import loop
from palimpsest.training.pack import Pack, build_pack
from tests.training.presets import read_lifecycle, read_sequences


def of_sequences(directory: Path, base: str, **training: Any) -> tuple[Pack, Splits]:
    """A pack of two seeds of the preset of sequences, and its data."""
    params = read_sequences(directory, **training)
    (cell,) = (cell for cell in plan.cells(params) if cell.base.endswith(base))
    pack = build_pack(specs.resolve(params, cell))
    config = {key: value for key, value in pack.specs[0].task.items() if key not in ("name", "seed")}
    return pack, tasks.load(pack.specs[0].task["name"]).Config.model_validate(config).build(1)


def one_by_one(pack: Pack, examples: Examples, control: Any) -> dict[str, list[list[float]]]:
    """Scores of every example alone and without padding: a list of values for each run."""
    found: dict[str, list[list[float]]] = {}
    pack.model.eval()
    for row, length in enumerate(examples.extras["length"].tolist()):
        alone = examples.rows(slice(row, row + 1), length)
        batch = Batch(alone.inputs.expand(2, 1, -1), pack.seeds, {}, control, watch=look if control == "on" else None)
        with torch.no_grad():
            output = pack.model(batch, pack.hyper)
        of_example = pack.task.score(output.logits, alone._replace(targets=alone.targets.expand(2, 1, -1)))
        for name, value in of_example.items():
            for run in range(2):
                found.setdefault(name, [[], []])[run].append(float(value[run, 0]))
        if output.trace.read_weighting is not None:
            focus = output.trace.read_weighting.amax(-1).mean((1, 2, 3))
            for run in range(2):
                found.setdefault("read_focus", [[], []])[run].append(float(focus[run]))
    pack.model.train()
    return found


@pytest.mark.parametrize("base", ["copy/track=repaired/model=ntm", "mqar/track=repaired/model=lstm"])
def test_what_is_measured_of_sequences_is_what_looking_at_each_alone_gives(tmp_path: Path, base: str) -> None:
    """In batches of 3, of examples of which 4 are as long as each other."""
    pack, splits = of_sequences(tmp_path, base, batch_size=3)
    measured, of_trace = measure(pack, splits.test, ("on", "off"))
    assert set(of_trace) == ({"slots_written", "read_focus"} if "ntm" in base else set())
    kinds = splits.test.extras["slice"].tolist()
    assert pack.model.training
    for control, scored in measured.items():
        metrics = {**scored, **(of_trace if control == "on" else {})}
        alone = one_by_one(pack, splits.test, control)
        expected = {name: [np.mean(values) for values in of_runs] for name, of_runs in alone.items()}
        for kind in set(kinds):
            for name in ("loss", "accuracy", "sequence_accuracy"):
                of_kind = [[v for v, k in zip(values, kinds, strict=True) if k == kind] for values in alone[name]]
                expected[f"{name}_at_{kind}"] = [np.mean(values) for values in of_kind]
        assert set(metrics) - {"slots_written"} == set(expected)
        for name, values in expected.items():
            assert metrics[name].dtype == torch.float64, name
            assert metrics[name].tolist() == pytest.approx(values, rel=1e-4, abs=1e-6), name


def test_a_memory_that_is_off_says_something_else(tmp_path: Path) -> None:
    pack, splits = of_sequences(tmp_path, "copy/track=repaired/model=ntm")
    measured = loop.evaluate_pack(pack, splits.test, CONTROLS)
    losses = {control: metrics["loss"].tolist() for control, metrics in measured.items()}
    assert losses["random_writes"] == losses["on"]
    assert len({tuple(loss) for loss in losses.values()}) == 3


def test_difficulty_is_asked_for_in_vain_where_there_is_none(tmp_path: Path) -> None:
    params = read_lifecycle(tmp_path)
    cell = next(cell for cell in plan.cells(params) if cell.base.endswith("repaired/model=nema_lc/ablation=none"))
    track = params.experiments[cell.experiment].tracks[cell.track]
    pack = build_pack(specs.resolve(params, cell))
    splits = specs.task_config(track, "params", "here").build(1)
    measured = measure(pack, splits.test, ["on"])[0]["on"]
    assert not [name for name in measured if "_at_" in name]


def test_the_order_of_the_examples_changes_no_score(tmp_path: Path) -> None:
    pack, splits = of_sequences(tmp_path, "copy/track=repaired/model=lstm", batch_size=5)
    turned = splits.test.rows(torch.arange(12).flip(0))
    one, other = (measure(pack, part, ["on"])[0]["on"] for part in (splits.test, turned))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-5, atol=1e-7)
