"""What every kind of score is built from: a cost and a share that is right at each step, and means over asked steps."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from palimpsest.tasks import Scores

RANGES = {"loss": (0, None), "accuracy": (0, 1), "sequence_accuracy": (0, 1)}


def over_asked_steps(
    cost: Float[Tensor, "runs batch steps"],
    right: Float[Tensor, "runs batch steps"],
    asked: Bool[Tensor, "runs batch steps"],
) -> Scores:
    """Scores of examples from what each step costs and how much of it is right.

    Returns:
        ``loss`` and ``accuracy``, means over the asked steps of an example (0 where nothing is asked), and
        ``sequence_accuracy``, 1 where all of it is right.

    Args:
        cost: of each step, in nats; has the gradient.
        right: share of each step that is right, in [0, 1].
        asked: whether the step counts.
    """
    count = asked.sum(-1, keepdim=True).clamp_min(1)
    share = asked.to(cost.dtype) / count
    return {
        "loss": (cost * share).sum(-1),
        "accuracy": (right * asked).sum(-1) / count.squeeze(-1),  # divided last, so that it is never above 1
        "sequence_accuracy": ((right == 1) | ~asked).all(-1).to(cost.dtype),
    }


def cross_entropy(logits: Float[Tensor, "*shape classes"], targets: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """−log of the probability of the target, in nats."""
    flat = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="none")
    return flat.view(targets.shape)
