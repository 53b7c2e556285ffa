"""Source 004, knowledge graphs: what is shown of a memory over entities beside models of links."""

from __future__ import annotations

from palimpsest.sources.shared.figures import BySize, Figure, SideBySide, Trajectories, Weightings
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words

_SCORES = ("test_mrr", "test_accuracy_on", "test_hits_3", "test_hits_10")
_JOINED = ("not joined", "joined the same way", "joined in reverse")
"""How training joins the two entities of a fact, as the task numbers it."""


def _joined(size: int) -> str:
    """How the text shows the way in which training joins a pair.

    >>> _joined(2)
    'joined in reverse'
    """
    return _JOINED[size]


_FIGURES: tuple[Figure, ...] = (
    SideBySide(name="scores", metrics=_SCORES, accuracies=("test_accuracy_on",)),
    SideBySide(
        name="baseline_vs_memory",
        metrics=("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled", "test_read_focus"),
        accuracies=("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled"),
    ),
    BySize(name="accuracy_by_leakage", metrics=("accuracy",), accuracy="accuracy"),
    Trajectories(
        name="learning_curves_by_seed",
        clock="epochs",
        metrics=("validation_accuracy_on", "validation_mrr", "train_loss"),
        accuracy="validation_accuracy_on",
    ),
    Weightings(name="weightings"),
)

SOURCE = Source(
    number="004",
    title="Knowledge graphs",
    phrase="a memory over the entities of a graph",
    citations=("anwar2025",),
    description="A memory with a slot for each entity completes the facts of a knowledge graph.",
    experiments=(
        Experiment(name="knowledge_graph", figures=_FIGURES, size="pair of entities in training", spell_size=_joined),
        Experiment(name="knowledge_rules", figures=_FIGURES, size="pair of entities in training", spell_size=_joined),
    ),
    section_needs=("knowledge_graph",),
    templates="knowledge_graph",
    notebooks=(Notebook(name="09_Knowledge_Graphs", experiments=("knowledge_graph", "knowledge_rules")),),
    words=Words(
        labels={
            "knowledge_graph_memory": "entity memory",
            "complex": "ComplEx",
            "distmult": "DistMult",
            "transe": "TransE",
            "relation_frequency": "relation alone",
            "mrr": "MRR",
            "hits_3": "Hits@3",
            "hits_10": "Hits@10",
        },
    ),
    looks=Looks(
        models={
            "knowledge_graph_memory": Look("#0072B2", "o"),
            "complex": Look("#D55E00", "s", (0, (5, 3))),
            "distmult": Look("#009E73", "^", (0, (2, 4))),
            "transe": Look("#E69F00", "p", (0, (6, 2, 1, 5))),
            "relation_frequency": Look("#999999", "v", (0, (1, 2))),
        },
    ),
)
