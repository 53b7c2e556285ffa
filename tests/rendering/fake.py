"""Made-up products of the right shape: smooth where the repaired track should be, degenerate where the published is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from palimpsest import plan
from palimpsest.analysis import statistics
from palimpsest.analysis.frames import axes_of, tidy
from palimpsest.config import Params
from palimpsest.files import write_json, write_text

CEILING = {"published": 0.195, "repaired": 1.0}
CHANCE = 0.1
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
EPOCHS, TIME, EXAMPLES = 4, 16, 3200
WRITES = {"write_all": 1.0, "write_none": 0.0, "oracle_writer": 1 / 64}
WITHOUT_MEMORY = {"no_memory": False, "window_only": False, "full_attention": True}


def params(seeds: tuple[int, ...] = (0, 1, 2), lambdas: tuple[float, ...] = (0, 0.01, 0.1, 1)) -> Params:
    """A preset with both tracks, all baselines and a small sweep."""
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
    return Params.model_validate(
        {
            "preset": "smoke",
            "seeds": seeds,
            "experiments": {
                "nema_lite": {
                    "source": "000",
                    "title": "NeMA-Lite: learned selective writing",
                    "tracks": {
                        "published": track("none", [0, 0.05, 0.1, 0.2], {}),
                        "repaired": track("flag", list(lambdas), windowed),
                    },
                }
            },
        }
    )


def _metrics(cell: plan.Cell, noise: np.random.Generator) -> dict[str, float]:
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
        "at_chance": metrics["test_accuracy_on"] < 0.116,
    }
    return ";".join(name for name, value in found.items() if value)


def runs(preset: Params, diverged: bool = True) -> pd.DataFrame:
    """``runs.csv``; one run of the repaired track has diverged unless told otherwise."""
    cells = plan.cells(preset)
    axes = sorted({axis for cell in cells for axis in cell.values})
    rows = []
    for cell in cells:
        for seed in cell.seeds:
            noise = np.random.default_rng([seed, *cell.base.encode()])
            metrics, flags, status = _metrics(cell, noise), "", "completed"
            flags = _flags(metrics, cell)
            last = (cell.track, cell.model, seed) == ("repaired", "write_all", preset.seeds[-1])
            if diverged and last:
                metrics, flags, status = dict.fromkeys(METRICS, np.nan), "not_finite", "diverged"
            rows.append(
                {"experiment": cell.experiment, "track": cell.track, "model": cell.model}
                | {axis: float(cell.values[axis]) if axis in cell.values else np.nan for axis in axes}
                | {"seed": seed, "status": status, "parameters": 23456, "epochs": EPOCHS, "steps": 400}
                | {"chance": CHANCE, "ceiling": CEILING[cell.track], "flags": flags}
                | metrics
            )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """``summary_final_epoch.csv`` of a table of runs."""
    return statistics.summarise(table, axes_of(table), 0.95)


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
        parts.append(part)
    return pd.concat(parts).sort_values([*keys, "epoch"]).reset_index(drop=True)


def write_positions(table: pd.DataFrame) -> pd.DataFrame:
    """``write_positions.csv``: the gate opens at the asked token and, when writing is cheap, elsewhere."""
    columns = list(table.columns)
    keys = columns[: columns.index("seed") + 1]
    with_memory = table[~table["model"].isin(list(WITHOUT_MEMORY))]
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
    ],
    columns=["claim", "track", "verdict", "estimate", "low", "high", "n", "unit", "reason"],
)


def _csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, tidy(table).to_csv(index=False, lineterminator="\n"))


def card(track: str) -> dict[str, Any]:
    """The card of a data set."""
    return {
        "task": "delayed_qa",
        "seed": 0,
        "chance": CHANCE,
        "ceiling": CEILING[track],
        "ceiling_simulated": {"accuracy": CEILING[track], "examples": 50000, "standard_error": 0.0018},
        "config": {"sequence_length": TIME},
        "interface": {"sequence_length": TIME, "num_tokens": 21, "num_classes": 10, "cls_position": 15},
        "examples": {"train": EXAMPLES, "validation": 1000, "test": 1000},
        "sha256": "0" * 64,
    }


def write(root: Path, preset: Params, diverged: bool = True) -> None:
    """Write every product that rendering reads."""
    table = runs(preset, diverged)
    _csv(root / "tables/runs.csv", table)
    _csv(root / "tables/summary_final_epoch.csv", summary(table))
    _csv(root / "tables/claims.csv", CLAIMS)
    for name in preset.experiments:
        _csv(root / f"results/{name}/learning_curves.csv", learning_curves(table))
        _csv(root / f"results/{name}/write_positions.csv", write_positions(table))
        for track in preset.experiments[name].tracks:
            write_json(root / f"data/{name}/track={track}/card.json", card(track))
