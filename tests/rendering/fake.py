"""Made-up products of the right shape: smooth where the repaired track should be, degenerate where the published is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.analysis import continual, sequences
from palimpsest.analysis import tables as stored
from palimpsest.analysis.accuracy_matrices import ACCURACY_MATRICES
from palimpsest.analysis.claim_file import read_claims
from palimpsest.analysis.dynamics import LIFECYCLE as LIFECYCLE_TABLE
from palimpsest.analysis.dynamics import WITHIN_SEQUENCE
from palimpsest.analysis.frames import axes_of, metrics_of, tidy
from palimpsest.analysis.runs import RUNS, run_frame
from palimpsest.analysis.summary import summarise
from palimpsest.analysis.survival import SURVIVAL
from palimpsest.foundation.files import write_json, write_text
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.rendering.frames import records, select

PROJECT = Path(__file__).parents[2]

LEVELS = {
    ("nema_lite", "published"): (0.1, 0.195),
    ("nema_lite", "repaired"): (0.1, 1.0),
    ("nema_lc", "published"): (0.5, 0.8),
    ("nema_lc", "repaired"): (0.125, 1.0),
    ("nema_lc_lra", "published"): (0.5, 0.568),
    ("nema_lc_lra", "repaired"): (0.5, 0.9),
    **{
        (name, track): (0.5, 1.0)
        for name in ("copy", "repeat_copy", "associative_recall", "priority_sort")
        for track in ("published", "repaired")
    },
    ("mqar", "repaired"): (1 / 32, 1.0),
    **{("in_phases", track): (0.1, 1.0) for track in ("published", "repaired")},
}
"""Chance and ceiling."""
FLOORS = {("nema_lite", "repaired"): 0.19, ("nema_lc", "repaired"): 0.28, ("mqar", "repaired"): 0.1}
"""Informed floors that are not those of tasks of bits, nor chance."""
METRICS = (
    "test_accuracy_off",
    "test_accuracy_on",
    "test_accuracy_random_writes",
    "test_accuracy_shuffled",
    "test_answer_written",
    "test_write_gate",
    "test_write_ratio",
    "train_write_ratio",
    "validation_accuracy_off",
    "validation_accuracy_on",
    "validation_write_ratio",
)
LIFECYCLE = (
    "test_age_steps",
    "test_answer_kept",
    "test_forget_rate",
    "test_loss_forget",
    "test_loss_stability",
    "test_loss_write",
    "test_operations_per_step",
    "test_over_budget",
    "test_update_rate",
    "test_utilisation",
)
EPOCHS, TIME, EXAMPLES = 4, 16, 3200
WINDOWS, CHUNKS, SLOTS = 12, 16, 6
"""Windows of training steps, memory steps of a sequence of the repaired track, slots."""
WRITES = {"write_all": 1.0, "write_none": 0.0, "oracle_writer": 1 / 64}
WITHOUT_MEMORY = {"no_memory": False, "window_only": False, "full_attention": True}


def floor(experiment: str, track: str) -> float:
    """The informed floor of a test split."""
    by_slice = floors_by_slice(experiment, track)
    chance = LEVELS[experiment, track][0]
    return sum(by_slice.values()) / len(by_slice) if by_slice else FLOORS.get((experiment, track), chance)


def floors_by_slice(experiment: str, track: str) -> dict[str, float]:
    """The informed floor by size: nearer to chance, the longer a sequence is."""
    chance = LEVELS[experiment, track][0]
    return {str(size): chance + 0.1 / (place + 1) for place, size in enumerate(SIZES.get(experiment, ()))}


def params(
    seeds: tuple[int, ...] = (0, 1, 2),
    lambdas: tuple[float, ...] = (0, 0.01, 0.1, 1),
    experiments: Sequence[str] = ("nema_lite", "nema_lc", "nema_lc_lra", "copy", "associative_recall"),
) -> Params:
    """A preset of some experiments with both tracks, all baselines and a small sweep."""
    size = {"sequence_length": TIME, "num_train": EXAMPLES, "num_validation": 1000, "num_test": 1000}
    baselines: dict[str, Any] = {
        "write_all": {"model": "write_all"},
        "write_none": {"model": "write_none"},
        "random_writer": {"model": "random_writer", "axes": {"write_probability": [0.1, 0.3]}},
        "oracle_writer": {"model": "oracle_writer"},
        "full_attention": {"model": "full_attention"},
    }

    def track(question: str, values: list[float], more: dict[str, Any]) -> dict[str, Any]:
        sweep = {"model": "nema_lite", "axes": {"mem_lambda": values, "write_threshold": [0.3, 0.5, 0.7]}}
        return {
            "task": {"name": "delayed_qa", "config": {**size, "question": question}},
            "training": {"num_epochs": EPOCHS, "batch_size": 32},
            "grids": {"sweep": sweep, **baselines, **more},
        }

    windowed = {"no_memory": {"model": "no_memory"}, "window_only": {"model": "window_only"}}
    lite = {
        "source": "000",
        "title": "NeMA-Lite: learned selective writing",
        "tracks": {
            "published": track("none", [0, 0.05, 0.1, 0.2], {}),
            "repaired": track("flag", list(lambdas), windowed),
        },
    }
    known = {"nema_lite": lite, **_lifecycle_experiments(), **_sequence_experiments(), "in_phases": _in_phases()}
    return Params.model_validate(
        {"preset": "smoke", "seeds": seeds, "experiments": {name: known[name] for name in experiments}}
    )


def _lifecycle_experiments() -> dict[str, Any]:
    """Two experiments of a source whose memory has operations; one axis of words each."""

    def track(task: str, grids: dict[str, Any]) -> dict[str, Any]:
        sizes = {"num_train": EXAMPLES, "num_validation": 1000, "num_test": 1000}
        return {
            "task": {"name": task, "config": sizes},
            "training": {"num_epochs": EPOCHS, "batch_size": 32},
            "grids": {name: {"model": name} for name in ("full_attention", "no_memory")} | grids,
        }

    ablations = {"ablations": {"model": "nema_lc", "axes": {"ablation": ["none", "write", "forget", "stability"]}}}
    switch = {"switch": {"model": "nema_lc", "axes": {"use_memory": [False, True]}}}
    policies = {name: {"model": name} for name in POLICIES}
    return {
        "nema_lc": {
            "source": "001",
            "title": "NeMA-LC: write, retain, update, forget",
            "tracks": {
                "published": {**track("key_presence", ablations), "shared": {"lambda_write": 0.01}},
                "repaired": {
                    **track("key_value_stream", {**ablations, **policies}),
                    "shared": {"lambda_write": 0.1},
                },
            },
        },
        "nema_lc_lra": {
            "source": "001",
            "title": "NeMA-LC: a long sequence",
            "tracks": {name: track("key_presence", switch) for name in ("published", "repaired")},
        },
    }


PHASES = ("first_words", "second", "third_words")


def _in_phases() -> dict[str, Any]:
    """An experiment of no manifest: three data sets of one task, one after the other; a baseline has one phase."""
    track = {
        "task": {"name": "delayed_qa", "config": {"num_train": EXAMPLES, "num_validation": 1000, "num_test": 1000}},
        "training": {"num_epochs": EPOCHS, "batch_size": 32},
        "data": {name: {"seed": seed} for seed, name in enumerate(PHASES, 2)},
        "grids": {
            "sweep": {"model": "nema_lite", "axes": {"mem_lambda": [0, 0.1], "write_threshold": [0.5]}},
            "write_all": {"model": "write_all"},
            "full_attention": {"model": "full_attention", "phases": {"only": {}}},
        },
        "phases": {name: {"data": name} for name in PHASES},
    }
    return {"source": "002", "title": "One after the other", "tracks": {"published": track, "repaired": track}}


def _accuracies_in_phases(preset: Params, cell: plan.Cell, seed: int) -> dict[str, float]:
    """The accuracy matrix of a run, and its measures: the memory forgets less; nothing of a run of one phase."""
    (spec,) = (one for one in specs.resolve(preset, cell) if one.seed == seed)
    if not continual.has_phases(spec):
        return {}
    noise, lost = np.random.default_rng([seed, 7, *cell.base.encode()]), 0.2 if cell.model == "nema_lite" else 0.4
    found = {
        f"{split}_accuracy_after_{after}_on_{on}": float(
            np.clip((0.95 - lost * (trained - phase) if trained >= phase else 0.1) + noise.normal(0, 0.02), 0, 1)
        )
        for split in continual.SPLITS
        for trained, after in enumerate(PHASES)
        for phase, on in enumerate(PHASES)
    }
    return found | continual.measures(found, spec, cell.directory(seed))


def accuracy_matrices(table: pd.DataFrame) -> pd.DataFrame:
    """``accuracy_matrices.csv`` of the runs of one experiment, from their metrics; empty without phases."""
    if "test_average_accuracy" not in table:
        table = table[:0]
    rows = [
        {key: run[key] for key in _keys(table)}
        | {"phases_trained": trained, "after": after, "steps": 400 * trained, "phase": phase, "on": on}
        | {"chance": run["chance"]}
        | {f"{split}_accuracy": run[f"{split}_accuracy_after_{after}_on_{on}"] for split in continual.SPLITS}
        for run in records(table)
        if run["status"] == "completed" and not pd.isna(run["test_average_accuracy"])
        for trained, after in enumerate(PHASES, 1)
        for phase, on in enumerate(PHASES, 1)
    ]
    return run_frame(rows, _keys(table)[3:-1], list(ACCURACY_MATRICES.middle))


SIZES: dict[str, tuple[int, ...]] = {
    "copy": (4, 8, 16, 32),
    "repeat_copy": (202, 404, 804),
    "associative_recall": (2, 4, 6, 8),
    "priority_sort": (6, 8),
    "mqar": (2, 4, 8),
}
"""Sizes of the test sequences of source 004, the last of which, but of priority sort, was not trained."""
MEMORIES = (
    *("cell", "dynamic", "associative", "least_recently_used", "attention"),
    *("sparse", "hierarchical", "adaptive", "gated"),
)
HEADS = {"ntm": (8, 1, 1), "dnc": (4, 2, 1), "memory_rnn": (4, 1, 1)}
"""Slots, heads that read, heads that write."""


def _sequence_experiments() -> dict[str, Any]:
    """The experiments of source 004: a stream of sequences, tested at several sizes."""
    sizes: dict[str, dict[str, Any]] = {
        "copy": {"max_length": 16, "test_lengths": SIZES["copy"]},
        "repeat_copy": {"max_length": 4, "max_repeats": 4, "test_sizes": [(2, 2), (4, 4), (8, 4)]},
        "associative_recall": {"test_items": SIZES["associative_recall"]},
        "priority_sort": {"min_vectors": 6, "test_vectors": SIZES["priority_sort"]},
        "mqar": {"test_settings": [(16, 2), (32, 4), (64, 8)]},
    }
    models = {
        "copy": ("ntm", "dnc"),
        "repeat_copy": ("ntm",),
        "associative_recall": ("ntm",),
        "priority_sort": ("ntm",),
        "mqar": ("memory_transformer",),
    }

    def track(name: str, published: bool) -> dict[str, Any]:
        grids: dict[str, Any] = {model: {"model": model} for model in (*models[name], "lstm", "causal_transformer")}
        if published:
            grids = {"ntm": {"model": "ntm", "config": {"softmax_over": "batch"}}}
            grids["no_defect"] = {"model": "ntm", "axes": {"softmax_over": ["slots"]}}
        if name == "mqar":
            grids["memories"] = {"model": "memory_rnn", "axes": {"memory": list(MEMORIES)}}
        splits = {"num_train": EXAMPLES, "num_validation": 1000, "num_test": 1000}
        return {
            "task": {"name": name, "config": {**sizes[name], **splits}},
            "training": {"num_epochs": EPOCHS, "batch_size": 32, "order": "stream"},
            "grids": grids,
        }

    return {
        name: {
            "source": "004",
            "title": f"Memory library: {name.replace('_', ' ')}",
            "tracks": {
                one: track(name, one == "published")
                for one in (("published", "repaired") if name == "copy" else ("repaired",))
            },
        }
        for name in sizes
    }


def _sequence_metrics(cell: plan.Cell, noise: np.random.Generator) -> dict[str, float]:
    """A memory generalises beyond the trained sizes, and an LSTM does not."""
    chance, _ = LEVELS[cell.experiment, cell.track]
    remembers = cell.model in HEADS
    found: dict[str, float] = {}
    for place, size in enumerate(SIZES[cell.experiment]):
        lost = (0.004 if remembers and cell.track == "repaired" else 0.15) * place
        accuracy = float(np.clip(1 - lost - abs(noise.normal(0, 0.003)), chance, 1))
        found |= {f"test_accuracy_at_{size}": accuracy, f"test_sequence_accuracy_at_{size}": accuracy**8}
        found |= {f"test_loss_at_{size}": 1 - accuracy}
    accuracy = float(np.mean([found[f"test_accuracy_at_{size}"] for size in SIZES[cell.experiment]]))
    found |= {name: accuracy for name in METRICS if "accuracy" in name}
    found |= {"test_sequence_accuracy": accuracy**8, "validation_sequence_accuracy": accuracy**8}
    if remembers:
        found |= {"test_slots_written": float(noise.uniform(0.85, 0.95)), "test_read_focus": 0.9}
        found |= dict.fromkeys(("test_accuracy_off", "test_accuracy_shuffled"), chance + 0.01)
    return found


def generalisation(preset: Params, table: pd.DataFrame) -> pd.DataFrame:
    """``generalisation.csv`` of the runs of one experiment."""
    return sequences.by_size(preset, table)


def _of_median(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A completed run of every cell of source 004."""
    known = table[table["experiment"].isin(list(SIZES)) & (table["status"] == "completed")]
    return records(known.drop_duplicates(["track", "model", *axes_of(table)], keep="last"))


