"""Reading from a bank of slots: softmax over cosines or dot products, and a sigmoid read that is not renormalised."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from palimpsest.layers.activation import exponential, sigmoid
from palimpsest.layers.linear import Linear
from palimpsest.layers.product import product


class Read(NamedTuple):
    """What was read; axes R runs, B batch, Q queries, N slots, D features."""

    vector: Float[Tensor, "runs batch queries dim"]
    weights: Float[Tensor, "runs batch queries slots"]


def cosine_similarity(
    query: Float[Tensor, "runs batch queries dim"], slots: Float[Tensor, "runs batch slots dim"]
) -> Float[Tensor, "runs batch queries slots"]:
    """cos(q, m_i), 0 for a zero vector: norms below 10⁻¹² count as 10⁻¹², so that its gradient is finite."""
    return product(F.normalize(query, dim=-1), F.normalize(slots, dim=-1).transpose(-1, -2))


def topk_cosine_read(
    query: Float[Tensor, "runs batch queries dim"],
    slots: Float[Tensor, "runs batch slots dim"],
    weight: Float[Tensor, "runs batch slots"],
    top_k: int,
) -> Read:
    """R = Σ_{i ∈ top-k} softmax_i(cos(q, m_i)) m_i over the slots that hold something; 0 if none does.

    [source 000: "top-k cosine, softmax, added to CLS"; k and the temperature 1: the authors' code.]

    Args:
        query: q.
        slots: m.
        weight: 1 where a slot holds something.
        top_k: slots that are read at most.
    """
    alive = (weight.detach() > 0.5)[:, :, None]
    similarity = cosine_similarity(query, slots).masked_fill(~alive, -math.inf)
    if top_k < similarity.shape[-1]:
        least = similarity.topk(top_k).values[..., -1:]
        similarity = similarity.masked_fill(similarity < least, -math.inf)
    weights = _softmax(similarity)
    return Read(product(weights, slots), weights)


def dot_product_read(
    query: Float[Tensor, "runs batch queries dim"],
    slots: Float[Tensor, "runs batch slots dim"],
    weight: Float[Tensor, "runs batch slots"],
) -> Read:
    """R = Σ_i softmax_i(qᵀm_i) m_i over the slots that hold something; 0 if none does.

    [source 001: attention over active slots; neither scaled nor projected: the authors' code.]

    Args:
        query: q.
        slots: m.
        weight: 1 where a slot holds something.
    """
    weights = _dot_product_weights(query, slots, weight)
    return Read(product(weights, slots), weights)


def _dot_product_weights(query: Tensor, slots: Tensor, weight: Tensor) -> Tensor:
    alive = (weight.detach() > 0.5)[:, :, None]
    return _softmax(product(query, slots.transpose(-1, -2)).masked_fill(~alive, -math.inf))


def _softmax(similarity: Tensor) -> Tensor:
    """The softmax over slots; an empty memory has none, and reads 0."""
    return similarity.softmax(-1).nan_to_num(0.0)


class _Reader(nn.Module):
    """r = Σ_i w_i v(m_i), where subclasses define the query q(c), the value v(m) and, by ``address``, the weights w."""

    query: Callable[[Tensor], Tensor]
    value: Callable[[Tensor], Tensor]

    def forward(
        self,
        query: Float[Tensor, "runs batch queries dim"],
        slots: Float[Tensor, "runs batch slots dim"],
        weight: Float[Tensor, "runs batch slots"],
        *ages: Float[Tensor, "runs batch slots"],
    ) -> Read:
        """Read with ``query``; a slot of weight 0 contributes nothing but may pass its weight's gradient on.

        Args:
            query: c.
            slots: m.
            weight: a, 0 or 1.
            ages: of each slot, in whatever unit, for a read that looks at them.
        """
        weights = self.address(self.query(query), slots, weight, *ages)
        return Read(product(weights, self.value(slots)), weights)

    def address(self, projected: Tensor, slots: Tensor, weight: Tensor, *ages: Tensor) -> Tensor:
        """How much of each slot is read, given q(c)."""
        raise NotImplementedError


class _ProjectedRead(_Reader):
    """q = W_q c, k_i = W_k m_i, v_i = W_v m_i: scores qᵀk_i/√D + b, from which subclasses compute the weights.

    Args:
        runs: size R of the pack.
        dim: features D.
        bias: initial b: negative, so that nothing is read before something is worth reading.
    """

    def __init__(self, runs: int, dim: int, bias: float = -2.0) -> None:
        super().__init__()
        self.query = Linear(runs, dim, dim)
        self.key = Linear(runs, dim, dim)
        self.value = Linear(runs, dim, dim)
        self.bias = bias
        self.offset = nn.Parameter(torch.empty(runs, 1))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """B as given; the projections draw for themselves."""
        del generators
        self.offset.fill_(self.bias)

    def score(self, projected: Tensor, slots: Tensor) -> Float[Tensor, "runs batch queries slots"]:
        """Scores of the slots, given W_q c."""
        score = product(projected, self.key(slots).transpose(-1, -2)) / math.sqrt(slots.shape[-1])
        return score + self.offset[:, :, None, None]


class DotProductRead(_Reader):
    """:func:`dot_product_read` as a reader: it projects nothing, and ages do not count."""

    def query(self, context: Tensor) -> Tensor:
        """The context itself."""
        return context

    def value(self, slots: Tensor) -> Tensor:
        """The slots themselves."""
        return slots

    def address(self, projected: Tensor, slots: Tensor, weight: Tensor, *ages: Tensor) -> Tensor:
        """How much of each slot is read."""
        del ages
        return _dot_product_weights(projected, slots, weight)


class SigmoidRead(_ProjectedRead):
    """r = Σ_i a_i σ(qᵀk_i/√D + b) v_i, with a_i the weight of a slot.

    The weights do not sum to one, and so slots do not compete: a further vector in memory changes nothing unless it is
    addressed. Inside a normalised read every vector takes weight from the others, which drives a straight-through
    gate open for every token.
    """

    def address(
        self,
        projected: Float[Tensor, "runs batch queries dim"],
        slots: Float[Tensor, "runs batch slots dim"],
        weight: Float[Tensor, "runs batch slots"],
        *ages: Float[Tensor, "runs batch slots"],
    ) -> Float[Tensor, "runs batch queries slots"]:
        """How much of each slot is read, given W_q c; ages do not count."""
        del ages
        return sigmoid(self.score(projected, slots)) * weight[:, :, None]


LARGEST_EXPONENT = 30.0
"""What the score of a slot that holds nothing exceeds the others' by at most: its gradient stays finite. In half
precision it is less, so that e to this power is finite."""


class AttentionRead(_ProjectedRead):
    """r = Σ_i w_i v_i with w_i = a_i e^{s_i} / (1 + Σ_j a_j e^{s_j}) and s_i = qᵀk_i/√D − α·age_i + b.

    a_i is the weight of a slot. Slots compete, and the younger of two that are addressed alike may win, so that a
    memory that holds two versions of a fact can read the later one. The 1 is what is read from no slot: an
    empty memory reads 0, and one without anything to the point reads little.

    Args:
        runs: size R of the pack.
        dim: features D.
        bias: initial b: negative, so that nothing is read before something is worth reading.
        decay: initial α, for an age of one unit.
    """

    def __init__(self, runs: int, dim: int, bias: float = -2.0, decay: float = 1.0) -> None:
        super().__init__(runs, dim, bias)
        self.decay = decay
        self.forgetting = nn.Parameter(torch.empty(runs, 1))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """B and α as given; the projections draw for themselves."""
        super().reset_parameters(generators)
        self.forgetting.fill_(self.decay)

    def address(  # pyright: ignore[reportIncompatibleMethodOverride]  # only some reads look at ages
        self,
        projected: Float[Tensor, "runs batch queries dim"],
        slots: Float[Tensor, "runs batch slots dim"],
        weight: Float[Tensor, "runs batch slots"],
        age: Float[Tensor, "runs batch slots"],
    ) -> Float[Tensor, "runs batch queries slots"]:
        """How much of each slot is read, given W_q c."""
        score = self.score(projected, slots) - self.forgetting[:, :, None, None] * age[:, :, None]
        # Nothing overflows, and the quotient stays what it is: the largest among the slots that hold something.
        alive = weight.detach()[:, :, None] > 0.5
        largest = score.detach().masked_fill(~alive, 0.0).amax(-1, keepdim=True).clamp_min(0)
        most = min(LARGEST_EXPONENT, math.log(torch.finfo(score.dtype).max) - 1)
        strength = weight[:, :, None] * exponential((score - largest).clamp_max(most))
        return strength / (exponential(-largest) + strength.sum(-1, keepdim=True))
