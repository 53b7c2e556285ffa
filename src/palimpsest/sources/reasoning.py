"""Source 004, its reasoning networks: what is shown of logical inference."""

from __future__ import annotations

from palimpsest.sources.shared.figures import BySize, SideBySide, Trajectories
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words

_ACCURACIES = ("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled")
_FIGURES = (
    BySize(name="accuracy_by_depth", metrics=("accuracy",), accuracy="accuracy"),
    SideBySide(name="baseline_vs_memory", metrics=_ACCURACIES, accuracies=_ACCURACIES),
    Trajectories(
        name="learning_curves_by_seed",
        clock="stream",
        metrics=("validation_accuracy_on", "train_loss"),
        accuracy="validation_accuracy_on",
    ),
)

SOURCE = Source(
    number="004",
    title="Reasoning",
    phrase="reasoning networks",
    citations=("anwar2025", "evans2018"),
    description="A network reads what it has encoded several times, and says whether one formula entails another.",
    experiments=(Experiment(name="entailment", figures=_FIGURES, size="operators of a formula"),),
    section_needs=("entailment",),
    templates="reasoning",
    notebooks=(Notebook(name="06_Reasoning", experiments=("entailment",)),),
    words=Words(
        labels={
            "reasoning_network": "reasoning network",
            "bidirectional_gru": "bidirectional GRU",
            "bag_of_tokens": "bag of tokens",
        },
    ),
    looks=Looks(
        models={
            "reasoning_network": Look("#AA4499", "o"),
            "bidirectional_gru": Look("#117733", "s", (0, (5, 2))),
            "bag_of_tokens": Look("#888888", "X", (0, (1, 2))),
        },
    ),
)
