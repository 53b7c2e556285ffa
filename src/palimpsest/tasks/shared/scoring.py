"""What is right and what it costs: one class an example, or classes or bits at every step of a sequence."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from palimpsest.layers.activation import softplus
from palimpsest.tasks import Scored

Scores = dict[str, Float[Tensor, "runs batch"]]


def scores(
    logits: Float[Tensor, "runs batch *said"], targets: Int[Tensor, "runs batch *time"], scored: Scored
) -> Scores:
    """What each example is given: ``loss``, and in a dictionary with it ``accuracy``; of sequences more.

    ``loss`` is a cross-entropy in nats and has the gradient; ``accuracy`` lies in [0, 1]. Of sequences both are means
    over what is scored, the steps whose target is not negative: over their bits if ``scored`` is ``bits``. There,
    ``sequence_accuracy`` says whether all of it was right.

    Args:
        logits: (R, B, C) for ``class``, (R, B, T, C) for ``classes``, (R, B, T, bits) for ``bits``.
        targets: classes, (R, B) or (R, B, T); for ``bits`` the number whose bit i output i has to say.
        scored: what the task asks for.
    """
    if scored == "class":
        right = (logits.detach().argmax(-1) == targets).to(logits.dtype)
        return {"loss": cross_entropy(logits, targets), "accuracy": right}
    asked = targets >= 0
    known = targets.clamp_min(0)
    cost, right = _of_bits(logits, known) if scored == "bits" else _of_classes(logits, known)
    count = asked.sum(-1, keepdim=True).clamp_min(1)
    share = asked.to(logits.dtype) / count
    return {
        "loss": (cost * share).sum(-1),
        "accuracy": (right * asked).sum(-1) / count.squeeze(-1),  # divided last, so that it is never above 1
        "sequence_accuracy": ((right == 1) | ~asked).all(-1).to(logits.dtype),
    }


def task_loss(logits: Tensor, targets: Tensor, scored: Scored = "class") -> Float[Tensor, " runs"]:
    """Mean loss of each run, in nats; arguments as of :func:`scores`."""
    return scores(logits, targets, scored)["loss"].mean(1)


def cross_entropy(logits: Float[Tensor, "*shape classes"], targets: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """−log of the probability of the target, in nats."""
    flat = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="none")
    return flat.view(targets.shape)


def _of_classes(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return cross_entropy(logits, targets), (logits.detach().argmax(-1) == targets).to(logits.dtype)


def _of_bits(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the bits of a step: −log p of each is softplus(x) − b x for a bit b and its logit x."""
    bits = (targets[..., None] >> torch.arange(logits.shape[-1], device=targets.device)) & 1
    cost = softplus(logits) - bits.to(logits.dtype) * logits
    right = ((logits.detach() > 0) == (bits > 0)).to(logits.dtype)
    return cost.mean(-1), right.mean(-1)
