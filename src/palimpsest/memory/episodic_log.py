"""What an episodic memory records of a forward pass, and what the training log takes from it.

Axes: R runs, B batch, T tokens, N slots.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from palimpsest.memory import logged

RANGES = {"write_gate": (0, 1), "write_ratio": (0, 1)}


class EpisodicRecord(NamedTuple):
    """What was written and read."""

    write_gate: Float[Tensor, "runs batch time"]
    """Probability of a write at each token."""
    writes: Float[Tensor, "runs batch time"]
    """0 or 1: what was written."""
    read_weights: Float[Tensor, "runs batch slots"] | None
    """``None`` where nothing was asked; else how much of each slot was read."""
    slot_time: Int[Tensor, "runs batch slots"]
    """The token that each slot holds, −1 where it holds none."""
    alive: Float[Tensor, "runs batch slots"]
    """0 or 1: whether a slot holds something."""


def log(record: EpisodicRecord, answers: Int[Tensor, "runs batch"] | None, tokens: int) -> logged.Log:
    """Means for the training log: ``write_gate``, ``write_ratio``, and of a known answer whether it was kept.

    Args:
        record: of a forward pass.
        answers: token that matters, −1 for none; ``None`` where the task does not know.
        tokens: of a sequence.
    """
    written = logged.is_written(record.writes)
    means = {"write_gate": logged.mean(record.write_gate), "write_ratio": logged.mean(written)}
    if answers is not None:
        means["answer_written"] = logged.answer_written(answers, written, tokens)
        means["answer_kept"] = logged.answer_kept(answers, written, tokens, record.slot_time, record.alive)
    return means
