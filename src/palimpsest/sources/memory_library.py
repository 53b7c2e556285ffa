"""Source 004, a library of memories: what is shown of NTM, DNC and others on algorithmic tasks."""

from __future__ import annotations

from palimpsest.sources.shared.figures import (
    BySize,
    Figure,
    Pictures,
    SideBySide,
    Trajectories,
    UsageAndLinks,
    Weightings,
)
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words

_ACCURACIES = ("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled")
_SEQUENCES: tuple[Figure, ...] = (
    Trajectories(
        name="learning_curves_by_seed",
        clock="stream",
        metrics=("validation_accuracy_on", "validation_sequence_accuracy", "train_loss"),
        accuracy="validation_accuracy_on",
    ),
    BySize(name="length_generalisation", metrics=("accuracy", "sequence_accuracy"), accuracy="accuracy"),
    SideBySide(name="baseline_vs_memory", metrics=(*_ACCURACIES, "test_slots_written"), accuracies=_ACCURACIES),
    Weightings(name="weightings"),
)
"""Figures of every task of sequences."""
_BITS = (*_SEQUENCES, Pictures(name="pictures"))
"""Figures of a task whose answers are vectors of bits."""


def _vectors_and_repeats(size: int) -> str:
    """How repeat copy spells its sizes.

    >>> _vectors_and_repeats(2010)
    '20 × 10'
    """
    return f"{size // 100} × {size % 100}"


SOURCE = Source(
    number="004",
    title="Memory library",
    phrase="a library of memories",
    citations=("anwar2025",),
    description="A library of cells, layers and networks with external memories, and the standard tasks for them.",
    experiments=(
        Experiment(name="copy", figures=(*_BITS, UsageAndLinks(name="usage_and_links")), size="vectors of a sequence"),
        Experiment(
            name="repeat_copy",
            figures=_BITS,
            size="vectors × repeats",
            spell_size=_vectors_and_repeats,
            picture_lines="The top line of the input is the number of repeats, the top line of the target is the end "
            "mark.",
        ),
        Experiment(name="associative_recall", figures=_BITS, size="items of a sequence"),
        Experiment(name="mqar", figures=_SEQUENCES, size="pairs of a sequence"),
        Experiment(
            name="priority_sort",
            figures=_BITS,
            size="vectors of a sequence",
            picture_lines="The top line of the input is the priority.",
        ),
    ),
    section_needs=("copy",),
    templates="memory_library",
    notebooks=(Notebook(name="04_Memory_Architectures", experiments=("copy", "associative_recall")),),
    words=Words(
        labels={
            "ntm": "NTM",
            "dnc": "DNC",
            "memory_rnn": "memory RNN",
            "memory_transformer": "memory Transformer",
            "sequence_accuracy": "sequences right",
            "slots_written": "slots written",
            "read_focus": "largest read weight",
        },
        values={
            "memory": {
                "cell": "memory cell",
                "dynamic": "dynamic memory",
                "associative": "associative memory",
                "least_recently_used": "least recently used (MANN)",
                "attention": "attention memory",
                "sparse": "sparse memory",
                "hierarchical": "hierarchical memory",
                "adaptive": "adaptive memory",
                "gated": "gated memory",
            },
            "softmax_over": {"slots": "without the defect", "batch": "with the defect"},
        },
    ),
    looks=Looks(
        models={
            "ntm": Look("#0072B2", "o"),
            "dnc": Look("#D55E00", "s", (0, (5, 3))),
            "memory_transformer": Look("#882255", "h", (0, (8, 6))),
        },
        cells={
            ("memory", "cell"): Look("#999933", "d", (0, (1, 2))),
            ("memory", "dynamic"): Look("#D55E00", "s", (0, (5, 3))),
            ("memory", "associative"): Look("#E69F00", "p", (0, (6, 2, 1, 5))),
            ("memory", "least_recently_used"): Look("#009E73", "^", (0, (2, 4))),
            ("memory", "attention"): Look("#0072B2", "o"),
            ("memory", "sparse"): Look("#56B4E9", "P", (0, (8, 6))),
            ("memory", "hierarchical"): Look("#CC79A7", "D", (0, (1, 3))),
            ("memory", "adaptive"): Look("#332288", "X", (0, (1, 6))),
            ("memory", "gated"): Look("#44AA99", "<", (0, (3, 1, 1, 1))),
            ("softmax_over", "slots"): Look("#56B4E9", "D", (0, (6, 2, 1, 5))),
        },
    ),
)
