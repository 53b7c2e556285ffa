"""Tiny presets for tests of training and of the command line: selective writing, lifecycles, sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from palimpsest.foundation.sections import merge
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_params

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


LIFECYCLE = {
    **{key: value for key, value in SIZES.items() if key != "gate_hidden"},
    "use_memory": True,
    "num_slots": 4,
    "budget": 2,
    "controller_hidden": 8,
}
CHUNKED = {
    **LIFECYCLE,
    "memory": "episodic",
    "chunk": 2,
    "order": "write_read",
    "allocator": "requested",
    "straight_through": True,
    "losses": "probabilities",
    "read": "attention",
    "utilisation_cap": 1.0,
    "write_bias": 1.0,
    "exploration_steps": 6,
}
ENTRIES = {"num_train": 50, "num_validation": 20, "num_test": 20}
"""Beside batches of 16: the last batch of every split is smaller."""


def lifecycle_content(**training: Any) -> dict[str, Any]:
    """Two experiments of both tracks as plain values: persistent as published, in chunks as repaired."""
    presence = {"sequence_length": 16, "vocabulary": 9, "key": 3, **ENTRIES}
    stream = {"num_pairs": 7, "num_keys": 4, "num_tagged": 2, "num_values": 3, **ENTRIES}
    training = {"num_epochs": 3, "batch_size": 16, "learning_rate": 0.01, **training}
    ablations = {"nema_lc": {"model": "nema_lc", "axes": {"ablation": ["none", "forget"]}}}
    memories = {"nema_lc": {"model": "nema_lc", "axes": {"use_memory": [False, True]}}}

    def track(task: str, config: dict[str, Any], shared: dict[str, Any], grids: dict[str, Any]) -> dict[str, Any]:
        return {
            "task": {"name": task, "seed": 1, "config": config},
            "training": training,
            "shared": shared,
            "grids": {**grids, "fifo": {"model": "fifo", "config": {"use_memory": True}}},
        }

    toy = {
        "published": track("key_presence", presence, LIFECYCLE, ablations),
        "repaired": track("key_value_stream", stream, CHUNKED, ablations),
    }
    last = {**presence, "negatives": "without", "cls": "last"}
    without = [{key: value for key, value in shared.items() if key != "use_memory"} for shared in (LIFECYCLE, CHUNKED)]
    lra = {
        "published": track("key_presence", presence, without[0], memories),
        "repaired": track("key_presence", last, without[1], memories),
    }
    return {
        "preset": "smoke",
        "seeds": [0, 1],
        "trace_examples": 4,
        "experiments": {
            "nema_lc": {"source": "001", "title": "lifecycle", "tracks": toy},
            "nema_lc_lra": {"source": "001", "title": "longer", "tracks": lra},
        },
    }


def write_lifecycle(directory: Path, **training: Any) -> Path:
    """The preset of memories with a lifecycle as a file."""
    path = directory / "lifecycle.yaml"
    path.write_text(yaml.safe_dump(lifecycle_content(**training)))
    return path


def read_lifecycle(directory: Path, **training: Any) -> Params:
    """The preset of memories with a lifecycle, read."""
    return read_params(write_lifecycle(directory, **training))


COPIED = {
    "bits": 4,
    "max_length": 4,
    "test_lengths": [2, 4, 6],
    "block": 8,
    "curriculum_share": 0.5,
    "num_train": 96,
    "num_validation": 13,
    "num_test": 12,
}
"""A stream of twelve blocks; 9 steps in training and 13 in the test."""
RECALLED = {
    "vocabulary": 12,
    "train_settings": [[8, 1], [12, 2]],
    "test_settings": [[8, 1], [16, 2]],
    "block": 8,
    "num_train": 48,
    "num_validation": 8,
    "num_test": 8,
}
SEQUENCES = {"hidden": 6, "num_slots": 5, "slot_dim": 4, "num_read_heads": 2, "width": 8, "num_heads": 2}


def sequence_content(**training: Any) -> dict[str, Any]:
    """Two experiments as plain values: bits that are copied, and classes that are recalled."""
    rmsprop = {"optimiser": "rmsprop", "alpha": 0.95, "momentum": 0.9, "clip_value": 10.0}
    training = {"num_epochs": 3, "batch_size": 8, "order": "stream", "learning_rate": 0.003, **rmsprop, **training}
    grids = {model: {"model": model} for model in ("lstm", "ntm", "dnc", "causal_transformer")}

    def experiment(task: str, config: dict[str, Any]) -> dict[str, Any]:
        track = {
            "task": {"name": task, "seed": 1, "config": dict(config)},
            "training": training,
            "shared": SEQUENCES,
            "grids": grids,
        }
        return {"source": "004", "title": task, "tracks": {"repaired": track}}

    return {
        "preset": "smoke",
        "seeds": [0, 1],
        "trace_examples": 4,
        "experiments": {"copy": experiment("copy", COPIED), "mqar": experiment("mqar", RECALLED)},
    }


def read_sequences(directory: Path, **training: Any) -> Params:
    """The preset of sequences, read."""
    path = directory / "sequences.yaml"
    path.write_text(yaml.safe_dump(sequence_content(**training)))
    return read_params(path)
