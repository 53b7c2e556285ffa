"""Answers that are vectors of bits, a logit a bit: score, informed guess, what a trace keeps, how they are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
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

    def scored_parts(self) -> int:
        """Every bit of a vector."""
        return int(self.interface()["num_outputs"])

    def share_right(self, guess: Int[Tensor, "*shape"], targets: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Share of the bits of each answer that are right."""
        differing = (guess ^ targets).to(torch.int16)  # small, as there may be millions
        wrong = torch.zeros_like(differing)
        for bit in range(self.scored_parts()):
            wrong += (differing >> bit) & 1
        return 1 - wrong.float() / self.scored_parts()


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


def majority(
    vectors: Int[Tensor, "examples steps"], shown: Bool[Tensor, "examples steps"], bits: int
) -> Int[Tensor, "examples 1"]:
    """The vector of each example whose bits are those of most of its vectors; a bit that half of them have is 0.

    Where each of n vectors of fair bits is as likely to be asked, a bit is right with probability
    1/2 + E|B − n/2| / n, B binomial (n, 1/2). Without knowing which vector is asked, nothing is right more often.

    Args:
        vectors: as numbers; bits above the lowest ``bits`` do not count.
        shown: which of them count.
        bits: bits of a vector.
    """
    count, guess = shown.sum(1, keepdim=True), vectors.new_zeros(len(vectors), 1)
    counted = (vectors & (2**bits - 1)).where(shown, 0).to(torch.int16)  # small, as there may be millions
    for bit in range(bits):
        ones = ((counted >> bit) & 1).sum(1, keepdim=True)
        guess += (2 * ones > count).long() << bit
    return guess


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
