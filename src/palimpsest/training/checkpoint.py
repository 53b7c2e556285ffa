"""Checkpoints of the packs of a job: enough to continue after a kill and end with the bytes of an undisturbed run.

All randomness is a function of (seed, epoch, step), so that the state of a pack is all that a checkpoint has to hold:
parameters, optimiser, memory and method, and what has been measured. Runs that ended early are packs of their own and
stay in the checkpoint until the last run has ended. A checkpoint belongs to the specifications of its runs and to one
version of the code; any other ignores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from palimpsest.foundation import tree
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import digest
from palimpsest.foundation.tensors import read_tensors, write_tensors
from palimpsest.planning.specs import RunSpec
from palimpsest.tasks import Splits
from palimpsest.training.pack import Log, Pack, build_pack


def save(path: Path, packs: Sequence[Pack], code: str) -> None:
    """Write a checkpoint after an epoch; whole or not at all.

    Args:
        path: of the file.
        packs: all packs that the runs of a job are divided into, between two epochs.
        code: fingerprint of the code that trains.
    """
    tensors: dict[str, Tensor] = {}
    for number, pack in enumerate(packs):
        tensors |= {f"{number}.{name}": value for name, value in _content(pack).items()}
    runs = dict(sorted((place, spec) for pack in packs for place, spec in zip(pack.places, pack.specs, strict=True)))
    tensors["owner"] = _text(owner(list(runs.values()), code))
    write_tensors(path, tensors)


def _content(pack: Pack) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in pack.model.state_dict().items()}
    tensors |= {f"optimiser.{name}": value for name, value in pack.optimiser.state().items()}
    tensors |= tree.stored(pack.state, "state") | tree.stored(pack.method_state, "method")
    tensors |= _table("history", [{name: value[None] for name, value in epoch.items()} for epoch in pack.history])
    tensors |= _table("log", pack.log)
    if pack.matrix:
        tensors |= _table("matrix", [{name: value[None] for name, value in row.items()} for row in pack.matrix])
    counters = {"phase": pack.phase, "steps": pack.steps, "optimiser.steps": pack.optimiser.steps}
    tensors |= {name: torch.tensor(value) for name, value in counters.items()}
    return tensors | {name: torch.tensor(getattr(pack, name), dtype=torch.int64) for name in ("places", "ended")}


def owner(runs: Sequence[RunSpec], code: str) -> str:
    """Return what a checkpoint belongs to, hashed: the specifications of its runs, in order, and the code."""
    return digest({"specs": [spec.model_dump(mode="json") for spec in runs], "code": code})


def restore(path: Path, runs: Sequence[RunSpec], data: Sequence[Splits], code: str) -> list[Pack] | None:
    """Build packs and bring them to where a checkpoint was taken.

    Args:
        path: of the file.
        runs: specifications of the job's runs, in order.
        data: the data set of each phase.
        code: fingerprint of the code that trains.

    Returns:
        The packs that the runs were divided into; ``None`` if the checkpoint belongs to other runs or other code.

    Raises:
        DataError: the file is corrupt.
    """
    tensors = read_tensors(path)
    try:
        if _words(tensors["owner"]) != [owner(runs, code)]:
            return None
        numbers = sorted({int(name.partition(".")[0]) for name in tensors if name != "owner"})
        found = []
        for number in numbers:
            start = f"{number}."
            own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
            found.append(_restored(own, runs, data))
        if sorted(place for pack in found for place in pack.places) != list(range(len(runs))):
            raise ValueError("not every run is there once")
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"{path}: corrupt: {error}; delete it to train from the start") from None
    return found


def _restored(tensors: dict[str, Tensor], runs: Sequence[RunSpec], data: Sequence[Splits]) -> Pack:
    """Undo :func:`_content`."""
    places = tensors["places"].tolist()
    pack = build_pack([runs[place] for place in places])
    pack.places, pack.ended = places, tensors["ended"].tolist()
    pack.start_phase(int(tensors["phase"]))
    pack.steps = int(tensors["steps"])
    state = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    pack.model.load_state_dict(state)
    moments = {name: tensors[f"optimiser.{name}"] for name in pack.optimiser.state()}
    pack.optimiser.load_state(moments, int(tensors["optimiser.steps"]))
    if pack.keeps_state:
        pack.state = tree.restored(pack.state_of_one(data[0].train), tensors, "state")
    pack.method_state = tree.restored(pack.method.initial_state(pack, data), tensors, "method")
    pack.history = [{name: value[0] for name, value in epoch.items()} for epoch in _rows("history", tensors)]
    pack.log = _rows("log", tensors)
    if "matrix" in tensors:
        pack.matrix = [{name: value[0] for name, value in row.items()} for row in _rows("matrix", tensors)]
    return pack


def _table(name: str, rows: list[Log]) -> dict[str, Tensor]:
    """Rows of metrics, each (length of the row, R), as one tensor with the rows' lengths and the metrics' names.

    A row may lack metrics, as an epoch without a validation does: NaN stands in their place, and ``present`` is False.
    """
    metrics = sorted({metric for row in rows for metric in row})
    lacking = [torch.full_like(next(iter(row.values())), torch.nan) for row in rows]
    parts = [[row.get(metric, nan) for row, nan in zip(rows, lacking, strict=True)] for metric in metrics]
    return {
        name: torch.stack([torch.cat(part) for part in parts]),
        f"{name}.lengths": torch.tensor([len(nan) for nan in lacking]),
        f"{name}.present": torch.tensor([[metric in row for metric in metrics] for row in rows]),
        f"{name}.metrics": _text("\n".join(metrics)),
    }


def _rows(name: str, tensors: dict[str, Tensor]) -> list[Log]:
    """The rows that :func:`_table` stored."""
    metrics = _words(tensors[f"{name}.metrics"])
    parts = tensors[name].split(tensors[f"{name}.lengths"].tolist(), 1)
    return [
        {metric: values for metric, values, there in zip(metrics, part, present, strict=True) if there}
        for part, present in zip(parts, tensors[f"{name}.present"].tolist(), strict=True)
    ]


def _text(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _words(stored: Tensor) -> list[str]:
    return bytes(stored.tolist()).decode().split("\n")
