"""The one training loop: a pack of runs of one architecture, as one program, phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from palimpsest import models
from palimpsest.foundation import tree
from palimpsest.layers.product import rounding
from palimpsest.memory.stepwise import Watch
from palimpsest.models import Batch, carries_state
from palimpsest.tasks import Examples, Splits
from palimpsest.training import seeding
from palimpsest.training.evaluation import Metrics, Visit, add_sums, batch_sums, evaluate, narrowed
from palimpsest.training.pack import EVALUATION_STEP, Log, Pack

Progress = Callable[[int, dict[str, Tensor]], None]
"""Called after every epoch with the number of epochs done and that epoch's metrics, each (R,)."""
AfterEpoch = Callable[[list[Pack], int], None]
"""Called when an epoch is complete, and with the last epoch of a phase the phase; e.g. to write a checkpoint.

It gets the packs that together have all runs, and how many epochs the one that was trained has done.
"""


def train(packs: Sequence[Pack], data: Sequence[Splits], *, after_epoch: AfterEpoch, progress: Progress) -> list[Pack]:
    """Train packs to the end, from where their histories end.

    Runs that reach the ceiling of their task, to ``stop_within``, end their phase there: they leave their pack, which
    goes on without them. What a run becomes does not depend on who stays.

    Args:
        packs: one, as built, or all those that were restored from a checkpoint.
        data: the data set of each phase, on the packs' device.
        after_epoch: see :data:`AfterEpoch`.
        progress: for people.

    Returns:
        Trained packs, which together have all runs.
    """
    packs = list(packs)
    for pack in packs:
        if pack.steps == 0:
            pack.method_state = pack.method.initial_state(pack, data)
    while waiting := [place for place, pack in enumerate(packs) if not pack.is_trained]:
        place = waiting[0]
        packs[place : place + 1] = advance(packs[place], data, progress)
        after_epoch(packs, len(packs[place].history))
    return packs


def advance(pack: Pack, data: Sequence[Splits], progress: Progress) -> list[Pack]:
    """Train one epoch of the current phase, and end the phase for the runs that it was the last one for.

    Returns:
        The pack; or, if some of its runs alone end their phase, a pack of these and a pack of the others.
    """
    splits, epoch = data[pack.phase], pack.epochs_of_phase
    means, steps = train_epoch(pack, splits.train, epoch)
    metrics = {f"train_{name}": value for name, value in means.items()}
    last = epoch + 1 == pack.training.num_epochs
    if last or (epoch + 1) % pack.training.validate_every == 0:
        metrics |= _validation(pack, splits.validation, ("on", "off") if last else ("on",))
    if pack.num_phases > 1:
        metrics["phase"] = torch.full((pack.runs,), pack.phase + 1.0)
    pack.history.append({name: value.cpu() for name, value in metrics.items()})
    pack.log.append({name: value.cpu() for name, value in steps.items()})
    progress(len(pack.history), pack.history[-1])
    if last:
        _end_phase(pack, data)
        return [pack]
    stopping = _at_the_ceiling(pack)
    if not any(stopping):
        return [pack]
    ends, goes_on = ([run for run, stops in enumerate(stopping) if stops == end] for end in (True, False))
    leaving = pack.part(ends) if goes_on else pack
    both = _validation(leaving, splits.validation, ("on", "off"))
    leaving.history[-1] |= {name: value.cpu() for name, value in both.items()}
    _end_phase(leaving, data)
    return [leaving, pack.part(goes_on)] if goes_on else [leaving]


def _at_the_ceiling(pack: Pack) -> list[bool]:
    """Whether the validation of the last epoch, if there was one, has brought each run near enough to the ceiling."""
    within, metric = pack.training.stop_within, f"validation_{pack.task.METRIC.name}_on"
    if within is None or metric not in pack.history[-1]:
        return [False] * pack.runs
    return (pack.history[-1][metric] >= pack.ceiling - within).tolist()


def _validation(pack: Pack, examples: Examples, controls: Sequence[models.Control]) -> Metrics:
    """Metrics of the validation split; the main ones under each control."""
    measured = evaluate_pack(pack, examples, controls)
    metrics = {}
    for control, values in measured.items():
        for name, value in values.items():
            if name in pack.main_metrics:
                metrics[f"validation_{name}_{control}"] = value
            elif control == "on":
                metrics[f"validation_{name}"] = value
    return metrics


def _end_phase(pack: Pack, data: Sequence[Splits]) -> None:
    """Let the method learn from the phase, measure the splits of all phases, and start the next phase."""
    pack.ended.append(pack.epochs_of_phase)
    if pack.num_phases == 1:
        return
    for parameter in pack.moving().values():
        parameter.requires_grad_(True)
    pack.method_state = pack.method.after_phase(pack, pack.method_state, data[pack.phase])
    pack.matrix.append(_row_of_matrix(pack, data))
    if pack.phase + 1 < pack.num_phases:
        pack.start_phase(pack.phase + 1)


def _row_of_matrix(pack: Pack, data: Sequence[Splits]) -> Metrics:
    """Metrics of the splits of all phases, by ``phase.split.metric``; no decision depends on those of the test."""
    found: Metrics = {}
    known: dict[int, Metrics] = {}  # phases may share a data set
    for phase, splits in zip(pack.phases, data, strict=True):
        if id(splits) not in known:
            known[id(splits)] = {
                f"{split}.{name}": value.cpu()
                for split in ("validation", "test")
                for name, value in evaluate_pack(pack, getattr(splits, split), ["on"])["on"].items()
            }
        found |= {f"{phase.name}.{name}": value for name, value in known[id(splits)].items()}
    return found


