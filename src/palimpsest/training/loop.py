"""The one training loop: a pack of runs of one architecture, as one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from palimpsest import models, tasks
from palimpsest.foundation.numbers import as_number
from palimpsest.foundation.sections import per_run_fields
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.product import rounding
from palimpsest.memory.stepwise import Watch
from palimpsest.models import Batch
from palimpsest.planning.parameters import Training
from palimpsest.planning.specs import RunSpec, structure
from palimpsest.runtime import machine
from palimpsest.tasks import Examples, Splits, Task
from palimpsest.training import seeding
from palimpsest.training.evaluation import Metrics, Visit, add_sums, batch_sums, carries_state, evaluate, narrowed
from palimpsest.training.optimiser import Optimiser, build_optimiser

EVALUATION_STEP = 1 << 31
"""Steps of training stay below it, so that evaluation never reuses a noise key of training."""

Log = dict[str, Float[Tensor, "steps runs"]]
"""What was measured in each training step of an epoch."""
Progress = Callable[[int, dict[str, Tensor]], None]
"""Called after every epoch with the number of epochs done and that epoch's metrics, each (R,)."""


@dataclass
class Pack:
    """R runs in training: parameters, optimiser, hyper-parameters and what has been measured so far."""

    specs: list[RunSpec]
    model: nn.Module
    hyper: dict[str, Tensor]
    optimiser: Optimiser
    seeds: Tensor
    history: list[Metrics] = field(default_factory=list)
    """What was measured in each epoch, each (R,)."""
    log: list[Log] = field(default_factory=list)
    """What was measured in each training step, epoch by epoch, each (steps, R)."""

    @property
    def runs(self) -> int:
        """Size R of the pack."""
        return len(self.specs)

    @property
    def task(self) -> Task:
        """The module of the runs' task."""
        return tasks.load(self.specs[0].task["name"])

    @property
    def main_metrics(self) -> tuple[str, str]:
        """The metrics that are reported under every control: the loss and the task's main metric."""
        return "loss", self.task.METRIC.name

    @property
    def training(self) -> Training:
        """What the runs have in common; per-run values stand in ``hyper``."""
        return self.specs[0].training


def build_pack(specs: Sequence[RunSpec]) -> Pack:
    """Build and initialise a pack.

    Raises:
        ValueError: the runs differ in more than seed and per-run parameters.
    """
    module = models.load(specs[0].model)
    varying = {*per_run_fields(module.Config), *per_run_fields(Training)}
    common = [structure(spec) for spec in specs]
    if any(other != common[0] for other in common):
        raise ValueError(f"these runs are no pack: they differ in more than seed and {sorted(varying)}")
    device = torch.device(specs[0].device)
    hyper = {name: torch.tensor([_per_run(spec, name) for spec in specs], device=device) for name in sorted(varying)}
    model = module.Model(module.Config.model_validate(specs[0].config), len(specs))
    reset_parameters(model, [seeding.generator(spec.seed, "initialisation") for spec in specs])
    model.to(device).train()
    if specs[0].compiled:
        machine.compile_model(model)
    optimiser = build_optimiser(model.parameters(), specs[0].training, hyper)
    return Pack(list(specs), model, hyper, optimiser, torch.tensor([spec.seed for spec in specs], device=device))


def _per_run(spec: RunSpec, name: str) -> bool | int | float:
    """The number that a per-run parameter is in a run."""
    if name in spec.config:
        return as_number(models.load(spec.model).Config, name, spec.config[name])
    return getattr(spec.training, name)


def train(pack: Pack, splits: Splits, *, after_epoch: Callable[[Pack], None], progress: Progress) -> None:
    """Train a pack to the end, from wherever its history stands.

    Args:
        pack: as built, or as restored from a checkpoint.
        splits: the data, on the pack's device.
        after_epoch: called when an epoch is complete, e.g. to write a checkpoint.
        progress: for people.
    """
    main = pack.main_metrics
    for epoch in range(len(pack.history), pack.training.num_epochs):
        means, steps = train_epoch(pack, splits.train, epoch)
        metrics = {f"train_{name}": value for name, value in means.items()}
        measured = evaluate_pack(pack, splits.validation, ("on", "off"))
        for control, values in measured.items():
            metrics |= {f"validation_{name}_{control}": value for name, value in values.items() if name in main}
        metrics |= {f"validation_{name}": value for name, value in measured["on"].items() if name not in main}
        pack.history.append({name: value.cpu() for name, value in metrics.items()})
        pack.log.append({name: value.cpu() for name, value in steps.items()})
        progress(epoch + 1, pack.history[-1])
        after_epoch(pack)


