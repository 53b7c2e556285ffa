"""The estimated cost of a preset: steps as they are taken, files as they are written, and nothing read for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest import models
from palimpsest.cli import estimate
from palimpsest.planning import plan, specs
from palimpsest.planning.specs import RunSpec
from palimpsest.tasks import lra_retrieval
from tests.training import presets

BASES = [
    "nema_lc/track=published/model=nema_lc/ablation=none",
    "nema_lc/track=repaired/model=fifo",
    "nema_lc_lra/track=published/model=nema_lc/use_memory=false",
]


def runs_of(tmp_path: Path, base: str) -> list[RunSpec]:
    """The runs of one cell of the preset of memories with a lifecycle."""
    params = presets.read_lifecycle(tmp_path)
    return specs.resolve(params, next(cell for cell in plan.cells(params) if cell.base.endswith(base)))


@pytest.mark.parametrize("base", BASES)
def test_a_cost_is_steps_time_and_bytes(tmp_path: Path, base: str) -> None:
    runs = runs_of(tmp_path, base)
    cost = estimate.measure(runs, 4, timing=True)
    assert cost.steps == 3 * 4  # 50 examples in batches of 16
    assert cost.seconds > 0
    weights = 4 * sum(p.numel() for p in models.load(runs[0].model).Model(config_of(runs[0]), 2).parameters())
    assert weights < cost.bytes < weights + 100_000


def test_a_stream_is_gone_through_once_and_timed_all_the_same(tmp_path: Path) -> None:
    (first, *_) = runs_of(tmp_path, BASES[1])
    stream = first.training.model_copy(update={"order": "stream", "num_epochs": 3})
    cost = estimate.measure([first.model_copy(update={"training": stream})], 4, timing=True)
    assert cost.steps == 4  # 50 examples in batches of 16
    assert cost.seconds > 0


def config_of(spec: RunSpec) -> object:
    """The model's parameters."""
    return models.load(spec.model).Config.model_validate(spec.config)


def test_a_task_that_reads_files_is_estimated_without_them(tmp_path: Path) -> None:
    (first, *_) = runs_of(tmp_path, "nema_lc/track=repaired/model=nema_lc/ablation=none")
    task = lra_retrieval.Config(folder=str(tmp_path / "none"), max_bytes=8, question_length=2, num_train=33)
    content = {"name": "lra_retrieval", "seed": 0, **task.model_dump()}
    spec = first.model_copy(update={"task": content, "config": {**first.config, **task.interface()}})
    cost = estimate.measure([spec], 4, timing=False)
    assert cost.steps == 3 * 3
    assert cost.seconds != cost.seconds  # nothing was timed
    assert cost.bytes > 0
