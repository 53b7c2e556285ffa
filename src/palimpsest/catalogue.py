"""What is rendered, by name: figures of each experiment, notebooks and the experiments that they read, tables.

Snakemake declares its outputs from these lists; :mod:`palimpsest.rendering` makes exactly what they name. Nothing here
imports anything, for Snakemake reads it at every start.
"""

from __future__ import annotations

from collections.abc import Iterable

_PROXY = ("baseline_vs_memory", "training_curves")
_SEQUENCES = ("learning_curves_by_seed", "length_generalisation", "baseline_vs_memory", "weightings")
_BITS = (*_SEQUENCES, "pictures")

FIGURES: dict[str, tuple[str, ...]] = {
    "nema_lite": (
        "acc_vs_write_ratio",
        "write_ratio_vs_mem_lambda",
        "acc_vs_mem_lambda",
        "memory_on_vs_off",
        "tradeoff_by_threshold",
        "learning_curves",
        "where_it_writes",
    ),
    "nema_lc": (
        "utilisation",
        "retention_age",
        "operation_rates",
        "loss_components",
        "lifecycle_raster",
        "within_sequence",
        "ablations",
        "replacement_policies",
    ),
    "nema_lc_lra": _PROXY,
    "nema_lc_documents": _PROXY,
    "nema_lc_document_qa": _PROXY,
    "copy": (*_BITS, "usage_and_links"),
    "repeat_copy": _BITS,
    "associative_recall": _BITS,
    "priority_sort": _BITS,
    "mqar": _SEQUENCES,
}
"""Experiment → its figures; an experiment that is not listed has none."""

NOTEBOOKS: dict[str, tuple[str, ...]] = {
    "01_NeMA_Lite_Results_Summary": ("nema_lite",),
    "02_NeMA_LC_Memory_Dynamics": ("nema_lc",),
    "04_Memory_Architectures": ("copy", "associative_recall"),
}
"""Notebook → the experiments that it reads: it is executed where a preset has them all."""

PAPER = ("nema_lite", "nema_lc")
"""The experiments that the paper cannot do without: it is typeset where a preset has them all."""

DYNAMICS = (
    "learning_curves",
    "write_positions",
    "training_steps",
    "lifecycle",
    "within_sequence",
    "generalisation",
    "said",
    "weightings",
)
"""Tables of each experiment below ``results/`` from which figures are drawn."""

_TABLES = (
    "claims.tex",
    "summary_final_epoch.tex",
    "comparison.csv",
    "comparison.tex",
    "models.csv",
    "models.tex",
    "lifecycle.csv",
    "lifecycle.tex",
    "ablations.tex",
    "generalisation.csv",
    "generalisation.tex",
    "parameters.tex",
)


def figures_of(experiment: str) -> tuple[str, ...]:
    """The figures of an experiment, in order.

    >>> figures_of("nema_lc_lra"), figures_of("somebody_elses")
    (('baseline_vs_memory', 'training_curves'), ())
    """
    return FIGURES.get(experiment, ())


def notebooks_of(experiments: Iterable[str]) -> tuple[str, ...]:
    """The notebooks that a preset with these experiments has.

    >>> notebooks_of(["nema_lite", "nema_lc_lra"])
    ('01_NeMA_Lite_Results_Summary',)
    """
    known = set(experiments)
    return tuple(name for name, needed in NOTEBOOKS.items() if known.issuperset(needed))


def tables_of(sources: Iterable[str]) -> tuple[str, ...]:
    """The rendered tables of a preset whose experiments are of these sources; each source has its claims apart too.

    >>> [name for name in tables_of(["001", "000", "001"]) if name.startswith("claims")]
    ['claims.tex', 'claims_000.tex', 'claims_001.tex']
    """
    return (*_TABLES, *(f"claims_{source}.tex" for source in sorted(set(sources))))
