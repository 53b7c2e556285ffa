"""Source 004, continual learning: what methods against forgetting keep of a stream of tasks."""

from __future__ import annotations

from palimpsest.sources.shared.figures import AccuracyMatrix, ForgettingCurves, Shown, SideBySide
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words

_MEASURES = ("test_learnt_accuracy", "test_average_accuracy", "test_forgetting", "test_backward_transfer")
_FEW: dict[str, Shown | tuple[Shown, ...]] = {
    "fisher": ("exact", None),
    "ewc_strength": (10, None),
    "online_decay": None,
    "l2_strength": None,
    "replay_capacity": (100, None),
    "agem_capacity": None,
}
"""Fine-tuning, EWC of one strength, replay and joint training: cells that every stream has."""
_STREAM = (
    AccuracyMatrix(name="accuracy_matrices", where=_FEW),
    ForgettingCurves(name="forgetting_curves", where=_FEW),
    SideBySide(name="methods", metrics=_MEASURES, accuracies=("test_learnt_accuracy", "test_average_accuracy")),
)


_STREAMS = (
    "continual_permuted",
    "continual_split_task",
    "continual_split_domain",
    "continual_split_class",
    "continual_parts",
)

SOURCE = Source(
    number="004",
    title="Continual learning",
    phrase="continual learning",
    citations=("anwar2025", "kirkpatrick2017"),
    description="A perceptron learns one task after the other, with methods that hold weights or replay examples.",
    experiments=tuple(Experiment(name=name, figures=_STREAM, size="number of the task") for name in _STREAMS),
    section_needs=("continual_permuted",),
    templates="continual_learning",
    notebooks=(Notebook(name="05_Continual_Learning", experiments=_STREAMS),),
    words=Words(
        labels={"mlp": "perceptron"},
        symbols={
            "ewc_strength": r"$\lambda$",
            "l2_strength": r"$\lambda_2$",
            "online_decay": r"$\gamma$",
        },
        values={
            "fisher": {"exact": "EWC, all labels", "sampled": "EWC, drawn labels", "true": "EWC, true labels"},
            "joint": {"until_now": "joint training"},
            "replay_capacity": {"100": "with replay"},
            "agem_capacity": {"100": "A-GEM"},
        },
    ),
    looks=Looks(
        models={"mlp": Look("#0072B2", "o")},
        cells={
            ("joint", "until_now"): Look("#009E73", "^"),
        },
    ),
)
