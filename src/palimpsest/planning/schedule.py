"""What Snakemake needs to know about a preset, resolved once and kept: a start that changes nothing needs no torch."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import digest, read_json, write_json
from palimpsest.planning import plan
from palimpsest.planning.parameters import Params
from palimpsest.planning.plan import Cell, Pack, Run
from palimpsest.planning.provenance import source_digest

PACKS_VARIABLE = "PALIMPSEST_PACKS"
"""Names, to the processes that Snakemake starts elsewhere, the file with the division into packs."""
BASE_MB = 600
"""Memory of a training process before its first tensor, in MB: interpreter, torch, the data set."""


@dataclass(frozen=True)
class Kind:
    """What Snakemake compares and asks for about the runs of one cell."""

    values: str
    """What the runs are, as sorted JSON, but for what stands in their paths: cell and seed."""
    code: str
    """Fingerprint of the code that trains them."""
    measuring_values: str
    """What their measurement depends on besides, as sorted JSON."""
    measuring_code: str
    """Fingerprint of the code that measures them."""
    largest: int
    """Runs that a pack holds at most."""
    megabytes: float
    """Memory that one run takes, in MB."""


@dataclass(frozen=True)
class Data:
    """What Snakemake compares about one data set."""

    values: str
    code: str


@dataclass(frozen=True)
class Schedule:
    """A preset, resolved and checked; kinds by the directory of the cell, data sets by their directory."""

    kinds: dict[str, Kind]
    data: dict[str, Data]

    def packs(self, params: Params, is_there: Callable[[Run], bool]) -> list[Pack]:
        """The runs of the preset in packs; see :func:`palimpsest.planning.plan.packs`."""
        return plan.packs(params, lambda cell: self.kind(cell).largest, is_there)

    def kind(self, cell: Cell) -> Kind:
        """What is compared about the runs of a cell."""
        return self.kinds[cell.base]

    def memory_mb(self, pack: Pack) -> int:
        """Memory that training a pack takes, in MB, with a quarter to spare."""
        return self.measuring_mb(pack.first.base, len(pack.runs))

    def measuring_mb(self, base: str, runs: int) -> int:
        """Memory that measuring runs of a cell takes at most, in MB, with a quarter to spare: that of training them.

        Args:
            base: directory of the cell, below the product directory.
            runs: how many are measured together.
        """
        return round(1.25 * (BASE_MB + runs * self.kinds[base].megabytes))


def read(params: Params, file: Path | str, folder: Path) -> Schedule:
    """Resolve and check a preset, or recall how it was resolved: the same preset and code resolve alike.

    Args:
        params: the preset.
        file: where it came from, for messages.
        folder: where schedules are kept, nobody's product.

    Raises:
        ParameterError: file, key, value and what is allowed.
    """
    path = folder / f"schedule-{digest([params.model_dump_json(), source_digest()])[:24]}.json"  # phases have an order
    if path.exists():
        content = read_json(path)
        return Schedule(
            {base: Kind(**kind) for base, kind in content["kinds"].items()},
            {track: Data(**data) for track, data in content["data"].items()},
        )
    sizes = folder / "sizes.json"
    schedule, counted = _resolve(params, file, read_json(sizes) if sizes.exists() else {})
    write_json(sizes, counted)
    for stale in folder.glob("schedule-*.json"):
        stale.unlink(missing_ok=True)
    write_json(path, asdict(schedule))
    return schedule


def _resolve(params: Params, file: Path | str, known: dict[str, int]) -> tuple[Schedule, dict[str, int]]:
    """The schedule, and how many bytes a run takes, by structure and code; these take longest, and some are known."""
    from palimpsest import models
    from palimpsest.planning import footprint, phases, specs
    from palimpsest.planning.provenance import code_of, data_code, fingerprint, measuring_code_of

    code, measuring = functools.cache(code_of), functools.cache(measuring_code_of)
    counting = fingerprint("palimpsest.planning.footprint")
    sizes: dict[str, int] = {}
    kinds, data = {}, {}
    for base, runs in specs.check(params, file).items():
        parts = (runs[0].model, runs[0].task["name"], *models.chosen_modules(runs[0].model, runs[0].config))
        depends_on = code(*parts, runs[0].method_module)
        alike = digest([specs.structure(runs[0]), depends_on, counting])
        if alike not in sizes:
            sizes[alike] = known[alike] if alike in known else footprint.bytes_per_run(runs[0])
        kinds[base] = Kind(
            _plain(_beside_the_path(runs[0])),
            depends_on,
            _plain({"trace_examples": params.trace_examples}),
            measuring(*parts),
            footprint.runs_per_pack(sizes[alike], params.packing),
            sizes[alike] / 2**20,
        )
    for experiment, track_name, name in plan.data_sets(params):
        track = params.experiments[experiment].tracks[track_name]  # type: ignore[index]
        task = phases.task_of(track, name)
        config = phases.checked_task(track, name, file, f"experiments.{experiment}.tracks.{track_name}")
        values = _plain({"name": task.name, "seed": task.seed, "config": config.model_dump(mode="json")})
        data[str(plan.data_directory(experiment, track_name, name))] = Data(values, data_code(task.name))
    return Schedule(kinds, data), sizes


def _beside_the_path(spec: Any) -> dict[str, Any]:
    """A run's specification without what its path holds, so that it does not depend on who shares its pack."""
    from palimpsest.planning import specs

    return specs.without(spec.model_dump(mode="json", exclude={"seed", "cell"}), spec.cell)


def _plain(value: Any) -> str:
    """Parameters as sorted JSON: Snakemake compares them as text."""
    return json.dumps(value, sort_keys=True)


def packs_for_children(packs: list[Pack], folder: Path) -> None:
    """Store a division into packs for the processes that Snakemake starts on other machines.

    They find the file by an environment variable. By then other runs are there than now: were they to divide anew, they
    would come to other packs.
    """
    content = {pack.name: [str(run.directory) for run in pack.runs] for pack in packs}
    path = folder / f"packs-{digest(content)[:24]}.json"
    if not path.exists():
        write_json(path, content)
    os.environ[PACKS_VARIABLE] = str(path)


def packs_from_parent(params: Params) -> list[Pack]:
    """The division that :func:`packs_for_children` kept.

    Raises:
        DataError: the variable is not set, or the file is missing or of another preset.
    """
    if PACKS_VARIABLE not in os.environ:
        raise DataError(f"{PACKS_VARIABLE}: not set; allowed: an executor that hands the environment on, as Slurm does")
    path = Path(os.environ[PACKS_VARIABLE])
    runs = {str(run.directory): run for cell in plan.cells(params) for run in plan.runs_of(cell)}
    try:
        return [Pack(name, tuple(runs[directory] for directory in found)) for name, found in read_json(path).items()]
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]!r}: no run of preset {params.preset!r}") from None
