"""What models of knowledge graphs have in common: an entity and a relation ask, and all entities are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Generator, Tensor, nn

from palimpsest.layers.embedding import Embedding
from palimpsest.layers.encoding import SequenceConfig
from palimpsest.layers.product import product
from palimpsest.memory.control import Control
from palimpsest.models import Batch, ModelOutput

Features = Float[Tensor, "runs batch steps width"]
Table = Float[Tensor, "runs entities width"]


class TripleConfig(SequenceConfig):
    """Sizes of a model of a knowledge graph."""

    width: int = Field(64, ge=1, description="features of an entity or a relation, real numbers")
    init_scale: float = Field(0.1, gt=0, description="standard deviation of the features as they are drawn")


class EvenTripleConfig(TripleConfig):
    """Sizes of a model whose features have two halves."""

    width: int = Field(64, ge=2, multiple_of=2, description="features of an entity or a relation; both halves together")


class LastToken(NamedTuple):
    """What is carried from one part of a sequence to the next."""

    token: Int[Tensor, "runs batch"]
    """The last token, −1 before the first."""


class TokenTable(Embedding):
    """A table whose entries are drawn from N(0, scale²)."""

    def __init__(self, runs: int, num_embeddings: int, dim: int, scale: float) -> None:
        super().__init__(runs, num_embeddings, dim)
        self.scale = scale

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's table with that run's own generator."""
        super().reset_parameters(generators)
        self.weight.mul_(self.scale)


class TripleModel(nn.Module):
    """Scores every entity as the answer to the token before and the present one; subclasses define the score.

    At each asked step the token before is the head, or zeros where there is none, and the present token the relation.
    A table has the features of all tokens, the first of which are the answers. Without a memory, the model is the same
    under every control.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: TripleConfig, runs: int) -> None:
        super().__init__()
        self.config = config
        self.table = TokenTable(runs, max(config.num_tokens, config.num_outputs), config.width, config.init_scale)

    def scores(self, head: Features, relation: Features, entities: Table) -> Float[Tensor, "runs batch steps entities"]:
        """Logit of every entity."""
        raise NotImplementedError(f"{type(self).__module__}: a model of triples defines scores()")

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: LastToken | None = None) -> ModelOutput:
        """Logits (R, B, Q, E) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: after the tokens before; ``None``: at the beginning.
        """
        del hyper
        head, relation, entities = self.features(batch, state)
        return ModelOutput(self.scores(head, relation, entities), {}, None, LastToken(batch.inputs[..., -1]))

    def features(
        self, batch: Batch, state: LastToken | None, *, every_step: bool = False
    ) -> tuple[Features, Features, Table]:
        """Features of head and relation at the asked steps, or at every step, and those of all answers."""
        tokens = batch.inputs
        first = torch.full_like(tokens[..., :1], -1) if state is None else state.token[..., None]
        before, now = torch.cat([first, tokens[..., :-1]], -1), tokens
        if not every_step and self.config.asked is not None:
            asked = [question.step for question in self.config.questions(batch.start, tokens.shape[-1])]
            before, now = before[..., asked], now[..., asked]
        exists = (before >= 0).to(self.table.weight.dtype)[..., None]
        head = self.table(before.clamp_min(0)) * exists
        return head, self.table(now), self.table.weight[:, : self.config.num_outputs]

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """There is no memory to do anything to: the same output under every control."""
        return [self(batch, hyper)] * len(states)


def dot_products(query: Features, entities: Table) -> Float[Tensor, "runs batch steps entities"]:
    """⟨q, e⟩ of every query and every entity."""
    return product(query.flatten(1, 2), entities.transpose(1, 2)).unflatten(1, query.shape[1:3])


def rotated(x: Float[Tensor, "*shape width"], y: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape width"]:
    """Product of complex numbers: real parts are the first half of the features, imaginary parts the second."""
    (a, b), (c, d) = x.chunk(2, -1), y.chunk(2, -1)
    return torch.cat([a * c - b * d, a * d + b * c], -1)