STEPS, ASKED_FROM = 7, 4
"""Steps of the sequence that is shown, and the first one of them at which something is asked."""


def outputs(table: pd.DataFrame) -> pd.DataFrame:
    """``outputs.csv``: three vectors of two bits and a flag, then the same vectors as targets."""
    rows = []
    for run in _of_median(table):
        head = {key: run[key] for key in _keys(table) if not pd.isna(run[key])}
        head["slice"] = SIZES[run["experiment"]][-2]
        channels = 1 if run["experiment"] == "mqar" else 2
        for step in range(STEPS):
            for channel in range(channels):
                bit = float((step + channel) % 2) if step < ASKED_FROM else 0.0
                rows.append({**head, "line": "input", "step": step, "channel": channel, "value": bit})
                if run["experiment"] == "priority_sort" and channel == 0:
                    rows.append({**head, "line": "level", "step": step, "channel": 0, "value": step / 3 - 1})
                if step >= ASKED_FROM:
                    wanted = float((step - ASKED_FROM + channel) % 2)
                    output = wanted if channels == 1 else 0.1 + 0.8 * wanted
                    rows.append({**head, "line": "target", "step": step, "channel": channel, "value": wanted})
                    rows.append({**head, "line": "output", "step": step, "channel": channel, "value": output})
    return run_frame(rows, _keys(table)[3:-1], list(sequences.OUTPUTS.middle))


