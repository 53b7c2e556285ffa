"""Metrics of a pack on a split, with the memory on, off, or tampered with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from palimpsest.foundation.tree import detached, first_examples
from palimpsest.memory.lifecycle import FORGOTTEN, REPLACED, UPDATED, counted
from palimpsest.memory.trace import MemoryTrace
from palimpsest.models import Batch, Control, ModelOutput, under_controls
from palimpsest.tasks import Examples, Scores

Metrics = dict[str, Float[Tensor, " runs"]]


def batch_sums(output: ModelOutput, batch: Batch, scores: Scores) -> Metrics:
    """Sums over one batch, in float64: dividing them by the number of examples gives the metrics of a split.

    What the task's ``score`` gives, ``loss`` (nats) among it, and
    ``loss_<term>`` for every auxiliary term, unweighted; of models with a memory also what :func:`memory_means` finds
    in their trace.
    """
    means = {f"loss_{term}": value.detach() for term, value in output.losses.items()}
    means |= memory_means(output.trace, batch)
    sums = {name: value.double() * output.logits.shape[1] for name, value in means.items()}
    return sums | sums_of(scores)


def sums_of(scores: Scores) -> Metrics:
    """Sums of scores over a batch, in float64."""
    return {name: value.detach().double().sum(1) for name, value in scores.items()}


def memory_means(trace: MemoryTrace, batch: Batch) -> Metrics:
    """What a memory did, as means over the examples of a batch, float64; time counts tokens or memory steps.

    ``write_ratio`` (share of times at which something was written), ``write_gate`` (mean probability), ``utilisation``
    and ``age_steps`` (means over time); ``update_rate`` and ``forget_rate`` (operations for each slot and time),
    ``operations_per_step``, ``over_budget`` (share of times); ``utilisation_slope`` and ``age_slope``
    (:func:`slope_of_second_half`). Where the task knows which token matters, ``answer_written`` and ``answer_kept``:
    shares of examples in which that token was written, and in which it was in memory at the end. Of a memory that is
    written softly, ``slots_written`` (share of slots, see :func:`slots_written`) and ``read_focus`` (mean of the
    largest weight of a read, 1 where a single slot is read).
    """
    means: Metrics = {}
    if trace.write_weighting is not None:
        means["slots_written"] = slots_written(trace.write_weighting).double().mean((1, 2))
    if trace.read_weighting is not None:
        means["read_focus"] = trace.read_weighting.amax(-1).double().mean((1, 2, 3))
    simple = {
        "write_gate": trace.write_gate,
        "utilisation": trace.utilisation,
        "age_steps": trace.age_steps,
        "over_budget": trace.over_budget,
    }
    means |= {name: value.double().mean((1, 2)) for name, value in simple.items() if value is not None}
    if trace.writes is not None:
        written = trace.writes > 0.5  # a straight-through 1 may be off by one rounding
        means["write_ratio"] = written.double().mean((1, 2))
        if "answer_position" in batch.extras:
            means |= _of_answer(trace, written, batch)
    if trace.operations is not None:
        happened = trace.operations
        updates, forgets = happened == UPDATED, (happened == FORGOTTEN) | (happened == REPLACED)
        means["update_rate"], means["forget_rate"] = (part.double().mean((1, 2, 3)) for part in (updates, forgets))
        means["operations_per_step"] = counted(happened).double().mean((1, 2))
    for name, value in (("utilisation_slope", trace.utilisation), ("age_slope", trace.age_steps)):
        if value is not None and value.shape[-1] >= SHORTEST_FOR_SLOPE:
            means[name] = slope_of_second_half(value.double()).mean(1)
    return means


def slots_written(weights: Float[Tensor, "runs batch time heads slots"]) -> Bool[Tensor, "runs batch slots"]:
    """Which slots have been written more likely than not: 1 − Π (1 − w) > ½ over times and heads.

    That is the usage of slots that are never freed [Graves et al. 2016, Methods].
    """
    return (1 - weights.double()).flatten(2, 3).prod(2) < 0.5


SHORTEST_FOR_SLOPE = 8
"""Memory steps from which on a sequence has a second half whose slope says anything."""


def _of_answer(trace: MemoryTrace, written: Tensor, batch: Batch) -> Metrics:
    """Whether the time at which the answer came by was written, and is in memory at the end."""
    answer = batch.extras["answer_position"].expand(written.shape[:2])
    step = answer.clamp_min(0) * written.shape[-1] // batch.inputs.shape[-1]
    there = answer >= 0
    means = {"answer_written": (written.gather(2, step[..., None]).squeeze(2) & there).double().mean(1)}
    if trace.slot_time is not None and trace.alive is not None:
        holds = ((trace.slot_time == step[..., None]) & (trace.alive > 0.5)).any(-1)
        means["answer_kept"] = (holds & there).double().mean(1)
    return means


def slope_of_second_half(values: Float[Tensor, "*shape time"]) -> Float[Tensor, "*shape"]:
    """Slope of the least-squares line through the second half of a series, in units of the series a step of time.

    0 where that half is a single point.
    """
    half = values[..., values.shape[-1] // 2 :]
    time = torch.arange(half.shape[-1], dtype=half.dtype, device=half.device)
    time = time - time.mean()
    return (half * time).sum(-1) / time.square().sum().clamp_min(0.5)  # of two points it is 0.5, of one 0


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
    by_slice: bool = False,
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
        by_slice: where the examples differ in difficulty, give each score of every difficulty alone, too:
            ``accuracy_at_20`` is the accuracy on examples whose ``slice`` is 20.
    """
    model.eval()
    total: dict[Control, Metrics] = {control: {} for control in controls}
    states: dict[Control, Any] = dict.fromkeys(controls)
    kinds = examples.extras["slice"].unique().tolist() if by_slice and "slice" in examples.extras else []
    for number, (rows, time) in enumerate(alike(examples, batch_size)):
        part = examples.rows(rows, time)
        extras = {key: value.expand(runs, *value.shape) for key, value in part.extras.items()}
        of_runs = Examples(part.inputs.expand(runs, -1, -1), part.targets.expand(runs, *part.targets.shape), extras)
        batch = Batch(of_runs.inputs, noise_key + number * batch_size, extras)
        for control, output in zip(controls, _outputs(model, batch, hyper, states), strict=True):
            scores = score(output.logits, of_runs)
            add_sums(total[control], batch_sums(output, batch, scores))
            for kind in kinds:
                of_kind = (part.extras["slice"] == kind).to(part.targets.device)
                add_sums(total[control], sums_of({f"{k}_at_{kind}": v * of_kind for k, v in scores.items()}))
    model.train()
    return {control: _means(sums, examples) for control, sums in total.items()}


