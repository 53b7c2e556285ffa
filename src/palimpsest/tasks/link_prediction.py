"""Link prediction (source 004, knowledge graphs): name the entity that completes a fact of a graph.

A fact (h, r, t) is asked from both sides: which entity does r lead to from h, and which does it come from to t? The
second is the first for the reciprocal relation r⁻¹ [Lacroix et al. 2018], so that a query is always an entity and a
relation, and the answer an entity. With 4 entities (tokens 0–3) and 2 relations (tokens 4 and 5, reciprocal 6 and 7),
the fact (1, r1, 3) is two examples, the first of which is::

    step       0    1    2
    token      ASK  1    5        target: 3          the other: ASK 3 7, target 1
    token ASK  8

The model gives every entity a logit, and the rank of the target counts. A query may have several answers: all other
entities that the graph knows as answers, from training, validation and test, are left out (*filtered*, [Bordes et al.
2013]). An entity with the same logit as the target counts half, as in the mean of the optimistic and the pessimistic
rank (*realistic*, [Berrendorf et al. 2020]). Hits@1, the share of queries whose target ranks first, is called
``accuracy``, as the main metric of all tasks with one answer; a tie for the first place is no hit.

Extras: ``known``, which entities a query is known to have as answers, in words of 30 bits; ``slice``, how training
joins the two entities of the fact: 0 not at all, 1 by another relation in the same direction, 2 by a relation in the
reverse direction, whatever else joins them. What is reversed may leak the answer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Metric, Scores, Splits, TaskConfig
from palimpsest.tasks.shared import classes, graphs
from palimpsest.tasks.shared.scoring import cross_entropy

METRIC, RECORD = Metric("accuracy", "filtered Hits@1"), classes.RECORD
record, picture = classes.record, classes.picture
RANGES = {"mrr": (0, 1), "hits_3": (0, 1), "hits_10": (0, 1)}
WORD = 30
"""Entities of a word of ``known``, which is stored as a signed number of 32 bits."""


class Config(TaskConfig):
    """Parameters of the task."""

    generated: ClassVar[bool] = False
    extras: ClassVar[tuple[str, ...]] = ("answer_position", "known", "length", "slice")

    graph: Literal["family", "kinships", "nations", "umls"] = Field(
        "family", description="family: a tree whose rules are known; the others come with the package pykeen"
    )
    branching: int = Field(3, ge=2, le=10, description="children of everybody in a family tree")
    generations: int = Field(4, ge=3, le=8, description="generations of a family tree")
    num_train: int = Field(642, ge=1, description="training queries, two a fact, the first ones of the graph")
    num_validation: int = Field(80, ge=1, description="queries on which choices are made, two a fact")
    num_test: int = Field(160, ge=1, description="queries looked at once, at the end, two a fact")

    @model_validator(mode="after")
    def _the_graph_has_as_many(self) -> Config:
        if self.graph == "family" and self.num_entities > 1000:
            raise ValueError(
                f"a family of {self.num_entities} people; allowed: at most 1000, by branching, generations"
            )
        for split, size in zip(("train", "validation", "test"), self.num_facts, strict=True):
            asked = getattr(self, f"num_{split}")
            if asked > 2 * size:
                raise ValueError(f"num_{split} {asked}; allowed: at most {2 * size} in the graph {self.graph!r}")
        return self

    @property
    def num_entities(self) -> int:
        """Entities E, the first tokens."""
        if self.graph == "family":
            return graphs.family_size(self.branching, self.generations)
        return graphs.BUNDLED[self.graph].entities

    @property
    def num_relations(self) -> int:
        """Relations of the graph, without reciprocal ones."""
        return len(graphs.FAMILY) if self.graph == "family" else graphs.BUNDLED[self.graph].relations

    @property
    def num_facts(self) -> tuple[int, ...]:
        """Facts of each split."""
        if self.graph != "family":
            return graphs.BUNDLED[self.graph].facts
        facts = len(graphs.family_facts(self.branching, self.generations))
        derived = facts - self.num_entities + 1
        return facts - derived // 5 - derived // 10, derived // 10, derived // 5

    @property
    def ask(self) -> int:
        """Token ASK, the last of the alphabet."""
        return self.num_entities + 2 * self.num_relations

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: its alphabet, and that an entity is asked at the last step."""
        return {
            "num_tokens": self.ask + 1,
            "num_outputs": self.num_entities,
            "sequence_length": 3,
            "asked": [2],
            "cls_position": 0,
        }

    def build(self, seed: int) -> Splits:
        """Make the queries of each split.

        Args:
            seed: of a family tree and its split; the bundled graphs have their own splits.

        Raises:
            DataError: see :func:`palimpsest.tasks.shared.graphs.bundled`.
        """
        graph = self.load(seed)
        queries = [_queries(self, facts) for facts in (graph.train, graph.validation, graph.test)]
        known = _known(self, torch.cat(queries))
        joined = graphs.pairs_of(graph.train, self.num_entities)
        sizes = (self.num_train, self.num_validation, self.num_test)
        parts = (_examples(self, part[:size], known, joined) for part, size in zip(queries, sizes, strict=True))
        return Splits(*parts)

    def load(self, seed: int) -> graphs.Graph:
        """Return the graph; arguments and errors as of :meth:`build`."""
        if self.graph == "family":
            return graphs.family(self.branching, self.generations, seed)
        return graphs.bundled(self.graph)

    def sample(self, size: int) -> Examples:
        """Queries for the first entity and relation, of which nothing is known; no file is read."""
        queries = torch.tensor([[0, self.num_entities, 0]]).expand(size, 3)
        nothing = torch.zeros(self.num_entities, self.num_entities, dtype=torch.bool)
        return _examples(self, queries, _known(self, queries[:0]), nothing)