def weightings(table: pd.DataFrame) -> pd.DataFrame:
    """``weightings.csv``: slots are written in turn and read in the same order."""
    rows = []
    for run in _of_median(table):
        head = {key: run[key] for key in _keys(table) if not pd.isna(run[key])}
        head["slice"] = SIZES[run["experiment"]][-2]
        slots, reads, writes = HEADS.get(run["model"], (0, 0, 0))
        kinds = {"write": writes, "read": reads} if slots else {}
        if run["model"] == "dnc":
            kinds |= {"usage": 1, "link": 1}
        for kind, heads in kinds.items():
            for place in range(heads):
                for step in range(slots if kind == "link" else STEPS):
                    at = step % slots if kind == "write" else (step + place) % slots
                    weights = {f"slot_{slot:03d}": 0.9 if slot == at else 0.02 for slot in range(slots)}
                    rows.append({**head, "kind": kind, "head": place, "step": step, **weights})
    return run_frame(rows, _keys(table)[3:-1], list(sequences.WEIGHTINGS.middle))


POLICIES = {"fifo": 0.3, "lru": 0.33, "least_used": 0.3, "random_replacement": 0.35, "oracle_replacement": 0.97}
"""Accuracy on the repaired track."""


def _lifecycle_metrics(cell: plan.Cell, noise: np.random.Generator) -> dict[str, float]:
    """Each loss lowers its own rate; without a memory there is none."""
    chance, ceiling = LEVELS[cell.experiment, cell.track]
    repaired, with_memory = cell.track == "repaired", cell.model in {"nema_lc", *POLICIES}
    best = POLICIES.get(cell.model, 0.7) if repaired and cell.values.get("use_memory", with_memory) else chance + 0.02
    accuracy = float(np.clip(min(best, ceiling) + noise.normal(0, 0.02), 0, 1))
    accuracies = {name: accuracy for name in METRICS if "accuracy" in name}
    if not with_memory or cell.values.get("use_memory") is False:
        return accuracies
    ablated = cell.values.get("ablation")
    write = float(np.clip((0.9 if ablated == "write" else 0.5) + noise.normal(0, 0.03), 0, 1))
    forget = float(np.clip((0.12 if ablated == "forget" else 0.06) + noise.normal(0, 0.005), 0, 1))
    found = accuracies | {
        "test_accuracy_off": chance,
        "test_accuracy_shuffled": chance,
        "test_write_gate": write,
        "test_write_ratio": write,
        "train_write_ratio": write,
        "validation_write_ratio": write,
        "test_age_steps": 5 + noise.normal(0, 0.5),
        "test_forget_rate": forget,
        "test_operations_per_step": 2 + 10 * forget,
        "test_over_budget": 0.0,
        "test_update_rate": 0.1 + noise.normal(0, 0.01),
        "test_utilisation": float(np.clip(0.7 + noise.normal(0, 0.02), 0, 1)),
    }
    if cell.model == "nema_lc":
        churn = 0.2 if ablated == "stability" else 0.02
        found |= {
            "test_loss_write": write,
            "test_loss_forget": forget,
            "test_loss_stability": churn * noise.uniform(0.8, 1),
        }
    return found | ({"test_answer_kept": accuracy, "test_answer_written": 0.9} if repaired else {})


