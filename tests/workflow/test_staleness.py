"""What is made again after a change: all that depends on it and nothing else."""

import os
import re
import time
from pathlib import Path

import pytest

from palimpsest.foundation.files import read_json
from palimpsest.planning import plan
from palimpsest.planning.presets import read_params
from tests.workflow.project import AFTER_MEASURING, AFTER_TRAINING, EVERYTHING, HOME, Project, checkout

CELLS = {cell.base for cell in plan.cells(read_params(HOME / "params/smoke.yaml"))}
LAYOUT = ("paper", "all")
MACROS = {"tables", "numbers", "notebook", "record", *LAYOUT}


def test_nothing_is_left_to_do_after_a_build_even_at_another_place(project: Project) -> None:
    assert project.planned() == {}


def test_touched_files_change_nothing(project: Project) -> None:
    now = time.time() + 10
    for file in project.path.rglob("*"):
        if file.is_file() and ".git" not in file.parts and ".snakemake" not in file.parts:
            os.utime(file, (now, now))
    assert project.planned() == {}


def test_touched_files_of_any_size_change_nothing(tmp_path: Path) -> None:
    project = checkout(tmp_path / "project")
    project.preset()
    project.append("requirements.lock", "# more than Snakemake compares by itself\n" * 50_000)
    project.snakemake("--until", "data")
    now = time.time() + 10
    os.utime(project.path / "requirements.lock", (now, now))
    assert project.planned("--until", "data") == {}


def test_comments_and_docstrings_change_nothing(project: Project) -> None:
    for file in ("models/nema_lite.py", "training/loop.py", "rendering/figures.py", "tasks/delayed_qa.py"):
        project.append(f"src/palimpsest/{file}", "\n# a remark\n")
        project.edit(f"src/palimpsest/{file}", '"""', '"""In other words: ')
    project.append("params/default.yaml", "\n# a remark\n")
    project.append("params/default/nema_lite.yaml", "\n# a remark\n")
    assert project.planned() == {}


def test_one_lambda_trains_its_own_runs(project: Project) -> None:
    preset = read_params(project.path / "params/default.yaml")
    values = preset.experiments["nema_lite"].tracks["published"].grids["sweep"].axes["mem_lambda"]
    changed = [0.17 if value == values[-1] else value for value in values]
    sweep = {"sweep": {"axes": {"mem_lambda": changed}}}
    project.preset(experiments={"nema_lite": {"tracks": {"published": {"grids": sweep}}}})
    planned = project.planned()
    new = {cell.base for cell in plan.cells(read_params(project.path / "params/default.yaml"))} - CELLS
    assert planned["train"] == new
    assert all("track=published/model=nema_lite/mem_lambda=0.17/" in base for base in new)
    assert set(planned) == AFTER_TRAINING | {"train"}


def test_a_value_more_in_a_grid_leaves_what_is_there_alone(project: Project) -> None:
    there = {
        path: path.stat().st_mtime_ns for path in (project.path / "results").rglob("*") if path.name in plan.RUN_FILES
    }
    sweep = {"sweep": {"axes": {"mem_lambda": [0, 0.05, 0.07, 0.1, 0.2]}}}
    project.preset(experiments={"nema_lite": {"tracks": {"published": {"grids": sweep}}}})
    project.snakemake("--until", "aggregate")
    assert {path: path.stat().st_mtime_ns for path in there} == there
    new = {path.parent for path in (project.path / "results").rglob("final.json")} - {path.parent for path in there}
    assert len(new) == 3 * 2
    assert all("/track=published/model=nema_lite/mem_lambda=0.07/" in str(path) for path in new)
    assert project.planned("--until", "aggregate") == {}


def test_a_run_that_is_lost_is_trained_again_alone(project: Project) -> None:
    cell = "results/nema_lite/track=repaired/model=nema_lite/mem_lambda=0.01/write_threshold=0.5"
    before = project.products()
    lost = f"{cell}/seed=1/model.safetensors"
    (project.path / lost).unlink()
    assert project.planned(lost)["train"] == {cell}
    project.snakemake(lost)
    assert project.products() == before


def test_a_job_elsewhere_trains_the_pack_of_its_parent_whatever_is_there_by_then(project: Project) -> None:
    before = project.products()
    base = "results/nema_lite/track=repaired/model=no_memory"
    lost, other = (f"{base}/seed={seed}/model.safetensors" for seed in (0, 1))
    (project.path / lost).unlink()
    project.snakemake("--dry-run")
    divisions = {path: read_json(path) for path in (project.path / ".snakemake/palimpsest").glob("packs-*.json")}
    (found,) = [
        (path, name) for path, packs in divisions.items() for name, runs in packs.items() if runs == [f"{base}/seed=0"]
    ]
    file, rule = found[0], f"train_{found[1]}"
    (project.path / other).unlink()  # were the job to divide anew, it would find both in one pack
    job = ["--mode", "remote", "--nolock", "--target-jobs", f"{rule}:", "--allowed-rules", rule]
    project.snakemake(*job, PALIMPSEST_PACKS=str(file))
    assert project.products() == {path: content for path, content in before.items() if path != other}


