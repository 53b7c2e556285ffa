"""Metrics of a pack on a split, with the memory on, off, or tampered with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.models import Batch, Control, ModelOutput, under_controls
from palimpsest.tasks import Examples

Metrics = dict[str, Float[Tensor, " runs"]]


def task_loss(logits: Float[Tensor, "runs batch classes"], targets: Tensor) -> Float[Tensor, " runs"]:
    """Mean cross-entropy of each run, in nats."""
    runs, batch, classes = logits.shape
    return F.cross_entropy(logits.reshape(-1, classes), targets.reshape(-1), reduction="none").view(runs, batch).mean(1)


def batch_sums(output: ModelOutput, targets: Tensor, extras: Mapping[str, Tensor]) -> Metrics:
    """Sums over one batch, in float64: dividing them by the number of examples gives the metrics of a split.

    ``loss`` (nats) and ``accuracy``; of models that write also ``write_ratio`` (tokens written over all tokens),
    ``write_gate`` (mean probability) and, where the task knows which token matters, ``answer_written`` (examples of
    which that token was written).
    """
    logits, trace = output.logits.detach(), output.trace
    batch = logits.shape[1]
    sums = {
        "loss": task_loss(logits, targets).double() * batch,
        "accuracy": (logits.argmax(-1) == targets).sum(1).double(),
    }
    if trace.writes is not None:
        written = trace.writes > 0.5  # a straight-through 1 may be off by one rounding
        sums["write_ratio"] = written.double().mean(2).sum(1)
        if "answer_position" in extras:
            answer = extras["answer_position"].expand(written.shape[:2])[..., None]
            sums["answer_written"] = written.gather(2, answer).double().sum((1, 2))
    if trace.write_gate is not None:
        sums["write_gate"] = trace.write_gate.double().mean(2).sum(1)
    return sums


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
    """
    model.eval()
    total: dict[Control, Metrics] = {control: {} for control in controls}
    for start in range(0, len(examples.targets), batch_size):
        part = slice(start, start + batch_size)
        targets = examples.targets[part].expand(runs, -1)
        extras = {key: value[part].expand(runs, -1) for key, value in examples.extras.items()}
        batch = Batch(examples.inputs[part].expand(runs, -1, -1), noise_key + start, extras)
        for control, output in zip(controls, under_controls(model, batch, hyper, controls), strict=True):
            add_sums(total[control], batch_sums(output, targets, extras))
    model.train()
    count = len(examples.targets)
    return {control: {name: value / count for name, value in sums.items()} for control, sums in total.items()}


def add_sums(total: Metrics, sums: Metrics) -> None:
    """Add the sums of a batch to those of the batches before."""
    for name, value in sums.items():
        total[name] = total[name] + value if name in total else value
