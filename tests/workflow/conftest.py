"""One build of the whole pipeline at smoke size, from which the tests take copies."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workflow.project import Project, checkout

collect_ignore = ["toy"]
"""Files of a source that tests put into copies of the project."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after `snakemake --cores 2`, from scratch to PDF; leave it as it is.

    Where several processes test, the first that asks builds, and the others wait for it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    project, done = Project(shared / "first/project"), shared / "first/done"
    with FileLock(shared / "first.lock"):
        if not done.exists():
            checkout(project.path)
            project.preset()
            project.git("add", "--all")
            project.git("commit", "--quiet", "--message", "sources")
            project.snakemake(TZ="UTC", PYTHONHASHSEED="1")
            done.touch()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    """A copy of the built project, at another path, to be changed at will."""
    return built.copy(tmp_path / "copy")
