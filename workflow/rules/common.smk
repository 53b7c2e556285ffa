"""Shared by the rules: the preset, paths of source files, and what makes a result stale.

A result is stale when its command, its input files (by content), its parameters or its code changed. Parameters are
the values that reach the job, with defaults, not the file that they were written in; code is a fingerprint of syntax
trees (palimpsest.planning.provenance). A comment, a time stamp or a moved folder re-trains nothing.
"""

import json
import os
import re
import shlex
import sys

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT / "src"))

from palimpsest import sources as manifests
from palimpsest.planning import manifest_files, plan, schedule
from palimpsest.planning.presets import errors_of_sources, read_params
from palimpsest.foundation.errors import PalimpsestError, ParameterError
from palimpsest.foundation.files import digest
from palimpsest.planning.provenance import fingerprint
from palimpsest.rendering import kept, kinds
from palimpsest.runtime import prefork

# Jobs run this interpreter and the package beside this Snakefile, whatever else is installed or in PATH. The prefix is
# not part of a rule's command, so that no result depends on where things are installed. One thread for each process: see
# palimpsest.runtime.machine.
shell.executable("bash")
JOB_VARIABLES = {"PYTHONPATH": str(PROJECT / "src"), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
shell.prefix(
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    + " ".join(f"{name}={shlex.quote(value)}" for name, value in JOB_VARIABLES.items())
    + "; "
)


def preset_file():
    """Return the params file of this build; single values are changed there, so that plan, diff and history show them."""
    settings = workflow.config_settings
    if settings.config:
        key = sorted(settings.config)[0]
        raise ParameterError(
            f"--config {key}={settings.config[key]}: presets are not changed on the command line; "
            "allowed: edit the params file, or --configfile with another one"
        )
    if len(settings.configfiles) > 1:
        raise ParameterError(f"--configfile: {len(settings.configfiles)} files; allowed: one, which may `extends:`")
    return Path(settings.configfiles[0]) if settings.configfiles else PROJECT / "params/default.yaml"


def or_stop(function):
    """Return what a function returns; an error that the user can correct is one line and exit status 2."""
    try:
        return function()
    except PalimpsestError as error:
        sys.stderr.write(f"palimpsest: {error}\n")
        sys.stderr.flush()
        raise SystemExit(2) from None


def checked_preset():
    """Return the file of the preset, the preset, and its schedule with every run resolved and checked."""
    path = preset_file()
    if workflow.is_main_process:
        manifest_files.check(PROJECT)
    shown = Path(os.path.relpath(path))
    preset = read_params(path if shown.parts[0] == ".." else shown)
    with errors_of_sources(shown):
        return path, preset, schedule.read(preset, shown, kept_for(preset))


def kept_for(preset):
    """Return the folder where schedules and packs of this preset are stored between starts."""
    return PROJECT / preset.workdir / ".snakemake/palimpsest"


def planned_packs():
    """Divide the runs into packs. Complete and missing runs are in separate packs, so that only missing runs are trained.

    Processes that Snakemake starts on other machines may find other files complete, so they use the division of the
    first process.
    """
    if workflow.remote_exec:
        return schedule.packs_from_parent(PRESET)
    packs = SCHEDULE.packs(
        ACTIVE, lambda run: all((ROOT / run.directory / name).exists() for name in run.cell.training_files)
    )
    if workflow.is_main_process:
        schedule.packs_for_children(packs, kept_for(PRESET))
    return packs


def source(path):
    """Return the path of a file of the project, relative to the directory of the products."""
    return os.path.relpath(PROJECT / path)


def sources(folder, *patterns):
    """Return the files of a source folder, sorted, relative to the directory of the products."""
    return sorted(source(file) for pattern in patterns for file in (PROJECT / folder).glob(pattern))


def plain(value):
    """Return parameters as sorted JSON, because Snakemake compares them as text."""
    return json.dumps(value, sort_keys=True)


def preset_values(*names):
    """Return parameters of the preset, all if none is named; without those that change no result that is left."""
    values = PRESET.model_dump(mode="json", exclude={"workdir", "packing", "omit", "keep"})
    return plain({name: values[name] for name in names or sorted(values)})


def experiment_values(wildcards):
    """Return all parameters of one experiment, and those common to all experiments."""
    values = PRESET.model_dump(mode="json", exclude=kept.NOT_OF_RESULTS)
    return plain({**values, "experiments": values["experiments"][wildcards.experiment]})


def digest_of_runs():
    """Return a hash of what all runs resolve to: verdicts depend on sizes and capacities, defaults included."""
    return digest({base: kind.values for base, kind in SCHEDULE.kinds.items()})


def data_of(wildcards):
    """Return what a data set depends on: the task with its defaults, and its code."""
    return SCHEDULE.data[f"data/{wildcards.experiment}/track={wildcards.track}{wildcards.part}"]


def values_of(pack):
    """Return the specification of a pack's runs without the values in their paths: the same in every pack."""
    return SCHEDULE.kind(pack.first).values


def cells_by_seeds():
    """Return for each set of seeds the cells that are trained with it, by their directories below ``results/``."""
    found = {}
    for cell in CELLS.values():
        found.setdefault(cell.seeds, []).append(cell.label)
    return found


def cell_of(wildcards):
    """Return the cell that a wildcard names by its directory below ``results/``."""
    return CELLS[wildcards.place]


def data_of_cell(wildcards):
    """Return the directory of the data set that a cell is measured on."""
    return plan.data_directory(cell_of(wildcards).experiment, cell_of(wildcards).track)


def names_of(pack):
    """Return the runs of a pack for the command line, as a function of `input`, so that Snakemake does not compare it."""
    words = " ".join(shlex.quote(word) for word in [pack.first.model_base, *(run.name for run in pack.runs)])
    return lambda wildcards, input: words


def files_of_runs(*names, experiment=None):
    """Return files of every run that is trained here."""
    chosen = [cell for cell in CELLS.values() if experiment in (None, cell.experiment)]
    return [str(run.directory / name) for cell in chosen for run in plan.runs_of(cell) for name in names]


def files_of_data(*names):
    """Return files of every data set."""
    return [str(plan.data_directory(*found) / name) for found in plan.data_sets(PRESET) for name in names]


def files_of_figures(experiment, *kinds):
    """Return the files of every figure of an experiment; an empty list if it has no figures."""
    return expand("plots/{experiment}/{figure}.{kind}", experiment=experiment, figure=FIGURES[experiment], kind=kinds)


def files_of_dynamics(*experiments):
    """Return the tables of these experiments from which figures are drawn."""
    return expand("results/{experiment}/{table}.csv", experiment=experiments, table=plan.EXPERIMENT_TABLES)


PRESET_FILE, PRESET, SCHEDULE = or_stop(checked_preset)
ROOT = PROJECT / PRESET.workdir
KEPT = or_stop(lambda: kept.kept(PRESET, SCHEDULE, PROJECT, ROOT))
# The preset as far as it is trained, measured and drawn here; tables of several experiments and the paper have all.
ACTIVE = PRESET.without(KEPT.experiments)
PACKS = or_stop(planned_packs)
EXPERIMENTS = sorted(PRESET.experiments)
CELLS = {cell.label: cell for cell in plan.cells(ACTIVE)}
CELLS_BY_SEEDS = cells_by_seeds()
RESOLVED = digest_of_runs()
# Targets of their own, because a clone has the tables and the paper from git, and Snakemake would not build their inputs.
DATA = files_of_data(*plan.DATA_FILES)
RUNS = files_of_runs("final.json")
GPUS = int(PRESET.device == "cuda")
RENDERED = expand("tables/{name}", name=manifests.table_files(EXPERIMENTS))
RUN_TABLES = ["tables/runs.csv", *expand("tables/runs/{experiment}.csv", experiment=EXPERIMENTS)]
SUMMARY_TABLES = expand("tables/summary/{experiment}.csv", experiment=EXPERIMENTS)
DECIDED = ["tables/claims.csv", "tables/claims_evidence.json"]
TABLES = [*RUN_TABLES, *SUMMARY_TABLES, "tables/metrics.parquet", *DECIDED, *RENDERED]
FIGURES = {name: [figure.name for figure in manifests.experiment_of(name).figures] for name in EXPERIMENTS}
PLOTS = [path for experiment in EXPERIMENTS for path in files_of_figures(experiment, "pdf", "png")]
NOTEBOOKS = {one.name: (name, one) for name, found in manifests.notebooks_of(EXPERIMENTS).items() for one in found}
NOTEBOOK = expand("notebooks/executed/{name}.ipynb", name=NOTEBOOKS)
PAPER = ["paper/paper.pdf", "paper/supplement.pdf"] if manifests.sections_of(EXPERIMENTS) else []
# The code of a figure: the functions that draw, and the manifests, which are found by listing folders.
DRAWING = [f"palimpsest.rendering.kinds.{name}" for name in kinds.names()]
MANIFESTS = [f"palimpsest.sources.{name}" for name in manifests.names()]


def one_of(names):
    """Return a wildcard's constraint: one of these names, and nothing if there is none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def params_file(wildcards, input):
    """Return the file of the preset for the jobs, as a function of `input`, so that Snakemake compares values only."""
    return os.path.relpath(PRESET_FILE)


onstart:
    # No limit on jobs a second, because of a fault of Snakemake 9.27.1: with one, every round of the scheduler starts a
    # timer that asks for another round a second later, so that rounds multiply with the number of finished jobs, and each
    # reads the sizes of all inputs of all jobs that are ready. Scheduling a smoke build took 40 % of a core.
    workflow.scheduler.job_rate_limiter = None
    # Jobs on a GPU, in a container or on another machine start by themselves; a forked job runs on this machine.
    elsewhere = GPUS or workflow.deployment_settings.deployment_method or not workflow.local_exec
    if workflow.is_main_process and not elsewhere:
        prefork.start(JOB_VARIABLES)


wildcard_constraints:
    experiment="[a-z][a-z0-9_]*",
    track="[a-z]+",
    part="(/data=[a-z][a-z0-9_]*)?",
