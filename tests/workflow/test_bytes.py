"""Two builds from scratch, at different places, in different time zones, with different hash seeds: the same bytes."""

import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from palimpsest.runtime import prefork
from tests.workflow.project import NEVER_HASHED, Project, checkout, kill, living


@pytest.fixture(scope="module")
def again(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A second build from scratch, of the same commit; some of its jobs start by themselves, without the hook."""
    project = Project(tmp_path_factory.mktemp("a second place") / "with another name")
    built.git("clone", "--quiet", str(built.path), str(project.path))
    elsewhere = {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "LC_ALL": "C"}
    project.snakemake("--no-hooks", "tables/runs/copy.csv", "results/copy/weightings.csv", **elsewhere)
    project.snakemake(**elsewhere)
    return project


def test_two_builds_have_the_same_bytes(built: Project, again: Project, record_property) -> None:
    first, second = built.products(), again.products()
    record_property("files_compared", json.dumps(sorted(first)))
    assert {name.split("/")[0] for name in first} == {"data", "results", "tables", "plots", "notebooks", "paper"}
    assert "paper/paper.pdf" in first
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_products_hold_nothing_of_this_machine(built: Project) -> None:
    secrets = [str(built.path).encode(), str(Path.home() / ".").encode(), socket.gethostname().encode()]
    for name in built.products():
        content = (built.path / name).read_bytes()
        assert [secret for secret in secrets if len(secret) > 5 and secret in content] == [], name


def test_only_products_and_what_is_never_hashed_are_written(built: Project) -> None:
    written = {
        line[3:].strip('"').split("/")[0] for line in built.git("status", "--porcelain", "--ignored").splitlines()
    }
    assert written <= {"data", "results", "tables", "plots", "notebooks", "paper", "src", *NEVER_HASHED}


SMALL: dict[str, Any] = {
    "experiments": {
        "nema_lite": {
            "tracks": {
                "repaired": {
                    "training": {"num_epochs": 40},
                    "grids": {
                        "sweep": {"model": "nema_lite", "axes": {"mem_lambda": [0.1, 0.3], "write_threshold": [0.5]}}
                    },
                }
            }
        }
    }
}


def test_killed_in_mid_training_and_run_again(tmp_path: Path) -> None:
    target = "results/nema_lite/track=repaired/model=nema_lite/mem_lambda=0.1/write_threshold=0.5/seed=0/final.json"
    undisturbed, disturbed = checkout(tmp_path / "undisturbed"), checkout(tmp_path / "disturbed")
    for project in (undisturbed, disturbed):
        project.preset(**SMALL)
    undisturbed.snakemake(target)
    command = ["snakemake", "--cores", "2", target]
    process = subprocess.Popen(
        command, cwd=disturbed.path, env=disturbed.environment(), start_new_session=True, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    patience = time.monotonic() + 600  # a slow machine is no failure
    while not list((disturbed.path / "checkpoints").glob("*.safetensors")):
        assert process.poll() is None, "training ended before it could be interrupted"
        assert time.monotonic() < patience, "no checkpoint was written"
        time.sleep(0.05)
    forked = [words for words in living(process.pid) if f"palimpsest {prefork.COMMAND}" in words]
    assert len(forked) >= 3, "the training is no forked job"  # who forks, who waits for the job, and the job
    kill(process)
    assert process.returncode == -signal.SIGKILL
    assert disturbed.products().keys() < undisturbed.products().keys()
    locked = disturbed.snakemake(target, check=False)
    assert locked.returncode != 0
    assert "--unlock" in locked.stderr
    disturbed.snakemake("--unlock")
    disturbed.snakemake(target)
    log = next((disturbed.path / "logs/train").rglob("*.log")).read_text()
    assert "going on after epoch" in log
    assert disturbed.products() == undisturbed.products()