def _queries(config: Config, facts: Int[Tensor, "facts 3"]) -> Int[Tensor, "queries 3"]:
    """Entity, token of the relation, and answer: for the tail and then for the head of each fact."""
    head, relation, tail = facts.unbind(1)
    forward = torch.stack([head, config.num_entities + relation, tail], 1)
    backward = torch.stack([tail, config.num_entities + config.num_relations + relation, head], 1)
    return torch.stack([forward, backward], 1).flatten(0, 1)


def _known(config: Config, queries: Int[Tensor, "queries 3"]) -> Bool[Tensor, "entities relations answers"]:
    """Which entities the graph knows as answers, by entity and relation asked."""
    known = torch.zeros(config.num_entities, 2 * config.num_relations, config.num_entities, dtype=torch.bool)
    known[queries[:, 0], queries[:, 1] - config.num_entities, queries[:, 2]] = True
    return known


def _examples(
    config: Config,
    queries: Int[Tensor, "queries 3"],
    known: Bool[Tensor, "entities relations answers"],
    joined: Bool[Tensor, "entities entities"],
) -> Examples:
    entity, relation, answer = queries.unbind(1)
    is_reciprocal = relation >= config.num_entities + config.num_relations
    head, tail = torch.where(is_reciprocal, answer, entity), torch.where(is_reciprocal, entity, answer)
    leak = torch.where(joined[tail, head], 2, joined[head, tail].long())
    extras = {
        "answer_position": torch.full_like(answer, -1),
        "known": packed(known[entity, relation - config.num_entities]),
        "length": torch.full_like(answer, 3),
        "slice": leak,
    }
    inputs = torch.stack([torch.full_like(entity, config.ask), entity, relation], 1)
    return Examples(inputs, answer[:, None], extras)


def packed(flags: Bool[Tensor, "queries flags"]) -> Int[Tensor, "queries words"]:
    """Bits in words of :data:`WORD`, the first bit the lowest of the first word."""
    missing = -flags.shape[1] % WORD
    words = torch.nn.functional.pad(flags, (0, missing)).unflatten(1, (-1, WORD))
    return (words.long() << torch.arange(WORD)).sum(2)