def test_a_cell_that_is_no_longer_asked_for_is_found(project: Project) -> None:
    done = project.snakemake("--list-untracked")
    listed = (done.stdout + done.stderr).splitlines()
    assert "Snakefile" in listed  # the list is one of paths, of which none leads to a run
    assert not [line for line in listed if line.startswith("results/")]
    sweep = {"sweep": {"axes": {"mem_lambda": [0]}}}
    project.preset(experiments={"nema_lite": {"tracks": {"published": {"grids": sweep}}}})
    done = project.snakemake("--list-untracked")
    assert "results/nema_lite/track=published/model=nema_lite/mem_lambda=0.1" in done.stdout + done.stderr


LIFECYCLE = r"model=(nema_lc|fifo|lru|least_used|oracle_replacement|random_replacement|tagged_queue|unbudgeted)(/|$)"


def cells(pattern: str) -> set[str]:
    """Cells whose path has a pattern in it."""
    found = {base for base in CELLS if re.search(pattern, base)}
    assert found
    return found


@pytest.mark.parametrize(
    ("file", "trained"),
    [
        ("memory/lifecycle.py", LIFECYCLE),
        ("memory/sparse.py", "model=memory_rnn/memory=sparse"),
        ("training/optimiser.py", ""),
    ],
)
def test_code_trains_the_runs_that_use_it(project: Project, file: str, trained: str) -> None:
    project.append(f"src/palimpsest/{file}", "\nCHANGED = True\n")
    planned = project.planned()
    assert planned["train"] == cells(trained)
    assert planned["measure"] == cells(trained)
    assert set(planned) >= AFTER_TRAINING | {"train"}


def test_a_new_measure_of_a_memory_trains_nothing(project: Project) -> None:
    project.append("src/palimpsest/memory/lifecycle_trace.py", "\nCHANGED = True\n")
    planned = project.planned()
    assert "train" not in planned
    assert planned["measure"] == cells(LIFECYCLE)


def test_another_text_of_an_error_neither_trains_nor_measures(project: Project) -> None:
    project.append("src/palimpsest/foundation/errors.py", "\nCHANGED = True\n")
    assert not project.planned().keys() & {"data", "train", "measure"}


@pytest.mark.parametrize(
    ("file", "old", "new", "rules"),
    [
        ("requirements.lock", "torch==2.13.0", "torch==2.13.1", EVERYTHING | {"bench", "checks", "study"}),
        ("params/default.yaml", "trace_examples: 16", "trace_examples: 17", AFTER_TRAINING),
        ("params/default.yaml", "confidence: 0.95", "confidence: 0.9", AFTER_MEASURING),
        ("params/published/nema_lite.yaml", "\n", "\n# a remark\n", MACROS),
        ("src/palimpsest/tasks/delayed_qa.py", "\n\n\n", "\n\n\nCHANGED = True\n\n\n", EVERYTHING),
        (
            "src/palimpsest/rendering/figures.py",
            "\n\n\n",
            "\n\n\nCHANGED = True\n\n\n",
            {"plot", "notebook", "record", *LAYOUT},
        ),
        ("src/palimpsest/rendering/tables.py", "\n\n\n", "\n\n\nCHANGED = True\n\n\n", MACROS),
        ("src/palimpsest/rendering/paper.py", "\n\n\n", "\n\n\nCHANGED = True\n\n\n", {*LAYOUT}),
        ("src/palimpsest/rendering/bench.py", "\n\n\n", "\n\n\nCHANGED = True\n\n\n", {"bench", *LAYOUT}),
        ("bench/results/overhead.csv", "cpu", "cuda", {"bench", *LAYOUT}),
        ("src/palimpsest/rendering/study.py", "\n\n\n", "\n\n\nCHANGED = True\n\n\n", {"study", *LAYOUT}),
        ("studies/smollm2/recall.csv", "1.0000", "0.9999", {"study", *LAYOUT}),
        ("paper/source/paper.tex.j2", "\n", "\n% a remark\n", {*LAYOUT}),
        ("README.md", "\n", "\n\n", set()),
    ],
)
def test_a_change_reaches_what_depends_on_it(project: Project, file: str, old: str, new: str, rules: set[str]) -> None:
    project.edit(file, old, new)
    assert set(project.planned()) == rules


def test_a_template_that_changes_makes_the_paper_anew_and_nothing_else(project: Project) -> None:
    before = project.products()
    project.append("paper/source/paper.tex.j2", "\n% a remark\n")
    project.snakemake()
    after = project.products()
    assert {name for name in after if after[name] != before.get(name)} <= {"paper/paper.tex", "paper/paper.pdf"}
    assert project.planned() == {}


def test_damaged_data_are_seen(project: Project) -> None:
    path: Path = next((project.path / "data").rglob("examples.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    track = path.parent.relative_to(project.path / "data").as_posix()
    assert project.planned().get("train", set()) == {base for base in CELLS if f"/{track}/" in base}
