"""Source 000, NeMA-Lite: what is shown of learned selective writing."""

from __future__ import annotations

from palimpsest.sources.shared.figures import AgainstAxis, Controls, Curves, Paths, Positions, Scatter
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words

_WRITERS = ("write_all", "write_none", "random_writer", "oracle_writer")
_WITHOUT_MEMORY = ("no_memory", "window_only", "full_attention")

_FIGURES = (
    Scatter(
        name="acc_vs_write_ratio",
        model="nema_lite",
        x="test_write_ratio",
        y="test_accuracy_on",
        by="write_threshold",
        baselines=_WRITERS,
        lines=_WITHOUT_MEMORY,
    ),
    AgainstAxis(
        name="write_ratio_vs_mem_lambda",
        model="nema_lite",
        x="mem_lambda",
        y="test_write_ratio",
        by="write_threshold",
        lines=("write_all", "write_none", "oracle_writer"),
    ),
    AgainstAxis(
        name="acc_vs_mem_lambda",
        model="nema_lite",
        x="mem_lambda",
        y="test_accuracy_on",
        by="write_threshold",
        lines=("write_all", "write_none", "oracle_writer", *_WITHOUT_MEMORY),
        levels=True,
    ),
    Controls(
        name="memory_on_vs_off",
        model="nema_lite",
        x="mem_lambda",
        metrics={
            "memory on": "test_accuracy_on",
            "read zeroed": "test_accuracy_off",
            "memories swapped": "test_accuracy_shuffled",
            "written at random": "test_accuracy_random_writes",
        },
        rows="write_threshold",
        lines=_WITHOUT_MEMORY,
        label="test accuracy",
    ),
    Paths(
        name="tradeoff_by_threshold",
        model="nema_lite",
        x="test_write_ratio",
        y="test_accuracy_on",
        along="mem_lambda",
        rows="write_threshold",
        baselines=_WRITERS,
    ),
    Curves(
        name="learning_curves",
        model="nema_lite",
        metrics=("validation_accuracy_on", "validation_write_ratio"),
        by="mem_lambda",
        at="write_threshold",
        lines=("write_all", *_WITHOUT_MEMORY),
        accuracy="validation_accuracy_on",
    ),
    Positions(name="where_it_writes", model="nema_lite", y="gate_mean", by="mem_lambda", at="write_threshold"),
)

SOURCE = Source(
    number="000",
    title="NeMA-Lite",
    phrase="NeMA-Lite",
    citations=("nath2025",),
    description="A small network opens or closes a gate for every token, and the loss charges for open gates.",
    experiments=(Experiment(name="nema_lite", figures=_FIGURES),),
    section_needs=("nema_lite",),
    templates="nema_lite",
    notebooks=(Notebook(name="01_NeMA_Lite_Results_Summary", experiments=("nema_lite",)),),
    words=Words(
        labels={
            "nema_lite": "NeMA-Lite",
            "write_all": "write all",
            "write_none": "write none",
            "random_writer": "random writer",
            "oracle_writer": "oracle writer",
            "mem_lambda": r"penalty weight $\lambda$",
            "write_threshold": r"threshold $\tau$",
            "gate_mean": "mean write gate",
            "answer_written": "answers written",
            "validation_write_ratio": "write ratio (validation)",
        },
        symbols={"mem_lambda": r"$\lambda$", "write_threshold": r"$\tau$", "write_probability": "$p$"},
        values={"memory": {"selective": "selective memory"}},
    ),
    looks=Looks(
        models={
            "write_all": Look("#D55E00", "P", (0, (5, 1.5))),
            "write_none": Look("#000000", "X", (0, (1, 1))),
            "random_writer": Look("#CC79A7", "d", (0, (3, 1, 1, 1))),
            "oracle_writer": Look("#56B4E9", "H", (0, (8, 2))),
        },
        cells={("memory", "selective"): Look("#117733", "8", (0, (4, 2, 1, 2)))},
    ),
)
