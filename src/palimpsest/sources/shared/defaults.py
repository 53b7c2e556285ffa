"""Names and looks that belong to no source: metrics of every model, axes and baselines that several sources share."""

from __future__ import annotations

from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Looks, Words

WORDS = Words(
    labels={
        "accuracy": "accuracy",
        "accuracy_on": "accuracy",
        "accuracy_off": "accuracy, read zeroed",
        "accuracy_shuffled": "accuracy, swapped",
        "test_accuracy_on": "test accuracy",
        "validation_accuracy_on": "validation accuracy",
        "objective": "objective",
        "loss": "task loss (nats)",
        "train_loss": "training loss (nats)",
        "lstm": "LSTM",
        "causal_transformer": "causal Transformer",
        "no_memory": "no memory",
        "window_only": "window only",
        "full_attention": "full attention",
    },
    symbols={"num_slots": "$N$"},
)
LOOKS = Looks(
    models={
        "lstm": Look("#000000", "v", (0, (4, 2, 1, 2))),
        "causal_transformer": Look("#777777", ">", (0, (6, 1, 1, 1, 1, 1))),
        "no_memory": Look("#000000", "v", (0, (4, 2, 1, 2))),
        "window_only": Look("#999999", "<", (0, (1, 2))),
        "full_attention": Look("#4D4D4D", ">", (0, (6, 1, 1, 1, 1, 1))),
    }
)
"""Figures of all models show these after the models of the sources."""
