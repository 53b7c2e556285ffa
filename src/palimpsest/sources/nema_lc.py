"""Source 001, NeMA-LC: what is shown of memories that write, retain, update and forget under a budget."""

from __future__ import annotations

from palimpsest.sources.shared.figures import Raster, SideBySide, Trajectories
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words
from palimpsest.sources.shared.tables import Ablations, Lifecycle

_POLICIES = ("nema_lc", "fifo", "lru", "least_used", "random_replacement", "tagged_queue", "oracle_replacement")
_WITHOUT_BUDGET = ("unbudgeted", "no_memory", "window_only", "full_attention")
_UNABLATED = {"ablation": "none"}
_VARIANTS = {"memory": None}
"""Cells that do not show how long the memory lasts: the ablations."""

_FIGURES = (
    Trajectories(name="utilisation", clock="training", metrics=("utilisation",), models=_POLICIES, where=_UNABLATED),
    Trajectories(name="retention_age", clock="training", metrics=("age_steps",), models=_POLICIES, where=_UNABLATED),
    Trajectories(
        name="operation_rates",
        clock="training",
        metrics=("write_ratio", "update_rate", "forget_rate"),
        models=("nema_lc",),
        where=_VARIANTS,
    ),
    Trajectories(
        name="loss_components",
        clock="training",
        metrics=("objective", "loss", "loss_write", "loss_forget", "loss_stability"),
        models=("nema_lc",),
        where=_VARIANTS,
    ),
    Raster(name="lifecycle_raster", models=("nema_lc", "fifo", "oracle_replacement"), where=_UNABLATED),
    Trajectories(
        name="within_sequence",
        clock="sequence",
        metrics=("utilisation", "age_steps", "write_ratio", "update_rate", "forget_rate"),
        models=_POLICIES,
        where=_UNABLATED,
    ),
    SideBySide(
        name="ablations",
        metrics=("test_accuracy_on", "test_write_ratio", "test_forget_rate", "test_loss_stability"),
        models=("nema_lc",),
        where=_VARIANTS,
        accuracies=("test_accuracy_on",),
    ),
    SideBySide(
        name="replacement_policies",
        metrics=("test_accuracy_on", "test_answer_kept"),
        models=(*_POLICIES, *_WITHOUT_BUDGET),
        where=_UNABLATED,
        accuracies=("test_accuracy_on",),
    ),
)
_PROXY = (
    SideBySide(
        name="baseline_vs_memory",
        metrics=("test_accuracy_on", "test_accuracy_off"),
        accuracies=("test_accuracy_on", "test_accuracy_off"),
    ),
    Trajectories(name="training_curves", clock="training", metrics=("accuracy", "loss"), accuracy="accuracy"),
)
"""Figures of the tasks that stand for the source's benchmarks."""

SOURCE = Source(
    number="001",
    title="NeMA-LC",
    phrase="NeMA-LC",
    citations=("nath2025lc",),
    description="A controller decides for every slot what is written, kept, updated and forgotten under a hard budget.",
    experiments=(
        Experiment(name="nema_lc", figures=_FIGURES),
        Experiment(name="nema_lc_lra", figures=_PROXY),
        Experiment(name="nema_lc_documents", figures=_PROXY),
        Experiment(name="nema_lc_document_qa", figures=_PROXY),
        Experiment(name="nema_lc_aan"),
    ),
    section_needs=("nema_lc",),
    templates="nema_lc",
    tables=(Lifecycle(), Ablations()),
    notebooks=(Notebook(name="02_NeMA_LC_Memory_Dynamics", experiments=("nema_lc",)),),
    words=Words(
        labels={
            "nema_lc": "NeMA-LC",
            "fifo": "FIFO",
            "lru": "LRU",
            "least_used": "least used",
            "random_replacement": "random replacement",
            "tagged_queue": "queue of tagged pairs",
            "unbudgeted": "queue without a budget",
            "oracle_replacement": "oracle replacement",
            "age_steps": "age (memory steps)",
            "utilisation": "utilisation",
            "operations_per_step": "operations a step",
            "answer_kept": "answers kept",
            "answer_written": "answers written",
            "loss_write": "write loss",
            "loss_forget": "forget loss",
            "loss_stability": "stability loss",
        },
        symbols={"budget": "$B$"},
        values={
            "ablation": {
                "none": "all losses",
                "write": "no write loss",
                "forget": "no forget loss",
                "stability": "no stability loss",
            },
            "use_memory": {"true": "with memory", "false": "without memory"},
            "memory": {
                "persistent": "persistent memory",
                "episodic": "episodic memory",
                "lifecycle": "lifecycle memory",
            },
        },
    ),
    looks=Looks(
        models={
            "fifo": Look("#E69F00", "s", (0, (5, 1.5))),
            "lru": Look("#009E73", "^", (0, (3, 1, 1, 1))),
            "least_used": Look("#CC79A7", "D", (0, (8, 2))),
            "random_replacement": Look("#56B4E9", "P", (0, (2, 1))),
            "tagged_queue": Look("#882255", "v", (0, (4, 1, 1, 1, 1, 1))),
            "unbudgeted": Look("#332288", "X", (0, (10, 2))),
            "oracle_replacement": Look("#D55E00", "H", (0, (6, 1, 1, 1))),
        },
        cells={("memory", "lifecycle"): Look("#661100", "H", (0, (7, 2, 2, 2)))},
    ),
)
