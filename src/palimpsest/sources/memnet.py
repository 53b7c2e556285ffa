"""Source 002, MemNet: what is shown of a bank of slots that a Transformer with a short window reads and writes."""

from __future__ import annotations

from palimpsest.sources.shared.figures import (
    AccuracyMatrix,
    BySize,
    ForgettingCurves,
    Shown,
    SideBySide,
    Survival,
    Trajectories,
    Weightings,
)
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words
from palimpsest.sources.shared.tables import Continual

_VARIANTS = ("utilisation_sign", "lambda_pressure", "decay_bias", "eviction", "top_k", "learning_rate")
_ONE_CELL: dict[str, Shown | tuple[Shown, ...]] = {"lambda_utilisation": (0, 0.01), **dict.fromkeys(_VARIANTS)}
"""The cell that the others depart from, as published with the source's weight of the loss, and models without axes."""
_EVICTIONS = ("lru", "fifo", "random", "blind")
_UNTRAINED = 1e-12
"""The learning rate of runs whose weights stay as they were drawn."""
_ACCURACIES = ("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled")
_USE = ("test_accuracy_on", "test_slots_read", "test_read_focus", "test_write_ratio")
_FORGETTING = ("test_accuracy_on", "test_write_ratio", "test_retained", "test_slots_read")


def _side_by_side(name: str, metrics: tuple[str, ...], **where: Shown | tuple[Shown, ...]) -> SideBySide:
    """Cells of MemNet that depart from the one cell as ``where`` says."""
    return SideBySide(
        name=name,
        metrics=metrics,
        accuracies=("test_accuracy_on",),
        models=("memnet",),
        where={**_ONE_CELL, "lambda_utilisation": (0, None), **where},
    )


_FIGURES = (
    BySize(
        name="accuracy_by_distance",
        metrics=("accuracy", "sequence_accuracy"),
        accuracy="accuracy",
        models=("memnet", "windowed_transformer", "lstm"),
        where=_ONE_CELL,
    ),
    SideBySide(
        name="baseline_vs_memory",
        metrics=(*_ACCURACIES, "test_slots_written"),
        accuracies=_ACCURACIES,
        where=_ONE_CELL,
    ),
    _side_by_side("use_by_loss", _USE, lambda_utilisation=(0, 0.01, 0.1, 1, None), utilisation_sign=("printed", None)),
    _side_by_side("eviction", _USE, eviction=_EVICTIONS),
    _side_by_side("sparse_reads", _USE, top_k=(1, 16, None)),
    _side_by_side("pressure_sweep", _FORGETTING, lambda_pressure=(0, 0.01, 0.1, 1)),
    _side_by_side("decay_sweep", _FORGETTING, decay_bias=(-3, 0, None)),
    _side_by_side(
        "heads_and_forgetting",
        ("test_heads_apart", "test_heads_apart_swapped", "test_write_ratio", "test_retained"),
        learning_rate=(_UNTRAINED, None),
    ),
    Trajectories(
        name="learning_curves_by_seed",
        clock="stream",
        metrics=("validation_accuracy_on", "train_loss"),
        accuracy="validation_accuracy_on",
        models=("memnet", "windowed_transformer", "lstm"),
        where=_ONE_CELL,
    ),
    Weightings(name="weightings", models=("memnet",), where=_ONE_CELL),
    Survival(
        name="slot_survival",
        models=("memnet",),
        where={
            **_ONE_CELL,
            "lambda_utilisation": (0, 0.01, None),
            "eviction": (*_EVICTIONS, None),
            "learning_rate": (_UNTRAINED, None),
        },
    ),
)

_LEARNERS = ("memnet", "windowed_transformer", "lstm")
_CONTINUAL = (
    AccuracyMatrix(name="accuracy_matrices", models=_LEARNERS),
    ForgettingCurves(name="forgetting_curves", models=_LEARNERS),
    SideBySide(
        name="forgetting_and_transfer",
        metrics=("test_learnt_accuracy", "test_average_accuracy", "test_forgetting", "test_forward_transfer"),
        accuracies=("test_learnt_accuracy", "test_average_accuracy"),
    ),
)

SOURCE = Source(
    number="002",
    title="MemNet",
    phrase="MemNet",
    citations=("memnet2025",),
    description="A Transformer with a window reads and writes a bank of slots, least recently used ones first.",
    experiments=(
        Experiment(name="memnet", figures=_FIGURES, size="delay (tokens)"),
        Experiment(name="memnet_shifts", figures=_CONTINUAL, size="number of the map"),
        Experiment(name="memnet_digits", figures=_CONTINUAL, size="number of the permutation"),
    ),
    section_needs=("memnet",),
    tables=(Continual(experiments=("memnet_shifts", "memnet_digits")),),
    templates="memnet",
    notebooks=(Notebook(name="03_MemNet_Memory_Behaviour", experiments=("memnet", "memnet_shifts", "memnet_digits")),),
    words=Words(
        labels={
            "memnet": "MemNet",
            "windowed_transformer": "windowed Transformer",
            "slots_read": "slots in use, exp(H)/N",
            "loss_utilisation": "utilisation loss",
            "loss_pressure": "pressure",
            "heads_apart": "divergence of heads",
            "heads_apart_swapped": "divergence, heads swapped",
            "retained": "share of writes still held",
        },
        symbols={
            "lambda_utilisation": r"$\lambda_u$",
            "lambda_pressure": r"$\lambda_p$",
            "top_k": "$k$",
            "decay_bias": "$c$",
        },
        values={
            "learning_rate": {"1e-12": "untrained"},
            "memory": {"persistent": "persistent memory", "episodic": "episodic memory"},
            "replay_capacity": {"128": "with replay", "200": "with replay"},
            "utilisation_sign": {"printed": r"printed sign, $\lambda_u$ = 1"},
            "eviction": {
                "lru": "least recently used",
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
            ("learning_rate", "1e-12"): Look("#999999", "v", (0, (1, 1))),
            ("eviction", "lru"): Look("#009E73", "^"),
            ("eviction", "fifo"): Look("#E69F00", "s", (0, (5, 1.5))),
            ("eviction", "random"): Look("#56B4E9", "P", (0, (2, 1))),
            ("eviction", "blind"): Look("#CC79A7", "D", (0, (1, 3))),
        },
    ),
)
