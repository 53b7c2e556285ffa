"""Source 004, temporal prediction: what is shown of memories that reach back beyond a window of attention."""

from __future__ import annotations

from palimpsest.sources.shared.figures import BySize, SideBySide, Trajectories, Weightings
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words

_ACCURACIES = ("test_accuracy_on", "test_accuracy_off", "test_accuracy_shuffled")
_FIGURES = (
    BySize(name="accuracy_by_lag", metrics=("accuracy",), accuracy="accuracy"),
    SideBySide(name="baseline_vs_memory", metrics=(*_ACCURACIES, "test_read_focus"), accuracies=_ACCURACIES),
    Trajectories(
        name="learning_curves_by_seed",
        clock="stream",
        metrics=("validation_accuracy_on", "train_loss"),
        accuracy="validation_accuracy_on",
    ),
    Weightings(name="weightings", models=("temporal_memory",)),
)

SOURCE = Source(
    number="004",
    title="Temporal prediction",
    phrase="temporal prediction",
    citations=("anwar2025",),
    description="Memories that reach back differently far predict symbols that follow from one a lag before.",
    experiments=(Experiment(name="temporal", figures=_FIGURES, size="lag (symbols)"),),
    section_needs=("temporal",),
    templates="temporal",
    notebooks=(Notebook(name="08_Temporal_Prediction", experiments=("temporal",)),),
    words=Words(
        labels={
            "temporal_memory": "temporal memory",
            "windowed_transformer": "windowed Transformer",
            "read_focus": "largest read weight",
        },
    ),
    looks=Looks(
        models={
            "temporal_memory": Look("#0072B2", "o"),
            "windowed_transformer": Look("#999999", "<", (0, (1, 2))),
        },
    ),
)