def evaluate_pack(
    pack: Pack,
    examples: Examples,
    controls: Sequence[models.Control],
    *,
    watch: Watch | None = None,
    visit: Visit | None = None,
) -> dict[models.Control, Metrics]:
    """Metrics of every run on a split; see :func:`palimpsest.training.evaluation.evaluate`."""
    with rounding(pack.specs[0].precision, pack.seeds.device):
        return evaluate(
            pack.model,
            pack.hyper,
            examples,
            runs=pack.runs,
            batch_size=pack.training.batch_size,
            noise_key=seeding.noise_key(pack.seeds, EVALUATION_STEP),
            controls=controls,
            score=pack.task.score,
            watch=watch,
            visit=visit,
        )


def train_epoch(pack: Pack, examples: Examples, epoch: int) -> tuple[Metrics, Log]:
    """One pass over the training split. Nothing waits for the device inside a step.

    Returns:
        Mean metrics over the examples, each (R,), and the means of every step, each (steps, R).
    """
    total: Metrics = {}
    steps: list[Metrics] = []
    state, seen = None, 0
    # In a stream the examples of all runs are as long as each other at every step. Elsewhere a batch is not cut to its
    # longest: a run's sums would be grouped according to its company.
    lengths = examples.lengths() if pack.training.order == "stream" else None
    for places in _batches(pack, examples, epoch):
        time = None if lengths is None else int(lengths[places].max())
        part = examples.rows(places.to(examples.targets.device), time)
        key = seeding.noise_key(pack.seeds, pack.optimiser.steps)
        sums, state = _step(pack, part, key, state)
        add_sums(total, sums)
        seen += places.shape[1]
        steps.append({name: value / places.shape[1] for name, value in sums.items()})
    means = {name: value / seen for name, value in total.items()}
    return means, {name: torch.stack([step[name] for step in steps]) for name in total}


def _batches(pack: Pack, examples: Examples, epoch: int) -> Sequence[Int[Tensor, "runs batch"]]:
    """Which examples each run sees, step by step, in an epoch."""
    seeds, training = [spec.seed for spec in pack.specs], pack.training
    if training.order == "shuffled":
        return seeding.epoch_order(seeds, epoch, len(examples.targets)).split(training.batch_size, 1)
    groups = examples.extras.get("group", torch.zeros(len(examples.targets), dtype=torch.int64)).cpu()
    steps = seeding.stream_order(seeds, groups).split(training.batch_size, 1)
    first, last = (place * len(steps) // training.num_epochs for place in (epoch, epoch + 1))
    return steps[first:last]


def _step(pack: Pack, examples: Examples, noise_key: Tensor, state: Any) -> tuple[Metrics, Any]:
    """L = L_task + Σ weight · auxiliary, summed over runs: no run's gradient sees another run.

    A model that carries its state starts from ``state``, and what it hands on is without a gradient.
    """
    pack.optimiser.zero_grad()
    batch, size = Batch(examples.inputs, noise_key, examples.extras), examples.targets.shape[1]
    with rounding(pack.specs[0].precision, noise_key.device):
        output = pack.model(batch, pack.hyper, narrowed(state, size))
        found = pack.task.score(output.logits, examples)
        loss = found["loss"].mean(1)
        for term, weight in models.loss_weights(pack.model, pack.hyper).items():
            loss = loss + weight * output.losses[term]
        loss.sum().backward()
    pack.optimiser.step()
    sums = batch_sums(output, found)
    sums["objective"] = loss.detach().double() * size
    return sums, output.state if carries_state(pack.model) else None
