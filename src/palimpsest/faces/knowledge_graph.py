"""A model of knowledge graphs as a plain PyTorch module: entities and relations in, a score of every entity out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.sizes import at_least_one
from palimpsest.models import Batch, knowledge_graph_memory


@runtime_checkable
class HasEdges(Protocol):
    """A directed multigraph of NetworkX, whose nodes are entities and whose edges have their relation as a key."""

    def edges(self, *, keys: bool) -> Iterable[tuple[int, int, int]]:
        """Yield (head, tail, relation)."""
        ...


class KnowledgeGraphModel(nn.Module):
    """A memory with a slot for each entity that answers which entity a relation leads to.

    Reciprocal relations are built in: ``relation + num_relations`` leads the other way. Experiments use
    :mod:`palimpsest.models.knowledge_graph_memory`, which this module wraps; ``torch.manual_seed`` sets the drawn
    parameters.

    Args:
        num_entities: E.
        num_relations: without the reciprocal ones.
        embedding_dim: features of a slot, half of them the key and half the value.
        num_read_heads: H, a divisor of half of them.

    Raises:
        ParameterError: a size is below one, or ``num_read_heads`` does not divide half of ``embedding_dim``.
    """

    def __init__(
        self, num_entities: int, num_relations: int, embedding_dim: int = 64, *, num_read_heads: int = 8
    ) -> None:
        super().__init__()
        at_least_one(num_entities=num_entities, num_relations=num_relations, num_read_heads=num_read_heads)
        if embedding_dim < 2 or embedding_dim % (2 * num_read_heads):
            raise ParameterError(
                f"embedding_dim: {embedding_dim}; allowed: a multiple of {2 * num_read_heads}, twice num_read_heads"
            )
        self.num_entities, self.num_relations = num_entities, num_relations
        config = knowledge_graph_memory.Config.model_validate(
            {
                "num_tokens": num_entities + 2 * num_relations,
                "num_outputs": num_entities,
                "sequence_length": 2,
                "asked": (1,),
                "width": embedding_dim,
                "num_read_heads": num_read_heads,
            }
        )
        self.model = knowledge_graph_memory.Model(config, 1)
        reset_parameters(self.model, [Generator().manual_seed(int(torch.randint(2**62, ())))])

    def forward(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return a logit for every entity as the answer, (batch, entities).

        Args:
            head: (batch,), int64: the entity of each query.
            relation: (batch,), int64, below twice ``num_relations``.

        Raises:
            ParameterError: an argument has another shape or type, or a number is too large.
        """
        self._check("head", head, self.num_entities)
        self._check("relation", relation, 2 * self.num_relations)
        if head.shape != relation.shape:
            raise ParameterError(f"relation: shape {tuple(relation.shape)}; allowed: {tuple(head.shape)}, as head")
        tokens = torch.stack([head, relation + self.num_entities], 1)[None]
        return self.model(Batch(tokens, torch.zeros(1, dtype=torch.int64), {}), {}).logits[0, :, 0]

    def queries(self, graph: HasEdges) -> tuple[Tensor, Tensor, Tensor]:
        """Return heads, relations and answers of a graph, each (2 · edges,): every edge, and then every edge reversed.

        Raises:
            ParameterError: the graph has no edges, or numbers that this module does not have.
        """
        edges = torch.tensor([tuple(edge) for edge in graph.edges(keys=True)], dtype=torch.int64)
        if not len(edges):
            raise ParameterError("graph: no edges; allowed: one or more")
        head, tail, relation = edges.unbind(1)
        for name, part, size in (
            ("head", head, self.num_entities),
            ("tail", tail, self.num_entities),
            ("relation", relation, self.num_relations),
        ):
            self._check(name, part, size)
        return torch.cat([head, tail]), torch.cat([relation, relation + self.num_relations]), torch.cat([tail, head])

    @staticmethod
    def _check(name: str, value: Tensor, below: int) -> None:
        if value.dim() != 1 or value.dtype != torch.int64:
            raise ParameterError(f"{name}: {value.dtype} of shape {tuple(value.shape)}; allowed: torch.int64, (batch,)")
        if value.numel() and (int(value.min()) < 0 or int(value.max()) >= below):
            wrong = int(value.min()) if int(value.min()) < 0 else int(value.max())
            raise ParameterError(f"{name}: {wrong}; allowed: 0 to {below - 1}")

    def extra_repr(self) -> str:
        """Return the numbers of entities and relations."""
        return f"num_entities={self.num_entities}, num_relations={self.num_relations}"
