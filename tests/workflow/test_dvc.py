"""DVC and Snakemake side by side: each finds nothing to do after the other, here and in a clone that pulled."""

from pathlib import Path

import pytest

from tests.workflow.project import EVERYTHING, Project


@pytest.fixture(scope="module")
def recorded(built: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """The built project after `dvc repro`, pushed and committed, and what DVC said."""
    project = built.copy(tmp_path_factory.mktemp("dvc") / "project")
    before = project.products()
    times = {name: (project.path / name).stat().st_mtime_ns for name in before}
    said = project.dvc("repro")
    assert project.products() == before
    assert {name: (project.path / name).stat().st_mtime_ns for name in before} == times, "products were made again"
    project.dvc("remote", "add", "--default", "store", str(tmp_path_factory.mktemp("remote")))
    project.dvc("push")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "results")
    return project, said


@pytest.fixture
def clone(recorded: tuple[Project, str], tmp_path: Path) -> Project:
    """A fresh clone after `dvc pull`."""
    project, _ = recorded
    project.git("clone", "--quiet", str(project.path), str(tmp_path / "clone"))
    fresh = Project(tmp_path / "clone")
    fresh.dvc("pull")
    return fresh


def test_repro_after_a_build_only_records(recorded: tuple[Project, str]) -> None:
    project, said = recorded
    assert "Nothing to be done" in said
    assert "up to date" in project.dvc("status")
    assert project.planned() == {}


def test_what_git_shows_and_what_dvc_keeps(recorded: tuple[Project, str]) -> None:
    project, _ = recorded
    shown = project.git("ls-files").split()
    assert {"tables/claims.csv", "tables/runs.csv", "paper/paper.pdf", "paper/numbers.json", "dvc.lock"} <= set(shown)
    assert not [name for name in shown if name.startswith(("data/", "results/", ".snakemake/", "logs/", "benchmarks/"))]
    assert project.git("status", "--porcelain") == ""


def test_a_clone_that_pulled_has_nothing_to_do(recorded: tuple[Project, str], clone: Project) -> None:
    assert clone.products() == recorded[0].products()
    assert clone.planned() == {}
    assert "didn't change, skipping" in clone.dvc("repro")
    assert "up to date" in clone.dvc("status")


def test_a_comment_in_a_clone_is_recorded_and_nothing_is_trained(clone: Project) -> None:
    clone.append("src/palimpsest/models/nema_lite.py", "\n# a remark\n")
    before = clone.products()
    assert "Nothing to be done" in clone.dvc("repro")
    assert clone.products() == before
    assert "up to date" in clone.dvc("status")


def test_one_value_edited_in_a_clone_trains_its_packs_alone(clone: Project) -> None:
    grids = {"random_writer": {"axes": {"write_probability": [0.1, 0.6]}}}
    clone.preset(experiments={"nema_lite": {"tracks": {"published": {"grids": grids}}}})
    assert clone.planned()["train"] == {"results/nema_lite/track=published/model=random_writer/write_probability=0.6"}


def test_a_smoke_run_leaves_everything_else_alone(clone: Project) -> None:
    before = clone.products()
    metadata = sorted((clone.path / ".snakemake/metadata").iterdir())
    clone.snakemake("--configfile", "params/smoke.yaml", "--until", "data")
    assert any((clone.path / "build/smoke/data").rglob("card.json"))
    assert any((clone.path / "build/smoke/.snakemake/metadata").iterdir())
    assert sorted((clone.path / ".snakemake/metadata").iterdir()) == metadata
    assert clone.products() == before
    assert "up to date" in clone.dvc("status")
    assert clone.planned() == {}


def test_a_clone_that_pulled_nothing_has_everything_to_do(recorded: tuple[Project, str], tmp_path: Path) -> None:
    project, _ = recorded
    project.git("clone", "--quiet", str(project.path), str(tmp_path / "clone"))
    planned = set(Project(tmp_path / "clone").planned())
    by_hand = {"bench", "study"}  # measurements come with git; git's order of writing decides about their look
    assert planned - by_hand == EVERYTHING