def evaluate_pack(
    pack: Pack,
    examples: Examples,
    controls: Sequence[models.Control],
    *,
    watch: Watch | None = None,
    visit: Visit | None = None,
) -> dict[models.Control, Metrics]:
    """Metrics of every run on a split; see :func:`palimpsest.training.evaluation.evaluate`.

    A memory that a phase carries in is measured as training left it.
    """
    size = pack.specs[0].training.batch_size
    with rounding(pack.specs[0].precision, pack.device):
        return evaluate(
            pack.model,
            pack.hyper,
            examples,
            runs=pack.runs,
            batch_size=min(size, tree.num_examples(pack.state) or size),
            noise_key=seeding.noise_key(pack.seeds, EVALUATION_STEP),
            controls=controls,
            score=pack.task.score,
            watch=watch,
            visit=visit,
            state=pack.state,
        )


def train_epoch(pack: Pack, examples: Examples, epoch: int) -> tuple[Metrics, Log]:
    """Train one epoch of the current phase. Nothing waits for the device inside a step.

    Args:
        pack: of R runs.
        examples: the training split of the phase.
        epoch: number in the phase, from 0.

    Returns:
        Mean metrics over the examples, each (R,), and the means of every step, each (steps, R).
    """
    total: Metrics = {}
    steps: list[Metrics] = []
    state, seen = pack.state if pack.phases[pack.phase].state == "from_previous" else None, 0
    # In a stream the examples of all runs are as long as each other at every step. Elsewhere a batch is not cut to its
    # longest: a run's sums would be grouped according to its company.
    lengths = examples.lengths() if pack.training.order == "stream" else None
    for places in _batches(pack, examples, epoch):
        time = None if lengths is None else int(lengths[places].max())
        part = examples.rows(places.to(examples.targets.device), time)
        part = pack.method.examples(pack, pack.method_state, part)
        sums, state = _step(pack, part, state)
        size = part.targets.shape[1]
        add_sums(total, sums)
        seen += size
        steps.append({name: value / size for name, value in sums.items()})
        _keep_state(pack, state, whole=places.shape[1] == min(pack.training.batch_size, len(examples.targets)))
    means = {name: value / seen for name, value in total.items()}
    return means, {name: torch.stack([step[name] for step in steps]) for name in total}


def _keep_state(pack: Pack, state: Any, *, whole: bool) -> None:
    """Keep the state of the memory for the next epoch or phase, of whole batches alone: it is of all their examples."""
    if pack.keeps_state and whole:
        pack.state = tree.detached(state)


def _batches(pack: Pack, examples: Examples, epoch: int) -> Sequence[Int[Tensor, "runs batch"]]:
    """Which examples each run sees, step by step, in an epoch of the current phase."""
    seeds, training = [spec.seed for spec in pack.specs], pack.training
    if training.order == "shuffled":
        before = sum(phase.training.num_epochs for phase in pack.phases[: pack.phase])
        return seeding.epoch_order(seeds, before + epoch, len(examples.targets)).split(training.batch_size, 1)
    groups = examples.extras.get("group", torch.zeros(len(examples.targets), dtype=torch.int64)).cpu()
    steps = seeding.stream_order(seeds, groups).split(training.batch_size, 1)
    first, last = (place * len(steps) // training.num_epochs for place in (epoch, epoch + 1))
    return steps[first:last]


def _step(pack: Pack, examples: Examples, state: Any) -> tuple[Metrics, Any]:
    """L = L_task + Σ weight · auxiliary + penalty, summed over runs: no run's gradient sees another run.

    A model that carries its state starts from ``state``, and the state that is returned has no gradient.
    """
    pack.optimiser.zero_grad()
    size = examples.targets.shape[1]
    batch = Batch(examples.inputs, seeding.noise_key(pack.seeds, pack.steps), examples.extras)
    with rounding(pack.specs[0].precision, pack.device):
        output = pack.model(batch, pack.hyper, narrowed(state, size))
        found = pack.task.score(output.logits, examples)
        loss = found["loss"].mean(1)
        for term, weight in models.loss_weights(pack.model, pack.hyper).items():
            loss = loss + weight * output.losses[term]
        penalty = pack.method.penalty(pack, pack.method_state)
        if penalty is not None:
            loss = loss + penalty
        loss.sum().backward()
    pack.optimiser.step()
    pack.steps += 1
    sums = batch_sums(output, found)
    sums["objective"] = loss.detach().double() * size
    if penalty is not None:
        sums["penalty"] = penalty.detach().double() * size
    return sums, output.state if carries_state(pack.model) else None


class MatrixRow(NamedTuple):
    """One value of a run's accuracy matrix."""

    trained_phase: str
    """The phase after which it was measured."""
    evaluated_phase: str
    split: str
    metric: str
    value: float


def matrix_rows(pack: Pack, run: int) -> Iterator[MatrixRow]:
    """Yield the accuracy matrix of one run; nothing for a run of one phase."""
    places = {phase.name: place for place, phase in enumerate(pack.phases)}
    for trained, row in zip(pack.phases, pack.matrix, strict=False):
        for evaluated, split, metric in sorted((key.split(".") for key in row), key=lambda key: (places[key[0]], key)):
            value = float(row[f"{evaluated}.{split}.{metric}"][run])
            yield MatrixRow(trained.name, evaluated, split, metric, value)