def _metrics(cell: plan.Cell, noise: np.random.Generator) -> dict[str, float]:
    if cell.experiment in SIZES:
        return dict.fromkeys((*LIFECYCLE, *METRICS), np.nan) | _sequence_metrics(cell, noise)
    if cell.experiment not in ("nema_lite", "in_phases"):
        return dict.fromkeys((*LIFECYCLE, *METRICS), np.nan) | _lifecycle_metrics(cell, noise)
    return dict.fromkeys(LIFECYCLE, np.nan) | _lite_metrics(cell, noise)


def _lite_metrics(cell: plan.Cell, noise: np.random.Generator) -> dict[str, float]:
    repaired = cell.track == "repaired"
    ratio, accuracy = _outcome(cell, noise)
    off = float(np.clip(0.1 + noise.normal(0, 0.01), 0, 1)) if repaired else accuracy
    if cell.model in WITHOUT_MEMORY:
        same = dict.fromkeys((name for name in METRICS if "accuracy" in name), accuracy)
        return {name: same.get(name, np.nan) for name in METRICS}
    return {
        "test_accuracy_off": off,
        "test_accuracy_on": accuracy,
        "test_accuracy_random_writes": float(np.clip(0.1 + 0.9 * ratio * repaired, 0, 1)) if repaired else accuracy,
        "test_accuracy_shuffled": off,
        "test_answer_written": accuracy,
        "test_write_gate": ratio,
        "test_write_ratio": ratio,
        "train_write_ratio": ratio,
        "validation_accuracy_off": off,
        "validation_accuracy_on": float(np.clip(accuracy + noise.normal(0, 0.003), 0, 1)),
        "validation_write_ratio": ratio,
    }


