"""A pack of perceptrons on a short stream of permuted digits, for tests of methods."""

from __future__ import annotations

from typing import Any

from palimpsest.planning.parameters import Params
from palimpsest.planning.specs import check
from palimpsest.tasks import Splits
from palimpsest.training import loop
from palimpsest.training.pack import Pack, build_pack

SIZES = {"num_train": 32, "num_validation": 8, "num_test": 8}


def quiet(epoch: int, metrics: dict[str, Any]) -> None:
    """Report nothing."""


def built(method: dict[str, Any], *, seeds: tuple[int, ...] = (0, 1), phases: int = 3) -> tuple[Pack, list[Splits]]:
    """A pack before its first step, its method's state initialised, and the data of each phase."""
    track = {
        "task": {"name": "permuted_pixels", "seed": 1, "config": SIZES},
        "data": {f"p{number}": {"config": {"permutation": number}} for number in range(1, phases)},
        "training": {"num_epochs": 2, "batch_size": 8, "learning_rate": 0.003},
        "phases": {f"phase_{number}": {"data": f"p{number}" if number else None} for number in range(phases)},
        "method": method,
        "grids": {"all": {"model": "mlp", "config": {"tokens": "levels", "hidden": 6}}},
    }
    experiment = {"title": "Stream", "source": "000", "tracks": {"repaired": track}}
    content = {"preset": "smoke", "seeds": list(seeds), "experiments": {"stream": experiment}}
    (specs,) = check(Params.model_validate(content)).values()
    pack = build_pack(specs)
    task = type(pack.task.Config(**SIZES))
    data = [task(permutation=number, **SIZES).build(1) for number in range(phases)]
    pack.method_state = pack.method.initial_state(pack, data)
    return pack, data


def through_phase(pack: Pack, data: list[Splits]) -> None:
    """Train one phase to its end."""
    for _ in range(pack.training.num_epochs):
        loop.advance(pack, data, quiet)
