"""What a memory with a lifecycle records of a forward pass, and what the training log takes from it.

Axes: R runs, B batch, T memory steps, N slots.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from palimpsest.foundation.series import slope_of_second_half
from palimpsest.memory import logged
from palimpsest.memory.lifecycle import FORGOTTEN, REPLACED, UPDATED, LifecycleState, counted

PerStep = Float[Tensor, "runs batch time"]
DRIFTS = {"utilisation": "utilisation_slope_training", "age_steps": "age_slope_training"}
"""Of a memory that outlives the batch: logged means whose slope over an epoch is reported, and the slope's name."""
RANGES = {
    "write_gate": (0, 1),
    "write_ratio": (0, 1),
    "utilisation": (0, 1),
    "utilisation_slope": (None, None),
    "age_steps": (0, None),
    "over_budget": (0, 1),
    "update_rate": (0, 1),
    "forget_rate": (0, 1),
    "operations_per_step": (0, None),
}


class LifecycleRecord(NamedTuple):
    """What happened in each memory step, and how the memory stands after the last."""

    write_gate: PerStep
    """Write score, in [0, 1]."""
    writes: PerStep
    """0 or 1: whether something was written."""
    operations: Int[Tensor, "runs batch time slots"]
    """What happened to each slot, as :mod:`palimpsest.memory.lifecycle` numbers it."""
    utilisation: PerStep
    """Share of slots that hold something after each step."""
    age_steps: PerStep
    """Mean age, in steps, of the slots that hold something and were not just written."""
    over_budget: PerStep
    """0 or 1: whether a step executed more operations than its budget."""
    slot_time: Int[Tensor, "runs batch slots"]
    """The step of the sequence that each slot holds, −1 where it holds none."""
    alive: Float[Tensor, "runs batch slots"]
    """0 or 1: whether a slot holds something."""
    read_weights: Float[Tensor, "runs batch slots"] | None
    """``None`` where nothing was asked; else how much of each slot the answer read."""
    state: LifecycleState
    """After the last step."""


def log(record: LifecycleRecord, answers: Int[Tensor, "runs batch"] | None, tokens: int) -> logged.Log:
    """Means for the training log.

    ``write_gate``, ``write_ratio``, ``utilisation``, ``age_steps``, ``over_budget``: means over steps;
    ``update_rate`` and ``forget_rate``: operations per slot and step; ``operations_per_step``;
    ``utilisation_slope`` and ``age_slope``: over the second half of a sequence, if it is long enough;
    ``answer_written`` and ``answer_kept``: shares of examples, where the task knows which token matters.

    Args:
        record: of a forward pass.
        answers: token that matters, −1 for none; ``None`` where the task does not know.
        tokens: of a sequence.
    """
    written, happened = logged.is_written(record.writes), record.operations
    updates, forgets = happened == UPDATED, (happened == FORGOTTEN) | (happened == REPLACED)
    means = {
        "write_gate": logged.mean(record.write_gate),
        "write_ratio": logged.mean(written),
        "utilisation": logged.mean(record.utilisation),
        "age_steps": logged.mean(record.age_steps),
        "over_budget": logged.mean(record.over_budget),
        "update_rate": updates.double().mean((1, 2, 3)),
        "forget_rate": forgets.double().mean((1, 2, 3)),
        "operations_per_step": logged.mean(counted(happened)),
    }
    if answers is not None:
        means["answer_written"] = logged.answer_written(answers, written, tokens)
        means["answer_kept"] = logged.answer_kept(answers, written, tokens, record.slot_time, record.alive)
    if record.utilisation.shape[-1] >= logged.SHORTEST_FOR_SLOPE:
        for name, values in (("utilisation_slope", record.utilisation), ("age_slope", record.age_steps)):
            means[name] = slope_of_second_half(values.double()).mean(1)
    return means