def _outcome(cell: plan.Cell, noise: np.random.Generator) -> tuple[float, float]:
    """Write ratio and test accuracy."""
    repaired = cell.track == "repaired"
    weak = float(np.clip((0.1 if repaired else 0.15) + noise.normal(0, 0.01), 0, 1))
    if cell.model in WITHOUT_MEMORY:
        return np.nan, 1.0 if repaired and WITHOUT_MEMORY[cell.model] else weak
    if cell.model != "nema_lite":
        ratio = WRITES.get(cell.model, float(cell.values.get("write_probability", 0)))
        share = 1.0 if cell.model == "oracle_writer" else ratio
        return ratio, 0.1 + 0.9 * share if repaired else weak
    weight, threshold = float(cell.values["mem_lambda"]), float(cell.values["write_threshold"])
    if not repaired:
        return (0.0 if weight else {0.3: 1.0, 0.5: float(noise.uniform(0.1, 0.8)), 0.7: 0.0}[threshold]), weak
    ratio = 0.01 + 0.6 / (1 + (weight / 0.01) ** 0.9) * (1.3 - 0.6 * threshold) * noise.uniform(0.85, 1.15)
    accuracy = 1.0 - abs(noise.normal(0, 0.002)) if weight < 1 else 0.7 + noise.normal(0, 0.1)
    return float(np.clip(ratio, 0, 1)), float(np.clip(accuracy, 0, 1))


def _flags(metrics: dict[str, float], cell: plan.Cell) -> str:
    ratio = metrics["test_write_ratio"]
    found = {
        "writes_nothing": ratio == 0,
        "writes_everything": ratio == 1,
        "memory_unused": cell.model not in WITHOUT_MEMORY
        and metrics["test_accuracy_on"] == metrics["test_accuracy_off"],
        "at_floor": metrics["test_accuracy_on"] < 0.116,
    }
    return ";".join(name for name, value in found.items() if value)


