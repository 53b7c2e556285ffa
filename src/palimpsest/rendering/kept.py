"""What the products of an experiment were made of, and which experiments a build may leave as they are.

Tables, figures and notebooks stand in git, runs do not. Who adds a model or a source of their own need not train the
experiments of all others again: with ``keep: true`` a build leaves an experiment alone if :data:`RECORD` says that its
products were made with these parameters by this code, and if they are still those bytes. Claims, the common tables and
the paper are then made from the tables that are there. Claims are decided within a source, so that one source's
verdicts do not depend on another's runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest import sources
from palimpsest.foundation.files import digest, read_json, sha256, write_json
from palimpsest.planning import plan
from palimpsest.planning.parameters import Params
from palimpsest.planning.provenance import EXEMPT, fingerprint
from palimpsest.planning.schedule import Schedule
from palimpsest.rendering import kinds

RECORD = Path("tables/made_of.json")
NOT_OF_RESULTS = {"preset", "workdir", "packing", "omit", "keep"}
"""Parameters of a preset that change no product of an experiment."""
_DRAWING = [
    "palimpsest.rendering.figures",
    "palimpsest.sources.shared.defaults",
    *(f"palimpsest.rendering.kinds.{name}" for name in kinds.names()),
]
_TABLES = ["palimpsest.analysis.tables", "palimpsest.analysis.experiment_tables"]
_NOTEBOOKS = ["palimpsest.rendering.notebook", "palimpsest.rendering.frames", *_TABLES, "palimpsest.analysis.claims"]


class Kept(NamedTuple):
    """What a build leaves as it is."""

    experiments: frozenset[str]
    notebooks: frozenset[str]


NOTHING = Kept(frozenset(), frozenset())


def made_of(params: Params, schedule: Schedule, project: Path) -> dict[str, dict[str, str]]:
    """Hash of all that decides the products of each experiment, and those of each notebook.

    Of an experiment: its parameters, what its runs and data sets resolve to, the code that trains, measures, tabulates
    and draws, its source's manifest, and the packages of the lock file. Of a notebook: its experiments, its source, and
    the code that it calls.

    Args:
        params: the preset.
        schedule: of this preset.
        project: folder that holds the lock file and the notebooks' sources.
    """
    common = [sha256(project / "requirements.lock"), _code(*_DRAWING, *_TABLES)]
    experiments = {
        name: digest([common, _manifest_of(name), _values(params, name), _resolved(params, schedule, name)])
        for name in params.experiments
    }
    notebooks = {
        one.name: digest(
            [
                sha256(project / f"notebooks/source/{source}/{one.name}.ipynb"),
                _code(*_NOTEBOOKS),
                [experiments[name] for name in one.experiments],
            ]
        )
        for source, found in sources.notebooks_of(params.experiments).items()
        for one in found
    }
    return {"experiments": experiments, "notebooks": notebooks}


def _code(*modules: str) -> str:
    """Fingerprint of modules and of what they import, without those whose results are compared themselves.

    Modules that collect and check manifests are left out, too: the manifest itself is compared.
    """
    return fingerprint(*modules, exempt={*EXEMPT, "sources", "sources.shared.checks"})


def _manifest_of(experiment: str) -> str:
    """Fingerprint of the manifest that has an experiment; empty if none has it."""
    for name, source in sources.manifests().items():
        if experiment in source.experiment_names:
            return _code(f"palimpsest.sources.{name}")
    return ""


def _values(params: Params, experiment: str) -> Any:
    values = params.model_dump(mode="json", exclude=NOT_OF_RESULTS)
    return {**values, "experiments": values["experiments"][experiment]}


def _resolved(params: Params, schedule: Schedule, experiment: str) -> list[Any]:
    """What the runs of an experiment are, with their seeds, and its data sets."""
    runs = [
        [cell.label, list(cell.seeds), kind.values, kind.code, kind.measuring_values, kind.measuring_code]
        for cell in plan.cells(params)
        if cell.experiment == experiment
        for kind in [schedule.kind(cell)]
    ]
    data = [
        [str(directory), schedule.data[str(directory)].values, schedule.data[str(directory)].code]
        for found in plan.data_sets(params)
        if found[0] == experiment
        for directory in [plan.data_directory(*found)]
    ]
    return [sorted(runs, key=str), sorted(data)]


def files_of_experiment(name: str) -> list[str]:
    """Products of an experiment that stand in git."""
    figures = sources.experiment_of(name).figures
    drawn = [f"plots/{name}/{figure.name}.{kind}" for figure in figures for kind in ("pdf", "png")]
    return [f"tables/runs/{name}.csv", f"tables/summary/{name}.csv", *drawn]


def files_of_notebook(name: str) -> list[str]:
    """The executed notebook."""
    return [f"notebooks/executed/{name}.ipynb"]


_FILES = {"experiments": files_of_experiment, "notebooks": files_of_notebook}


def record(params: Params, schedule: Schedule, project: Path, root: Path) -> None:
    """Write :data:`RECORD`: for every experiment and notebook what it was made of, and the bytes of its products.

    Args:
        params: the preset.
        schedule: of this preset.
        project: see :func:`made_of`.
        root: product directory.
    """
    found = made_of(params, schedule, project)
    write_json(
        root / RECORD,
        {
            kind: {name: {"from": source, "bytes": _bytes(root, _FILES[kind](name))} for name, source in each.items()}
            for kind, each in found.items()
        },
    )


def kept(params: Params, schedule: Schedule, project: Path, root: Path) -> Kept:
    """Return the experiments and notebooks that stand as they are; none without ``keep``, or without a record.

    Args:
        params: the preset.
        schedule: of this preset.
        project: see :func:`made_of`.
        root: product directory.
    """
    if not params.keep or not (root / RECORD).is_file():
        return NOTHING
    known: Mapping[str, Any] = read_json(root / RECORD)
    current = made_of(params, schedule, project)
    found = {kind: known.get(kind, {}) for kind in current}
    same = {
        kind: frozenset(
            name
            for name, source in each.items()
            if found[kind].get(name, {}).get("from") == source and _stands(root, kind, name, found[kind][name]["bytes"])
        )
        for kind, each in current.items()
    }
    return Kept(same["experiments"], same["notebooks"])


def _stands(root: Path, kind: str, name: str, content: str) -> bool:
    """Whether the products of a record are there, with the same bytes."""
    return bool(content) and _bytes(root, _FILES[kind](name)) == content


def _bytes(root: Path, files: Iterable[str]) -> str:
    """One hash of the content of all files; empty if one is missing."""
    paths = [root / file for file in files]
    return digest([sha256(path) for path in paths]) if all(path.is_file() for path in paths) else ""
