"""Memory of a run, counted without data, against what a real step saves."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from palimpsest import tasks
from palimpsest.planning import footprint, plan, specs
from palimpsest.planning.parameters import Packing
from palimpsest.planning.specs import RunSpec
from palimpsest.training import loop
from palimpsest.training.pack import build_pack
from tests.training import presets


def first(tmp_path: Path, base: str, **changes: object) -> RunSpec:
    """The first run of a model of the tiny preset, or of those of memories with a lifecycle and of sequences."""
    if base.startswith(("copy", "mqar")):
        params = presets.read_sequences(tmp_path)
    else:
        params = presets.read_lifecycle(tmp_path) if base.startswith("nema_lc") else presets.read(tmp_path, **changes)
    cell = next(cell for cell in plan.cells(params) if base in cell.base)
    return specs.resolve(params, cell)[0]


LIFECYCLE = [
    "nema_lc/track=published/model=nema_lc",
    "nema_lc/track=repaired/model=nema_lc",
    "nema_lc/track=repaired/model=fifo",
]


SEQUENCES = [
    *(f"copy/track=repaired/model={model}" for model in ("lstm", "causal_transformer", "ntm", "dnc")),
    "mqar/track=repaired/model=lstm",
]


def held() -> list[torch.Tensor]:
    """Tensors that Python knows of."""
    return [found for found in gc.get_objects() if type(found) in (torch.Tensor, torch.nn.Parameter)]


@pytest.mark.parametrize("model", ["model=nema_lite", "model=no_memory", *LIFECYCLE, *SEQUENCES])
def test_the_count_is_what_a_real_step_saves(tmp_path: Path, model: str) -> None:
    spec = first(tmp_path, model)
    pack = build_pack([spec])
    config = {key: value for key, value in spec.task.items() if key not in ("name", "seed")}
    train = tasks.load(spec.task["name"]).Config.model_validate(config).build(0).train
    rows = slice(0, spec.training.batch_size)
    extras = {key: value[None, rows] for key, value in train.extras.items()}
    saved: dict[int, int] = {}
    before = {tensor.untyped_storage().data_ptr() for tensor in held()}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in before:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        batch = loop.Batch(train.inputs[None, rows], pack.seeds << 32, extras)
        output = pack.model(batch, pack.hyper)
        pack.task.score(output.logits, train.rows(rows)._replace(targets=train.targets[None, rows]))
    for tensor in held():
        count(tensor)  # kept by nodes of the graph that are written in Python
    parameters = sum(parameter.numel() * 4 for parameter in pack.model.parameters())
    real = footprint.COPIES_OF_PARAMETERS * parameters + footprint.HEADROOM * sum(saved.values())
    assert footprint.bytes_per_run(spec) == pytest.approx(real, rel=0.1)


def test_larger_batches_take_more(tmp_path: Path) -> None:
    sizes = [
        footprint.bytes_per_run(first(tmp_path, "model=nema_lite", training={"batch_size": size}))
        for size in (8, 16, 32)
    ]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(("max_runs", "memory_mb", "expected"), [(7, 1, 7), ("auto", 10, 5), ("auto", 1, 1)])
def test_packs_hold_what_is_set_or_what_fits(max_runs: int | str, memory_mb: float, expected: int) -> None:
    packing = Packing.model_validate({"max_runs": max_runs, "memory_mb": memory_mb})
    assert footprint.runs_per_pack(2 * 2**20, packing) == expected