def runs(preset: Params, diverged: bool = True) -> pd.DataFrame:
    """The runs of all experiments; one run of the repaired track has diverged unless asked otherwise."""
    cells = plan.cells(preset)
    axes = sorted({axis for cell in cells for axis in cell.values})
    rows = []
    for cell in cells:
        for seed in cell.seeds:
            noise = np.random.default_rng([seed, *cell.base.encode()])
            metrics, flags, status = _metrics(cell, noise), "", "completed"
            metrics |= _accuracies_in_phases(preset, cell, seed) if cell.experiment == "in_phases" else {}
            flags = _flags(metrics, cell)
            last = (cell.track, cell.model, seed) == ("repaired", "write_all", preset.seeds[-1])
            if diverged and last:
                metrics, flags, status = dict.fromkeys(metrics, np.nan), "not_finite", "diverged"
            chance, ceiling = LEVELS[cell.experiment, cell.track]
            rows.append(
                {"experiment": cell.experiment, "track": cell.track, "model": cell.model, **cell.values}
                | {"seed": seed, "status": status, "parameters": 23456, "epochs": EPOCHS, "steps": 400}
                | {"chance": chance, "floor": floor(cell.experiment, cell.track), "ceiling": ceiling, "flags": flags}
                | {f"floor_at_{size}": value for size, value in floors_by_slice(cell.experiment, cell.track).items()}
                | metrics
            )
    return run_frame(rows, axes, list(RUNS.middle))


