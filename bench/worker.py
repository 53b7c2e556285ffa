"""One process of this package in a measurement: trains and measures runs of a job file as one pack, as the rules do.

python -m bench.worker JOB.json [--default-threads]

A job file holds ``specs``, a list of run specifications, and ``root``, a folder; run i is written to ``i/`` in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from bench import workload
from palimpsest import tasks
from palimpsest.foundation.files import digest, read_json
from palimpsest.measuring import job as measuring
from palimpsest.planning.specs import RunSpec
from palimpsest.runtime import machine
from palimpsest.tasks import Splits
from palimpsest.tasks.shared.floors import scored_answers
from palimpsest.training import job as training

TRACE_EXAMPLES = 128


def main(arguments: list[str] | None = None) -> None:
    """Train and measure the job's runs."""
    parser = argparse.ArgumentParser(prog="python -m bench.worker")
    parser.add_argument("job", type=Path)
    parser.add_argument("--default-threads", action="store_true", help="torch's default number of threads")
    options = parser.parse_args(arguments)
    if options.default_threads:
        _keep_threads()
    content = read_json(options.job)
    train([RunSpec.model_validate(spec) for spec in content["specs"]], Path(content["root"]))


def train(specs: list[RunSpec], root: Path) -> None:
    """Train and measure one pack, from generating the data to writing the files of every run."""
    splits = workload.build(specs[0])
    outputs = [root / str(index) for index in range(len(specs))]
    card = _card(specs[0], splits)
    training.train_runs(
        training.Job(specs, [splits], card["sha256"], outputs, root, lambda epoch, metrics: None, print)
    )
    measuring.measure_runs(specs, splits, card, outputs, TRACE_EXAMPLES, report=print)


def _card(spec: RunSpec, splits: Splits) -> dict[str, Any]:
    """Return what ``final.json`` records of the data."""
    task, config = tasks.load(spec.task["name"]), workload.task_config(spec)
    return {
        "answers": scored_answers(config, splits.test),
        "chance": task.chance(config),
        "floor": task.chance(config),  # not simulated, which would count as time of the run
        "floors_by_slice": {},
        "ceiling": task.ceiling(config),
        "sha256": digest([split.targets.tolist() for split in splits]),
    }


def _keep_threads() -> None:
    """Keep torch's number of threads, which :func:`palimpsest.runtime.machine.prepare` would set to one."""
    threads, prepare = torch.get_num_threads(), machine.prepare

    def prepare_and_keep(*arguments: Any, **options: Any) -> None:
        prepare(*arguments, **options)
        torch.set_num_threads(threads)

    machine.prepare = prepare_and_keep


if __name__ == "__main__":
    main()
