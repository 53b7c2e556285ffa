"""What the rules share: the preset, where sources stand, and what decides whether a result is stale.

A result is stale when its command, its input files (by content), its parameters or its code changed. Parameters are
the values that reach the job, defaults filled in, never the file that they were written in; code is a fingerprint
of syntax trees (palimpsest.planning.provenance). Neither a comment nor a time stamp nor a moved folder re-trains anything.
"""

import json
import os
import shlex
import sys

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT / "src"))

from palimpsest import sources as manifests
from palimpsest.planning import plan, schedule
from palimpsest.planning.parameters import read_params
from palimpsest.foundation.errors import PalimpsestError, ParameterError
from palimpsest.planning.provenance import fingerprint
from palimpsest.rendering import kinds
from palimpsest.runtime import prefork

# Jobs run this interpreter and the package beside this Snakefile, whatever is installed or first in PATH. The prefix
# is not part of a rule's command, so that where things are installed decides nothing. One thread a process: see
# palimpsest.runtime.machine.
shell.executable("bash")
JOB_VARIABLES = {"PYTHONPATH": str(PROJECT / "src"), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
shell.prefix(
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    + " ".join(f"{name}={shlex.quote(value)}" for name, value in JOB_VARIABLES.items())
    + "; "
)


def preset_file():
    """The params file of this run; a single value is changed there, where plan, diff and history see it."""
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
    """What a function returns; a mistake that the user can mend is one line and exit status 2."""
    try:
        return function()
    except PalimpsestError as error:
        sys.stderr.write(f"palimpsest: {error}\n")
        sys.stderr.flush()
        raise SystemExit(2) from None


def checked_preset():
    """The preset, with every run that it asks for resolved and checked."""
    path = preset_file()
    shown = os.path.relpath(path)
    preset = read_params(path if shown.startswith("..") else Path(shown))
    return path, preset, schedule.read(preset, shown, kept_for(preset))


def kept_for(preset):
    """Where schedules and packs of this preset are kept between starts."""
    return PROJECT / preset.workdir / ".snakemake/palimpsest"


def planned_packs():
    """Which runs are trained together. What is there and what is missing are apart, so that only the latter is trained.

    The processes that Snakemake starts on other machines find other files there, and take the division from the first.
    """
    if workflow.remote_exec:
        return schedule.packs_from_parent(PRESET)
    root = PROJECT / PRESET.workdir
    packs = SCHEDULE.packs(
        PRESET, lambda run: all((root / run.directory / name).exists() for name in plan.TRAINING_FILES)
    )
    if workflow.is_main_process:
        schedule.packs_for_children(packs, kept_for(PRESET))
    return packs


def source(path):
    """A file of the project, as seen from the directory of the products."""
    return os.path.relpath(PROJECT / path)


def sources(folder, *patterns):
    """The files of a source folder, sorted, as seen from the directory of the products."""
    return sorted(source(file) for pattern in patterns for file in (PROJECT / folder).glob(pattern))


def plain(value):
    """Parameters as sorted JSON: Snakemake compares them as text."""
    return json.dumps(value, sort_keys=True)


def preset_values(*names):
    """Some parameters of the preset, all if none is named; where products go and who shares a program are no part of what they are."""
    values = PRESET.model_dump(mode="json", exclude={"workdir", "packing"})
    return plain({name: values[name] for name in names or sorted(values)})


def experiment_values(wildcards):
    """Everything that the preset says about one experiment and about all of them."""
    values = PRESET.model_dump(mode="json", exclude={"preset", "workdir", "packing"})
    return plain({**values, "experiments": values["experiments"][wildcards.experiment]})


def data_of(wildcards):
    """What decides about a data set: the task with its defaults filled in, and its code."""
    return SCHEDULE.data[f"{wildcards.experiment}/{wildcards.track}"]


def values_of(pack):
    """What the runs of a pack are beside what their paths say, and so whoever they share it with."""
    return SCHEDULE.kind(pack.first).values


def cell_of(wildcards):
    """Directory of the cell that wildcards name."""
    return f"results/{wildcards.experiment}/track={wildcards.track}/model={wildcards.model}{wildcards.cell}"


def names_of(pack):
    """The runs of a pack for the command line. It takes `input`, so that Snakemake does not compare it."""
    words = " ".join(shlex.quote(word) for word in [pack.first.model_base, *(run.name for run in pack.runs)])
    return lambda wildcards, input: words


def files_of_runs(*names, experiment=None):
    """Files of every run that the preset asks for."""
    chosen = [cell for cell in plan.cells(PRESET) if experiment in (None, cell.experiment)]
    return [str(run.directory / name) for cell in chosen for run in plan.runs_of(cell) for name in names]


def files_of_data(*names):
    """Files of every data set."""
    return [str(plan.data_directory(*track[:2]) / name) for track in plan.tracks(PRESET) for name in names]


def files_of_figures(experiment, *kinds):
    """Files of every figure of an experiment; none of one that has no figures."""
    return expand("plots/{experiment}/{figure}.{kind}", experiment=experiment, figure=FIGURES[experiment], kind=kinds)


def files_of_dynamics(*experiments):
    """Tables of what the runs of these experiments did, from which figures are drawn."""
    return expand("results/{experiment}/{table}.csv", experiment=experiments, table=plan.EXPERIMENT_TABLES)


PRESET_FILE, PRESET, SCHEDULE = or_stop(checked_preset)
PACKS = or_stop(planned_packs)
EXPERIMENTS = sorted(PRESET.experiments)
# Targets of their own: a clone has the tables and the paper from git, and Snakemake does not miss what lies between.
DATA = files_of_data(*plan.DATA_FILES)
RUNS = files_of_runs("final.json")
GPUS = int(PRESET.device == "cuda")
RENDERED = expand("tables/{name}", name=manifests.table_files(EXPERIMENTS))
TABLES = (
    expand("tables/{name}", name=["runs.csv", "summary_final_epoch.csv", "claims.csv", "claims_evidence.json"])
    + RENDERED
)
FIGURES = {name: [figure.name for figure in manifests.experiment_of(name).figures] for name in EXPERIMENTS}
PLOTS = [path for experiment in EXPERIMENTS for path in files_of_figures(experiment, "pdf", "png")]
NOTEBOOKS = {one.name: (name, one) for name, found in manifests.notebooks_of(EXPERIMENTS).items() for one in found}
NOTEBOOK = expand("notebooks/executed/{name}.ipynb", name=NOTEBOOKS)
PAPER = ["paper/paper.pdf"] if manifests.sections_of(EXPERIMENTS) else []
# What a figure is made by: the functions that draw, and the manifests, which are found by listing folders.
DRAWING = [f"palimpsest.rendering.kinds.{name}" for name in kinds.names()]
MANIFESTS = [f"palimpsest.sources.{name}" for name in manifests.names()]


def params_file(wildcards, input):
    """Where the jobs read the preset. It takes `input`, so that Snakemake does not compare it: the values count."""
    return os.path.relpath(PRESET_FILE)


onstart:
    # Jobs on a GPU, in a container or on another machine start by themselves: they must not run where they were forked.
    elsewhere = GPUS or workflow.deployment_settings.deployment_method or not workflow.local_exec
    if workflow.is_main_process and not elsewhere:
        prefork.start(JOB_VARIABLES)


wildcard_constraints:
    experiment="[a-z][a-z0-9_]*",
    track="[a-z]+",
    model="[a-z][a-z0-9_]*",
    cell="(/[a-z_0-9]+=[^/]+)*",
