"""A worker trains a list of runs that may span cells, and leaves the files of every run."""

from pathlib import Path

import torch

from bench import sweep, worker, workload
from palimpsest.foundation.files import read_json
from palimpsest.planning.plan import RUN_FILES
from palimpsest.runtime import machine


def test_every_run_of_a_job_has_its_files_and_its_specification(tmp_path: Path) -> None:
    small = {"width": 8, "feedforward": 8, "num_layers": 1}
    specs = [
        workload.sized(spec, device="cpu", batch=4, steps=2, epochs=2, config=small)
        for spec in workload.grid(workload.specs_of("default", "published"), 3)
    ]
    command, *others = sweep.pack_commands(specs, tmp_path, 3)
    assert others == []
    assert command[:2] == ["-m", "bench.worker"]
    worker.main(command[2:])
    for index, spec in enumerate(specs):
        folder = tmp_path / "0" / str(index)
        assert all((folder / name).is_file() for name in RUN_FILES)
        assert read_json(folder / "final.json")["spec"] == spec.model_dump(mode="json")


def test_default_threads_stay_although_training_asks_for_one(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(machine, "prepare", lambda device: torch.set_num_threads(1))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    worker._keep_threads()
    machine.prepare("cpu")
    assert asked == [1, 7]
