"""The plain module of knowledge graphs: it learns a small graph of NetworkX, and refuses what does not fit."""

from __future__ import annotations

import networkx
import pytest
import torch

from palimpsest.faces.knowledge_graph import KnowledgeGraphModel
from palimpsest.foundation.errors import ParameterError


def test_it_learns_a_ring_in_both_directions() -> None:
    ring = networkx.MultiDiGraph()
    for person in range(8):
        ring.add_edge(person, (person + 1) % 8, key=0)
    torch.manual_seed(0)
    model = KnowledgeGraphModel(num_entities=8, num_relations=1, embedding_dim=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    head, relation, tail = model.queries(ring)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(head, relation), tail).backward()
        optimizer.step()
    assert torch.equal(model(head, relation).argmax(1), tail)
    assert torch.equal(tail[8:], (head[8:] - 1) % 8)


def test_torch_manual_seed_sets_the_parameters() -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(KnowledgeGraphModel(5, 2, 16).model.table.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_entities": 0}, "num_entities: 0"),
        ({"embedding_dim": 24}, "embedding_dim: 24; allowed: a multiple of 16"),
        ({"num_read_heads": 0}, "num_read_heads: 0"),
    ],
)
def test_bad_sizes_are_refused_in_one_line(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        KnowledgeGraphModel(**{"num_entities": 5, "num_relations": 2, "embedding_dim": 64, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "relation", "message"),
    [
        ([5], [0], "head: 5; allowed: 0 to 4"),
        ([0], [4], "relation: 4; allowed: 0 to 3"),
        ([0], [-1], "relation: -1"),
        ([0, 1], [0], "relation: shape"),
        ([0.5], [0], "head: torch.float32"),
    ],
)
def test_bad_queries_are_refused_in_one_line(head: list[int], relation: list[int], message: str) -> None:
    model = KnowledgeGraphModel(5, 2, 16)
    with pytest.raises(ParameterError, match=message):
        model(torch.tensor(head), torch.tensor(relation))


def test_a_graph_without_edges_is_refused() -> None:
    with pytest.raises(ParameterError, match="no edges"):
        KnowledgeGraphModel(5, 2, 16).queries(networkx.MultiDiGraph())
