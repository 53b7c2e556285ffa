"""A preset of two tiny packs, for tests of training and of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from palimpsest.config import Params, merge, read_params

PROJECT = Path(__file__).parents[2]
SIZES = {"width": 8, "num_heads": 2, "num_layers": 1, "feedforward": 8, "gate_hidden": 8}
TASK = {
    "sequence_length": 16,
    "num_digits": 10,
    "question": "flag",
    "num_train": 48,
    "num_validation": 24,
    "num_test": 24,
}


def content(**changes: Any) -> dict[str, Any]:
    """The preset as plain values; ``changes`` are merged into the only track."""
    track = {
        "task": {"name": "delayed_qa", "seed": 1, "config": TASK},
        "training": {"num_epochs": 3, "batch_size": 16, "learning_rate": 0.01},
        "shared": {
            **SIZES,
            "dropout": 0.1,
            "memory": "per_example",
            "straight_through": True,
            "read": "sigmoid",
            "segment": 4,
            "write_context": 1,
            "capacity": 16,
        },
        "grids": {
            "sweep": {"model": "nema_lite", "axes": {"mem_lambda": [0, 0.1], "write_threshold": [0.5]}},
            "no_memory": {"model": "no_memory"},
        },
    }
    experiment = {"source": "000", "title": "tiny", "tracks": {"repaired": merge(track, changes)}}
    return {"preset": "smoke", "seeds": [0, 1, 2], "trace_examples": 4, "experiments": {"tiny": experiment}}


def write(directory: Path, **changes: Any) -> Path:
    """The preset as a file."""
    path = directory / "params.yaml"
    path.write_text(yaml.safe_dump(content(**changes)))
    return path


def read(directory: Path, **changes: Any) -> Params:
    """The preset, read."""
    return read_params(write(directory, **changes))
