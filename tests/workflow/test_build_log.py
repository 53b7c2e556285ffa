"""What a build prints: a line a job, errors with their logs, and in a dry run the jobs and their files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from snakemake_logger_plugin_palimpsest.progress import Progress

HOME = Path(__file__).parents[2]
PROFILES = sorted((HOME / "workflow/profiles").glob("*/config.yaml"))
SNAKEFILE = """
rule all:
    input: expand("made/{name}/one.txt", name=["a", "b", "bad"])
rule make_it:
    output: "made/{name}/one.txt", "made/{name}/two.txt"
    log: "logs/{name}.log"
    shell: "echo seed {wildcards.name} diverged > {log}; test {wildcards.name} != bad; touch {output}"
"""


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A folder with a small Snakefile, one job of which fails, and the settings of the default profile."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "profiles/default").mkdir(parents=True)
    shutil.copy(HOME / "workflow/profiles/default/config.yaml", tmp_path / "profiles/default")
    return tmp_path


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PYTHONPATH": str(HOME / "src"), "PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.run(
        ["snakemake", "--cores", "1", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_line_a_job_and_the_log_of_a_job_that_failed(workflow: Path) -> None:
    done = snakemake(workflow)
    lines = done.stderr.splitlines()
    finished = [line for line in lines if re.match(r" *\d+ % \|", line)]
    assert done.returncode == 1
    assert done.stdout == ""
    assert "4 jobs: 3 make, 1 all" in lines
    assert [line.split(" | ")[2].strip() for line in finished] == ["make", "make"]
    assert {line.split(" | ")[3] for line in finished} == {"made/a/ (2 files)", "made/b/ (2 files)"}
    assert all(re.match(r" *\d+ % \| .* left \| ", line) for line in finished)
    assert "Error in rule make_it:" in lines
    assert "seed bad diverged" in lines
    assert not re.search("Missing output|wildcards:|resources:|Select jobs", done.stderr)
    (record,) = (workflow / ".snakemake/log").iterdir()
    assert "Missing output files" in record.read_text()


def test_a_dry_run_lists_jobs_with_their_files(workflow: Path) -> None:
    done = snakemake(workflow, "--dry-run")
    assert done.returncode == 0
    assert "rule make_it:" in done.stdout
    assert "    output: made/a/one.txt, made/a/two.txt" in done.stdout
    assert "Missing output files: made/a/one.txt" in done.stdout


def test_nothing_to_do(workflow: Path) -> None:
    snakemake(workflow, "made/a/one.txt")
    for arguments in ([], ["--dry-run"]):
        done = snakemake(workflow, "made/a/one.txt", *arguments)
        assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.parent.name)
def test_every_profile_prints_so(profile: Path) -> None:
    assert yaml.safe_load(profile.read_text())["logger"] == "palimpsest"


def test_time_left_counts_jobs_of_a_kind_with_the_mean_of_that_kind() -> None:
    progress = Progress()
    assert progress.plan({"data": 2, "train_a": 1, "train_b": 1, "total": 4}) == "4 jobs: 2 data, 2 train"
    for number, (rule, began, ended) in enumerate([("data", 0, 10), ("data", 10, 20), ("train_a", 20, 120)]):
        progress.start({"jobid": number, "rule_name": rule, "output": [f"{rule}.txt"], "rule_msg": None}, began)
        line = progress.finish(number, ended)
    assert line == " 75 % |     2 min left | train     | train_a.txt | 2 min"
    assert progress.time_left(120) == pytest.approx(100)


def test_jobs_that_run_at_once_shorten_the_time_left() -> None:
    progress = Progress()
    progress.plan({"train": 4, "total": 4})
    for number in range(2):
        progress.start({"jobid": number, "rule_name": "train", "output": ["x"], "rule_msg": None}, 1.0)
    for number in range(2):
        progress.finish(number, 61.0)
    assert progress.time_left(61.0) == pytest.approx(60)
