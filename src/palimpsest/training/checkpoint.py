"""Checkpoints of packs: enough to go on after a kill and end with the bytes of an undisturbed run.

All randomness is a function of (seed, epoch, step), so that parameters, the optimiser's state, the history and the log
of steps are all there is to keep. A checkpoint belongs to one specification and one version of the code: of another it
is no use.
"""

from __future__ import annotations

from pathlib import Path

import torch

from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import digest
from palimpsest.foundation.tensors import read_tensors, write_tensors
from palimpsest.training.loop import Pack


def save(path: Path, pack: Pack, code: str) -> None:
    """Write a checkpoint after an epoch; whole or not at all.

    Args:
        path: where.
        pack: between two epochs.
        code: fingerprint of the code that trains.
    """
    names = sorted(pack.history[0])
    history = torch.stack([torch.stack([epoch[name] for name in names]) for epoch in pack.history])
    tensors = {f"model.{name}": value for name, value in pack.model.state_dict().items()}
    tensors |= {f"optimiser.{name}": value for name, value in pack.optimiser.state().items()}
    tensors["history"] = history
    of_steps = sorted(pack.log[0])
    tensors["log"] = torch.stack([torch.cat([epoch[name] for epoch in pack.log]) for name in of_steps])
    tensors["steps_of_epochs"] = torch.tensor([len(epoch[of_steps[0]]) for epoch in pack.log])
    tensors["metrics_of_steps"] = torch.tensor(list("\n".join(of_steps).encode()), dtype=torch.uint8)
    tensors["optimiser.steps"] = torch.tensor(pack.optimiser.steps)
    tensors["metrics"] = torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)
    tensors["owner"] = torch.tensor(list(owner(pack, code).encode()), dtype=torch.uint8)
    write_tensors(path, tensors)


def owner(pack: Pack, code: str) -> str:
    """What a checkpoint belongs to: the specifications of its runs and the code."""
    return digest({"specs": [spec.model_dump(mode="json") for spec in pack.specs], "code": code})


def restore(path: Path, pack: Pack, code: str) -> bool:
    """Bring a pack to where its checkpoint was taken; False if the checkpoint belongs to something else.

    Raises:
        DataError: the file is corrupt.
    """
    tensors = read_tensors(path)
    try:
        if bytes(tensors["owner"].tolist()).decode() != owner(pack, code):
            return False
        state = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        pack.model.load_state_dict(state)
        moments = {name: tensors[f"optimiser.{name}"] for name in pack.optimiser.state()}
        pack.optimiser.load_state(moments, int(tensors["optimiser.steps"]))
        names = bytes(tensors["metrics"].tolist()).decode().split("\n")
        pack.history = [dict(zip(names, epoch, strict=True)) for epoch in tensors["history"]]
        of_steps = bytes(tensors["metrics_of_steps"].tolist()).decode().split("\n")
        epochs = tensors["log"].split(tensors["steps_of_epochs"].tolist(), 1)
        pack.log = [dict(zip(of_steps, epoch, strict=True)) for epoch in epochs]
    except (KeyError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: corrupt: {error}; delete it to train from the start") from None
    return True