def of_experiment(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The runs of one experiment, with its own axes alone."""
    part = select(table, experiment=name).reset_index(drop=True)
    return part.drop(columns=[axis for axis in axes_of(part) if part[axis].isna().all()])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The cells of a table of runs."""
    return summarise(table, axes_of(table), 0.95)


def learning_curves(table: pd.DataFrame) -> pd.DataFrame:
    """``learning_curves.csv``: every run approaches its last value."""
    columns = list(table.columns)
    keys = columns[: columns.index("seed") + 1]
    parts = []
    for epoch in range(1, EPOCHS + 1):
        part = table[keys].assign(epoch=epoch)
        share = epoch / EPOCHS
        for metric, start in (("validation_accuracy_on", 0.1), ("validation_write_ratio", 1.0)):
            part[metric] = start + share * (table[metric] - start)
        if table["experiment"].isin(list(SIZES)).any():
            part["validation_sequence_accuracy"] = share * table["validation_sequence_accuracy"]
            part["train_loss"] = 0.7 - 0.6 * share * table["validation_accuracy_on"]
            part["examples_seen"] = float(EXAMPLES * epoch // EPOCHS)
        parts.append(part)
    return pd.concat(parts).sort_values([*keys, "epoch"]).reset_index(drop=True)


def write_positions(table: pd.DataFrame) -> pd.DataFrame:
    """``write_positions.csv``: the gate opens at the asked token and, when writing is cheap, elsewhere."""
    columns = list(table.columns)
    keys = columns[: columns.index("seed") + 1]
    with_memory = table[table["test_write_ratio"].notna()]
    parts = []
    for alignment, positions in (
        ("absolute", np.arange(TIME)),
        ("from_answer", np.arange(1 - TIME // 2, TIME - 1)),
    ):
        for position in positions:
            part = with_memory[keys].assign(alignment=alignment, position=position)
            ratio = with_memory["test_write_ratio"]
            peak = (with_memory["track"] == "repaired") & (alignment == "from_answer") & (position == 0)
            part["gate_mean"] = ratio.where(~peak, 0.98)
            parts.append(part.assign(write_mean=part["gate_mean"], n=128))
    return pd.concat(parts).sort_values([*keys, "alignment", "position"]).reset_index(drop=True)


def _keys(table: pd.DataFrame) -> list[str]:
    columns = list(table.columns)
    return columns[: columns.index("seed") + 1]


def training_steps(table: pd.DataFrame) -> pd.DataFrame:
    """``training_steps.csv``: every metric of a run starts at 1 and approaches its last value."""
    of_step = {
        name.removeprefix("test_").removesuffix("_on"): name
        for name in [*LIFECYCLE, "test_accuracy_on", "test_write_ratio"]
    }
    parts = []
    for window in range(1, WINDOWS + 1):
        part, share = table[_keys(table)].assign(step=100 * window), window / WINDOWS
        for name, metric in sorted(of_step.items()):
            part[name] = 1 + share * (table[metric] - 1)
        parts.append(part.assign(loss=3 - 2 * share * table["test_accuracy_on"], objective=3.1 - 2 * share))
    return pd.concat(parts).sort_values([*_keys(table), "step"]).reset_index(drop=True)


def _chunks(run: dict[str, Any]) -> int:
    """As published, a sequence is one memory step."""
    return CHUNKS if run["track"] == "repaired" else 1


def survival(table: pd.DataFrame) -> pd.DataFrame:
    """``survival.csv``: half of what is written is replaced after three steps, the rest runs on."""
    rows = [
        {key: run[key] for key in _keys(table)} | {"lives": 8, "running": 4, "steps": steps, "survival": share}
        for run in records(table)
        if run["status"] == "completed" and run["model"] in HEADS
        for steps, share in ((3, 0.5), (9, 0.5))
    ]
    return run_frame(rows, _keys(table)[3:-1], list(SURVIVAL.middle))


def within_sequence(table: pd.DataFrame) -> pd.DataFrame:
    """``within_sequence.csv``: a memory fills up."""
    rows = [
        {key: run[key] for key in _keys(table)}
        | {"step": step, "utilisation": run["test_utilisation"] * min(1, (step + 1) / SLOTS), "age_steps": step / 2}
        | {name: run[f"test_{name}"] for name in ("write_ratio", "update_rate", "forget_rate")}
        | {"n": 128}
        for run in records(table[table["test_operations_per_step"].notna()])
        for step in range(_chunks(run))
    ]
    return run_frame(rows, _keys(table)[3:-1], list(WITHIN_SEQUENCE.middle))


def lifecycle(table: pd.DataFrame) -> pd.DataFrame:
    """``lifecycle.csv``: of every first seed, slots that are written, kept, rewritten and left."""
    words = ("retain", "retain", "update", "retain", "forget", "write", "retain", "replace")
    with_operations = table[table["test_operations_per_step"].notna() & (table["seed"] == table["seed"].min())]
    rows = []
    for run in records(with_operations):
        for step in range(_chunks(run)):
            for slot in range(SLOTS):
                word = words[(3 * step + 5 * slot + len(run["model"])) % len(words)] if step > slot else "free"
                rows.append(
                    {key: run[key] for key in _keys(table)}
                    | {"example": 0, "answer_step": 9 if run["track"] == "repaired" else -1}
                    | {"step": step, "slot": slot, "operation": "write" if step == slot else word}
                )
    return run_frame(rows, _keys(table)[3:-1], list(LIFECYCLE_TABLE.middle))


CLAIMS = pd.DataFrame(
    [
        ("000-a", "published", "fails", 0.62, 0.55, 0.7, 3, "share of ceiling", "below the bound & nothing written"),
        ("000-a", "repaired", "holds", 0.99, 0.98, 1.0, 3, "share of ceiling", "above 0.95"),
        ("000-b", "published", "fails", -0.5, np.nan, np.nan, 3, "Spearman's rho", "no value of λ lies in between"),
        ("000-b", "repaired", "holds", -0.98, -1.0, -0.95, 3, "Spearman's rho", "smooth"),
        ("000-c", "published", "undecided", 0.5, -1.0, 2.0, 3, "points", "the interval holds 0"),
        ("000-c", "repaired", "undecided", 0.0, -0.1, 0.1, 3, "points", "the interval holds 0"),
        ("000-d", "published", "fails", 0.0, 0.0, 0.0, 3, "points", "on equals off"),
        ("000-d", "repaired", "holds", 89.0, 88.0, 90.0, 3, "points", "above 20"),
        ("000-e", "published", "untested", 0.0, -0.1, 0.1, 3, "points", "the memory is large"),
        ("000-e", "repaired", "untested", 0.0, -0.1, 0.1, 3, "points", "the memory is large"),
        *(
            (f"001-{letter}", track, verdict, 0.3, 0.1, 0.5, 3, "accuracy", f"this is what decided {letter}")
            for letter, verdict in zip("abcde", ("holds", "holds", "fails", "undecided", "holds"), strict=True)
            for track in ("published", "repaired")
        ),
        *(
            (f"002-{letter}", "repaired", verdict, 0.4, 0.2, 0.6, 10, "accuracy", f"this is what decided {letter}")
            for letter, verdict in zip("abcde", ("holds", "fails", "undecided", "undecided", "holds"), strict=True)
        ),
        *(
            (f"003-{letter}", "repaired", verdict, 0.3, 0.2, 0.4, 5, "exact match", f"this is what decided {letter}")
            for letter, verdict in zip("abc", ("fails", "holds", "undecided"), strict=True)
        ),
        *(
            (f"004-{letter}", track, verdict, 0.9, 0.8, 1.0, 3, "share of bits", f"this is what decided {letter}")
            for letter, verdict, tracks in (
                ("a", "holds", ("published", "repaired")),
                ("b", "undecided", ("repaired",)),
                ("c", "fails", ("repaired",)),
                ("d", "undecided", ("repaired",)),
                ("e", "fails", ("repaired",)),
                ("f", "holds", ("repaired",)),
                ("g", "undecided", ("repaired",)),
                ("h", "holds", ("repaired",)),
                ("i", "fails", ("repaired",)),
            )
            for track in tracks
        ),
    ],
    columns=["claim", "track", "verdict", "estimate", "low", "high", "n", "unit", "reason"],
)
CLAIMS = CLAIMS.assign(
    in_short=CLAIMS["reason"],
    test="the test",
    bound="at least 0.5",
    look=1,
    p=0.01,
    threshold=0.005,
    corrected_low=CLAIMS["low"],
    corrected_high=CLAIMS["high"],
    conditions="2 of 2 met",
    property="",
    uncorrected=CLAIMS["verdict"],
    half_of_seeds="undecided",
    same_seeds_choose=CLAIMS["verdict"],
)


def evidence(preset: Params) -> list[dict[str, Any]]:
    """``claims_evidence.json``: one test of each claim, and by how much each loss lowers its own rate."""
    stated = read_claims(PROJECT / "params/claims").claims
    columns = ["claim", "track", "test", "estimate", "low", "high", "n", "unit", "verdict"]
    tests = [
        {"experiment": stated[row["claim"]].experiment, "decides": True, "kind": "value", "cells": [], "runs": []} | row
        for row in records(CLAIMS[columns])
    ]
    return _reductions(preset) + tests


def _reductions(preset: Params) -> list[dict[str, Any]]:
    rates = {"write": "test_write_ratio", "forget": "test_forget_rate", "stability": "test_loss_stability"}
    found = []
    for track in ("published", "repaired"):
        for ablation, metric in rates.items():
            cells = [{"model": "nema_lc", "cell": {"ablation": value}} for value in ("none", ablation)]
            runs = [
                f"results/nema_lc/track={track}/model=nema_lc/ablation={value}/seed={seed}"
                for value in ("none", ablation)
                for seed in preset.seeds
            ]
            found.append(
                {"claim": "001-c", "track": track, "experiment": "nema_lc", "test": f"reduction of {metric}"}
                | {"decides": True}
                | {"kind": "reduction", "metric": metric, "unit": "share", "estimate": 0.44, "low": 0.4, "high": 0.48}
                | {"n": len(preset.seeds), "cells": cells, "runs": runs}
            )
    return found


def _csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, tidy(table).to_csv(index=False, lineterminator="\n"))


def card(experiment: str, track: str) -> dict[str, Any]:
    """The card of a data set."""
    chance, ceiling = LEVELS[experiment, track]
    return {
        "task": "delayed_qa",
        "seed": 0,
        "answers": 1000,
        "chance": chance,
        "floor": floor(experiment, track),
        "floors_by_slice": floors_by_slice(experiment, track),
        "floor_simulated": {"examples": 50000, "standard_error": 0.002},
        "ceiling": ceiling,
        "ceiling_simulated": {"accuracy": ceiling, "examples": 50000, "standard_error": 0.0018},
        "config": {"sequence_length": TIME},
        "interface": {"sequence_length": TIME, "num_tokens": 21, "num_outputs": 10, "cls_position": 15},
        "examples": {"train": EXAMPLES, "validation": 1000, "test": 1000},
        "sha256": "0" * 64,
    }


def write(root: Path, preset: Params, diverged: bool = True) -> None:
    """Write every product that rendering reads."""
    table = runs(preset, diverged)
    _csv(root / "tables/generalisation.csv", sequences.rates(generalisation(preset, table), 0.95))
    _csv(root / "tables/claims.csv", CLAIMS)
    write_json(root / "tables/claims_evidence.json", evidence(preset))
    for name in preset.experiments:
        part, folder = of_experiment(table, name), root / "results" / name
        narrow = part.drop(columns=[metric for metric in metrics_of(part) if part[metric].isna().all()])
        stored.write_frames(root, name, narrow, summary(narrow))
        _csv(folder / "learning_curves.csv", learning_curves(part))
        _csv(folder / "write_positions.csv", write_positions(part))
        _csv(folder / "training_steps.csv", training_steps(part))
        _csv(folder / "within_sequence.csv", within_sequence(part))
        _csv(folder / "lifecycle.csv", lifecycle(part))
        _csv(folder / "generalisation.csv", generalisation(preset, part))
        _csv(folder / "outputs.csv", outputs(part))
        _csv(folder / "weightings.csv", weightings(part))
        _csv(folder / "survival.csv", survival(part))
        _csv(folder / "accuracy_matrices.csv", accuracy_matrices(part))
        for track in preset.experiments[name].tracks:
            write_json(root / f"data/{name}/track={track}/card.json", card(name, track))
    stored.write_index(preset, root)
