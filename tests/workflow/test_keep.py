"""With `keep: true` a clone trains what it has no products of, and makes the same bytes of what it has."""

import shutil

from palimpsest.planning import plan
from palimpsest.planning.presets import read_params
from tests.workflow.project import Project

OF_RUNS = {"train", "measure", "aggregate", "dynamics", "plot", "notebook"}


def as_cloned(project: Project) -> None:
    """Leave what stands in git: no run, no data set, and nothing that Snakemake knows."""
    for folder in ("results", "data", ".snakemake"):
        shutil.rmtree(project.path / folder)


def test_a_clone_makes_the_same_paper_without_a_run(project: Project) -> None:
    before = {name: found for name, found in project.products().items() if not name.startswith("results/")}
    as_cloned(project)
    project.preset(keep=True)
    assert not project.planned().keys() & OF_RUNS
    for file in ("tables/claims.csv", "tables/runs.csv", "paper/paper.pdf", "paper/numbers.json"):
        (project.path / file).unlink()
    project.snakemake()
    assert project.products() == before
    assert project.planned() == {}


def test_an_experiment_that_changed_is_trained_whole_and_no_other(project: Project) -> None:
    as_cloned(project)
    project.preset(keep=True, experiments={"mqar": {"tracks": {"repaired": {"training": {"learning_rate": 0.0042}}}}})
    preset = read_params(project.path / "params/default.yaml")
    planned = project.planned()
    assert planned["train"] == {cell.base for cell in plan.cells(preset) if cell.experiment == "mqar"}
    assert planned["aggregate"] == {"tables/runs/mqar.csv"}
    assert {file.split("/")[1] for file in planned["plot"]} == {"mqar"}
    assert "notebook" not in planned  # that of the source is about other experiments


def test_products_that_somebody_edited_are_made_again(project: Project) -> None:
    as_cloned(project)
    project.append("tables/runs/copy.csv", "edited\n")
    project.preset(keep=True)
    planned = project.planned()
    assert planned["aggregate"] == {"tables/runs/copy.csv"}
    assert all("/copy/" in base for base in planned["train"])
    assert "notebook" not in planned  # of the same parameters and code come the bytes that it was made from
