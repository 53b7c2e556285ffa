"""Answers that are vectors of bits, a logit a bit: their score, what a trace keeps of them, and how they are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from palimpsest.layers.activation import sigmoid, softplus
from palimpsest.layers.encoding import bit_codes
from palimpsest.tasks import Array, Examples, Metric, Scores
from palimpsest.tasks.shared.scoring import over_asked_steps
from palimpsest.tasks.shared.sequences import StreamConfig

METRIC = Metric("accuracy", "share of bits right")
RECORD = "probability"
"""Field of the trace that :func:`record` fills."""


class BitStreamConfig(StreamConfig):
    """Parameters of a stream whose answers are vectors of bits, written as the numbers that have these bits."""

    def num_answers(self) -> int:
        """Vectors of ``num_outputs`` bits."""
        return 2 ** int(self.interface()["num_outputs"])


def score(logits: Float[Tensor, "runs batch steps bits"], examples: Examples) -> Scores:
    """``loss`` in nats a bit, ``accuracy`` (share of the bits that are right) and ``sequence_accuracy``.

    −log p of a bit b with logit x is softplus(x) − b x.

    Args:
        logits: output i is the logit of bit i, the lowest first.
        examples: their targets are numbers, (R, B, Q), −1 where nothing is asked.
    """
    asked, known = examples.targets >= 0, examples.targets.clamp_min(0)
    bits = (known[..., None] >> torch.arange(logits.shape[-1], device=known.device)) & 1
    cost = softplus(logits) - bits.to(logits.dtype) * logits
    right = ((logits.detach() > 0) == (bits > 0)).to(logits.dtype)
    return over_asked_steps(cost.mean(-1), right.mean(-1), asked)


def record(logits: Float[Tensor, "runs batch steps bits"]) -> dict[str, Tensor]:
    """The probability of each bit."""
    return {RECORD: sigmoid(logits).to(torch.float16)}


def picture(config: Any, tokens: Int[Array, " steps"], targets: Int[Array, " asked"]) -> dict[str, Array]:
    """One example as lines of channels, each (steps, channels).

    Args:
        config: the task's parameters.
        tokens: of the example.
        targets: the right answers at the asked steps.

    Returns:
        ``input``, bits and flags, 0 or 1; ``level`` in [−1, 1], no channels where there are no levels; and ``target``,
        the bits of the right answers.
    """
    interface = config.interface()
    bits, levels = int(interface["code_bits"]), int(interface["code_levels"])
    codes = bit_codes(interface["num_tokens"], bits, levels).numpy()[tokens]
    level = slice(bits, bits + bool(levels))
    return {
        "level": codes[:, level],
        "input": np.delete(codes, level, axis=1),
        "target": (targets[:, None] >> np.arange(interface["num_outputs"])) & 1,
    }
