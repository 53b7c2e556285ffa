"""Source 002, MemNet: what is shown of a bank of slots that a Transformer with a short window reads and writes."""

from __future__ import annotations

from palimpsest.sources.shared.figures import BySize, SideBySide, Survival, Trajectories, Weightings
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words

_MAIN = {"lambda_utilisation": 0, "lambda_pressure": None, "eviction": None, "top_k": None}
"""The cell that others depart from, and models without these axes."""
_ACCURACIES = ("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled")
_USE = ("test_accuracy_on", "test_slots_read", "test_read_focus", "test_write_ratio")

_FIGURES = (
    BySize(
        name="accuracy_by_distance",
        metrics=("accuracy", "sequence_accuracy"),
        accuracy="accuracy",
        models=("memnet", "windowed_transformer", "lstm"),
        where=_MAIN,
    ),
    SideBySide(
        name="baseline_vs_memory", metrics=(*_ACCURACIES, "test_slots_written"), accuracies=_ACCURACIES, where=_MAIN
    ),
    SideBySide(
        name="use_by_loss",
        metrics=_USE,
        accuracies=("test_accuracy_on",),
        models=("memnet",),
        where={"eviction": None, "top_k": None},
    ),
    SideBySide(
        name="eviction_and_reads",
        metrics=_USE,
        accuracies=("test_accuracy_on",),
        models=("memnet",),
        where={"lambda_pressure": None, "lambda_utilisation": 0},
    ),
    Trajectories(
        name="learning_curves_by_seed",
        clock="stream",
        metrics=("validation_accuracy_on", "train_loss"),
        accuracy="validation_accuracy_on",
        models=("memnet", "windowed_transformer", "lstm"),
        where=_MAIN,
    ),
    Weightings(name="weightings", models=("memnet",), where=_MAIN),
    Survival(
        name="slot_survival",
        models=("memnet",),
        where={"lambda_pressure": None, "lambda_utilisation": 0, "top_k": None},
    ),
)

SOURCE = Source(
    number="002",
    title="MemNet",
    phrase="MemNet",
    citations=("memnet2025",),
    description="A Transformer with a window reads and writes a bank of slots, least recently used ones first.",
    experiments=(Experiment(name="memnet", figures=_FIGURES, size="delay (tokens)"),),
    section_needs=("memnet",),
    templates="memnet",
    notebooks=(Notebook(name="03_MemNet_Memory_Behaviour", experiments=("memnet",)),),
    words=Words(
        labels={
            "memnet": "MemNet",
            "windowed_transformer": "windowed Transformer",
            "slots_read": "slots in use, exp(H)/N",
            "loss_utilisation": "utilisation loss",
            "loss_pressure": "pressure",
        },
        symbols={"lambda_utilisation": r"$\lambda_u$", "lambda_pressure": r"$\lambda_p$", "top_k": "$k$"},
        values={
            "eviction": {
                "fifo": "oldest first",
                "random": "random eviction",
                "blind": "no eviction",
            },
        },
    ),
    looks=Looks(
        models={
            "memnet": Look("#0072B2", "o"),
            "windowed_transformer": Look("#999999", "<", (0, (1, 2))),
        },
        cells={
            ("eviction", "fifo"): Look("#E69F00", "s", (0, (5, 1.5))),
            ("eviction", "random"): Look("#56B4E9", "P", (0, (2, 1))),
            ("eviction", "blind"): Look("#CC79A7", "D", (0, (1, 3))),
        },
    ),
)
