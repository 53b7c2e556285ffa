"""One build of the whole pipeline at smoke size, from which the tests take copies."""

from pathlib import Path

import pytest

from tests.workflow.project import Project, checkout

collect_ignore = ["toy"]
"""Files of a source that tests put into copies of the project."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after `snakemake --cores 2`, from scratch to PDF; leave it as it is."""
    project = checkout(tmp_path_factory.mktemp("first") / "project")
    project.preset()
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "sources")
    project.snakemake(TZ="UTC", PYTHONHASHSEED="1")
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    """A copy of the built project, at another path, to be changed at will."""
    return built.copy(tmp_path / "copy")
