"""Source 003, EMT: what is shown of a memory that stands beside a language model with a short window."""

from __future__ import annotations

from palimpsest.sources.shared.figures import BySize, SideBySide, Trajectories
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words

_ACCURACIES = ("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled")
_SURE = ("test_answer_probability", "test_confidence", "test_brier", "test_read_focus")

_FIGURES = (
    BySize(name="accuracy_by_distance", metrics=("accuracy", "sequence_accuracy"), accuracy="accuracy"),
    SideBySide(name="baseline_vs_memory", metrics=_ACCURACIES, accuracies=_ACCURACIES),
    SideBySide(name="confidence", metrics=_SURE),
    Trajectories(
        name="learning_curves_by_seed",
        clock="stream",
        metrics=("validation_accuracy_on", "train_loss"),
        accuracy="validation_accuracy_on",
        models=("emt", "rmt", "decoder"),
    ),
)

SOURCE = Source(
    number="003",
    title="EMT",
    phrase="EMT",
    citations=("emt2025",),
    description="A memory beside a language model: slots that a GRU updates and every token reads through a gate.",
    experiments=(Experiment(name="emt", figures=_FIGURES, size="segments"),),
    section_needs=("emt",),
    notebooks=(Notebook(name="07_EMT", experiments=("emt",)),),
    templates="emt",
    words=Words(
        labels={
            "emt": "EMT",
            "rmt": "memory tokens",
            "decoder": "base",
            "answer_probability": "probability of the answer",
            "confidence": "largest probability",
            "brier": "Brier score",
        },
        values={
            "layer": {"0": "between blocks", "last": "last norm"},
            "sight": {"window": "sliding window", "full": "sees all"},
            "feedback": {"0.7": "untrained"},
            "memory_hidden": {"32": "base tuned"},
        },
    ),
    looks=Looks(
        models={
            "emt": Look("#0072B2", "o"),
            "rmt": Look("#D55E00", "s", (0, (5, 1.5))),
            "decoder": Look("#999999", "<", (0, (1, 2))),
        },
        cells={
            ("layer", "last"): Look("#56B4E9", "P", (0, (2, 1))),
            ("feedback", "0.7"): Look("#009E73", "v", (0, (1, 1))),
            ("memory_hidden", "32"): Look("#E69F00", "D", (0, (3, 1))),
            ("sight", "full"): Look("#000000", "^"),
            ("sight", "window"): Look("#CC79A7", ">", (0, (1, 3))),
        },
    ),
)
