"""Scores and logs of a pack on a split, with the memory on, off, or tampered with.

What is measured of traces is not here but in :mod:`palimpsest.measuring`, so that a new metric trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.foundation.tree import detached, first_examples
from palimpsest.memory.stepwise import Watch
from palimpsest.models import Batch, Control, ModelOutput, carries_state, under_controls
from palimpsest.tasks import Examples, Scores

Metrics = dict[str, Float[Tensor, " runs"]]
Visit = Callable[[Control, Examples, Scores, ModelOutput], None]
"""Called for every batch under every control with the batch's examples, (R, B, …), their scores and the output."""


def batch_sums(output: ModelOutput, scores: Scores) -> Metrics:
    """Sums over one batch, in float64; divided by the number of examples they are the metrics of a split.

    They are the task's scores, ``loss`` (nats) among them, ``loss_<term>`` for every auxiliary term, unweighted, and
    what the memory logs.
    """
    means = {f"loss_{term}": value.detach() for term, value in output.losses.items()} | output.log
    sums = {name: value.double() * output.logits.shape[1] for name, value in means.items()}
    return sums | sums_of(scores)


def sums_of(scores: Scores) -> Metrics:
    """Sums of scores over a batch, in float64."""
    return {name: value.detach().double().sum(1) for name, value in scores.items()}


@torch.no_grad()
def evaluate(
    model: nn.Module,
    hyper: dict[str, Tensor],
    examples: Examples,
    *,
    runs: int,
    batch_size: int,
    noise_key: Tensor,
    controls: Sequence[Control],
    score: Callable[[Tensor, Examples], Scores],
    watch: Watch | None = None,
    visit: Visit | None = None,
    state: Any = None,
) -> dict[Control, Metrics]:
    """Metrics of every run on one split under each control, each (R,), float64; the model is left in training mode.

    Args:
        model: a pack of R runs.
        hyper: hyper-parameters, each (R,).
        examples: the split, on the model's device.
        runs: R.
        batch_size: examples at a time; a shared memory makes results depend on it.
        noise_key: (R,), for controls that draw.
        controls: what is done to the memory.
        score: of the task: (logits, examples) → scores of every example.
        watch: looks at the memory after every step under ``on``; see :class:`palimpsest.models.Batch`.
        visit: sees every output, see :data:`Visit`.
        state: from which a model that carries its state starts, of ``batch_size`` examples; ``None``: empty.
    """
    model.eval()
    total: dict[Control, Metrics] = {control: {} for control in controls}
    states: dict[Control, Any] = dict.fromkeys(controls, state)
    for number, (rows, time) in enumerate(alike(examples, batch_size)):
        part = examples.rows(rows, time)
        extras = {key: value.expand(runs, *value.shape) for key, value in part.extras.items()}
        of_runs = Examples(part.inputs.expand(runs, -1, -1), part.targets.expand(runs, *part.targets.shape), extras)
        batch = Batch(of_runs.inputs, noise_key + number * batch_size, extras, watch=watch)
        for control, output in zip(controls, _outputs(model, batch, hyper, states), strict=True):
            scores = score(output.logits, of_runs)
            add_sums(total[control], batch_sums(output, scores))
            if visit is not None:
                visit(control, of_runs, scores, output)
    model.train()
    return {control: {k: v / len(examples.targets) for k, v in sums.items()} for control, sums in total.items()}


def alike(examples: Examples, batch_size: int) -> Iterator[tuple[Tensor | slice, int | None]]:
    """Rows of batches, in order; of examples that differ in length, those of one length, and it, after another's."""
    lengths = examples.lengths()
    if lengths is None:
        yield from ((slice(start, start + batch_size), None) for start in range(0, len(examples.targets), batch_size))
        return
    for length in lengths.unique().tolist():
        rows = torch.nonzero(lengths == length).flatten().to(examples.targets.device)
        yield from ((part, length) for part in rows.split(batch_size))


def _outputs(model: nn.Module, batch: Batch, hyper: dict[str, Tensor], states: dict[Control, Any]) -> list[ModelOutput]:
    """Outputs of a model under each control; one that carries its state has one for each, which is replaced."""
    size = batch.inputs.shape[1]
    outputs = under_controls(model, batch, hyper, {control: narrowed(state, size) for control, state in states.items()})
    if carries_state(model):
        states.update({control: output.state for control, output in zip(states, outputs, strict=True)})
    return outputs


def narrowed(state: Any, size: int) -> Any:
    """Return a carried state without gradients, cut to a batch of ``size`` examples, at most as many as before.

    Args:
        state: any tree of tensors (R, B, …) and plain values, or ``None``.
        size: examples of the batch.
    """
    return first_examples(detached(state), size)


def add_sums(total: Metrics, sums: Metrics) -> None:
    """Add the sums of a batch to those of the batches before."""
    for name, value in sums.items():
        total[name] = total[name] + value if name in total else value