def unpacked(words: Int[Tensor, "*shape words"], count: int) -> Bool[Tensor, "*shape flags"]:
    """The first ``count`` bits that :func:`packed` has put into words."""
    bits = words[..., None].int() >> torch.arange(WORD, dtype=torch.int32, device=words.device)
    return (bits & 1).bool().flatten(-2)[..., :count]


def realistic_ranks(
    logits: Float[Tensor, "*shape entities"],
    targets: Int[Tensor, "*shape"],
    known: Bool[Tensor, "*shape entities"] | None = None,
) -> Float[Tensor, "*shape"]:
    """Mean of the optimistic and the pessimistic rank of each target, from 1; one more entity with its logit is ½.

        rank = 1 + |{e : s_e > s_t}| + ½ |{e ≠ t : s_e = s_t}|        [Berrendorf et al. 2020, eq. 4]

    over the entities e that are not known as other answers. A logit that is no number ranks before all others; a
    target without a number, last.

    Args:
        logits: s, of every entity.
        targets: t.
        known: entities that are known as answers; ``None``: the target alone.
    """
    own = logits.gather(-1, targets[..., None])
    others = torch.ones_like(logits, dtype=torch.bool) if known is None else ~known
    others = others.scatter(-1, targets[..., None], torch.zeros_like(others[..., :1]))
    better = (~(logits <= own) & others).sum(-1)
    equal = ((logits == own) & others).sum(-1)
    return 1 + better.to(logits.dtype) + equal.to(logits.dtype) / 2


def score(logits: Float[Tensor, "runs batch 1 entities"], examples: Examples) -> Scores:
    """Cross-entropy over all entities, ``loss`` (nats), and scores of the filtered realistic rank.

    They are ``accuracy``, ``hits_3`` and ``hits_10``, whether it is at most 1, 3 and 10, and ``mrr``, its reciprocal.

    Args:
        logits: of every entity.
        examples: their targets are entities, (R, B, 1); without the extra ``known`` nothing is filtered.
    """
    words = examples.extras.get("known")
    known = None if words is None else unpacked(words, logits.shape[-1])
    ranks = realistic_ranks(logits.detach()[:, :, 0], examples.targets[..., 0], known)
    hits = {
        name: (ranks <= least).to(logits.dtype) for name, least in (("accuracy", 1), ("hits_3", 3), ("hits_10", 10))
    }
    return {"loss": cross_entropy(logits, examples.targets)[..., 0], "mrr": 1 / ranks, **hits}


@lru_cache(maxsize=16)
def chance(config: Config) -> float:
    """Hits@1 of a guess that looks at nothing: the mean of 1 / (E − other known answers) over the test queries.

    Of a family tree, the mean is over all queries that its split may hold out.
    """
    if config.graph == "family":
        facts = graphs.family_facts(config.branching, config.generations)
        queries = _queries(config, facts)
        asked = queries[facts.repeat_interleave(2, 0)[:, 1] != graphs.FAMILY.index("parent")]
    else:
        graph = config.load(0)
        queries, asked = _queries(config, graph.facts), _queries(config, graph.test)[: config.num_test]
    answers = _known(config, queries)[asked[:, 0], asked[:, 1] - config.num_entities].sum(1)
    return (1 / (config.num_entities - answers + 1).double()).mean().item()


def informed_guess(config: Config, inputs: Tensor) -> None:
    """What follows a relation most often depends on the training facts; the model ``relation_frequency`` learns it."""
    del config, inputs


def ceiling(config: Config) -> float:
    """No predictor exceeds 1. The rules of a family tree reach it; how much of a bundled graph follows is unknown."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> None:
    """Rules need the training facts, which a query alone does not have."""
    del config, inputs