def alike(examples: Examples, batch_size: int) -> Iterator[tuple[Tensor | slice, int | None]]:
    """Rows of batches, in order; of examples that differ in length, those of one length, and it, after another's."""
    lengths = examples.lengths()
    if lengths is None:
        yield from ((slice(start, start + batch_size), None) for start in range(0, len(examples.targets), batch_size))
        return
    for length in lengths.unique().tolist():
        rows = torch.nonzero(lengths == length).flatten().to(examples.targets.device)
        yield from ((part, length) for part in rows.split(batch_size))


def _means(sums: Metrics, examples: Examples) -> Metrics:
    """Sums divided by how many examples they are of."""
    count = dict.fromkeys(sums, len(examples.targets))
    for name in sums:
        kind = name.rpartition("_at_")[2]
        if kind != name:
            count[name] = int((examples.extras["slice"] == int(kind)).sum())
    return {name: value / count[name] for name, value in sums.items()}


def _outputs(model: nn.Module, batch: Batch, hyper: dict[str, Tensor], states: dict[Control, Any]) -> list[ModelOutput]:
    """What a model says under each control; one that carries its state has one for each, which is replaced."""
    size = batch.inputs.shape[1]
    outputs = under_controls(model, batch, hyper, {control: narrowed(state, size) for control, state in states.items()})
    if carries_state(model):
        states.update({control: output.state for control, output in zip(states, outputs, strict=True)})
    return outputs


def carries_state(model: nn.Module) -> bool:
    """Whether a model's memory outlives a batch, so that the next one starts from the state that it hands on."""
    return bool(getattr(model, "carries_state", False))


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
