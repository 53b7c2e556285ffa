"""Means of what memories do, as the training log has them: over examples and times, float64.

Times are tokens where every token may be written, and memory steps where the memory takes a step a chunk.
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Log = dict[str, Float[Tensor, " runs"]]
"""Means over the examples of a batch, by name, float64."""
SHORTEST_FOR_SLOPE = 8
"""Memory steps from which on the slope over the second half of a sequence is logged."""
RANGES = {"answer_written": (0, 1), "answer_kept": (0, 1)}


def mean(values: Shaped[Tensor, "runs batch time"]) -> Float[Tensor, " runs"]:
    """Mean over examples and times."""
    return values.double().mean((1, 2))


def is_written(writes: Float[Tensor, "runs batch time"]) -> Bool[Tensor, "runs batch time"]:
    """Whether something was written at each time; a straight-through 1 may be off by one rounding."""
    return writes > 0.5


def answer_time(
    answers: Int[Tensor, "runs batch"], written: Bool[Tensor, "runs batch time"], tokens: int
) -> Int[Tensor, "runs batch"]:
    """The time at which the answer passes, of a sequence of ``tokens``; 0 where there is none (−1)."""
    return answers.clamp_min(0) * written.shape[-1] // tokens


def answer_written(
    answers: Int[Tensor, "runs batch"], written: Bool[Tensor, "runs batch time"], tokens: int
) -> Float[Tensor, " runs"]:
    """Share of examples whose answer was written when it passed; an example without an answer counts as not."""
    step = answer_time(answers, written, tokens)
    return (written.gather(2, step[..., None]).squeeze(2) & (answers >= 0)).double().mean(1)


def answer_kept(
    answers: Int[Tensor, "runs batch"],
    written: Bool[Tensor, "runs batch time"],
    tokens: int,
    slot_time: Int[Tensor, "runs batch slots"],
    alive: Float[Tensor, "runs batch slots"],
) -> Float[Tensor, " runs"]:
    """Share of examples whose answer is in memory at the end."""
    step = answer_time(answers, written, tokens)
    holds = ((slot_time == step[..., None]) & (alive > 0.5)).any(-1)
    return (holds & (answers >= 0)).double().mean(1)
