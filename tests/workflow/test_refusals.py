"""What the workflow refuses, each in one line that says what is allowed; and what its own linters say."""

import os
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from palimpsest.foundation.sections import merge
from palimpsest.planning.presets import read_content
from tests.workflow.project import HOME, Project, checkout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project without any product."""
    return checkout(tmp_path_factory.mktemp("sources") / "project")


NOTICE = "Using workflow specific profile profiles/default for setting default command line arguments."


def complaint(done: CompletedProcess[str]) -> str:
    """The only line on stderr beside Snakemake's own notice of the profile."""
    (line,) = [line for line in done.stderr.splitlines() if line != NOTICE]
    return line


def repaired(**sections: Any) -> dict[str, Any]:
    return {"experiments": {"nema_lite": {"tracks": {"repaired": sections}}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"confidance": 0.9}, ["confidance", "unknown key", "allowed"]),
        ({"seeds": [1, 1]}, ["seeds", "each seed once"]),
        (repaired(training={"num_epochs": "many"}), ["training.num_epochs", "'many'"]),
        (repaired(grids={"sweep": {"axes": {"mem_lambda": [-1]}}}), ["mem_lambda", "-1", "greater than or equal to 0"]),
        (repaired(grids={"sweep": {"axes": {"write_threshold": [1]}}}), ["write_threshold", "1", "less than 1"]),
        (repaired(grids={"sweep": {"axes": {"mem_lambda": []}}}), ["mem_lambda", "empty", "allowed"]),
        (repaired(shared={"num_heads": 3}), ["num_heads", "3"]),
        (repaired(grids={"window_only": {"config": {"window": 65}}}), ["window", "65"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_preset_is_one_line(sources: Project, change: dict[str, Any], words: list[str]) -> None:
    content = merge(read_content(HOME / "params/default.yaml"), change)
    (sources.path / "params/wrong.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    done = sources.snakemake("--dry-run", "--configfile", "params/wrong.yaml", check=False)
    assert done.returncode == 2
    line = complaint(done)
    assert line.startswith("palimpsest: params/wrong.yaml: ")
    assert [word for word in words if word not in line] == []


def test_a_job_elsewhere_that_is_not_told_its_packs_is_one_line(sources: Project) -> None:
    done = sources.snakemake("--mode", "remote", "--nolock", "--dry-run", check=False)
    assert done.returncode == 2
    assert complaint(done).startswith("palimpsest: PALIMPSEST_PACKS: not set; allowed: ")


def test_a_value_on_the_command_line_is_refused(sources: Project) -> None:
    done = sources.snakemake("--dry-run", "--config", "seeds=3", check=False)
    assert done.returncode == 2
    assert "edit the params file" in complaint(done)


def test_two_presets_at_once_are_refused(sources: Project) -> None:
    done = sources.snakemake("-n", "--configfile", "params/default.yaml", "params/smoke.yaml", check=False)
    assert done.returncode == 2
    assert "2 files; allowed: one" in done.stderr


def test_a_failed_job_says_why_and_leaves_nothing_half_written(sources: Project, tmp_path: Path) -> None:
    project = sources.copy(tmp_path / "copy")
    project.preset()
    target = "results/nema_lite/track=repaired/model=no_memory/seed=0/final.json"
    project.snakemake("--until", "data")
    data = project.path / "data/nema_lite/track=repaired/examples.safetensors"
    data.write_bytes(data.read_bytes()[:1000])
    done = project.snakemake(target, check=False)
    assert done.returncode != 0
    assert "examples.safetensors: corrupt" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    assert not list((project.path / "results").rglob("*.*"))


def test_the_default_profile_is_found(sources: Project) -> None:
    done = sources.snakemake("--dry-run")
    assert NOTICE in done.stderr.splitlines()


def test_the_workflow_is_linted_and_formatted(sources: Project) -> None:
    assert "good condition" in sources.snakemake("--lint").stderr
    sources.run("snakefmt", "--check", "Snakefile", "workflow")


def test_the_snakefile_is_a_table_of_contents() -> None:
    assert len((HOME / "Snakefile").read_text(encoding="utf-8").splitlines()) < 50


@pytest.mark.parametrize(
    ("preset", "rule", "others"), [("search", "index", {"measure"}), ("fresh", "claims", {"measure", "index"})]
)
def test_the_checks_of_the_paper_are_planned_without_a_paper(
    sources: Project, preset: str, rule: str, others: set[str]
) -> None:
    planned = sources.planned(rule, "--configfile", f"params/{preset}.yaml")
    assert set(planned) == {"data", "train", "aggregate", rule, *others}
    assert all("seed=" not in base for base in planned["train"])
    tracks = {"repaired"} if preset == "search" else {"repaired", "published"}
    assert {part for base in planned["train"] for part in base.split("/") if "track=" in part} == {
        f"track={track}" for track in tracks
    }
    rates = {next((part for part in base.split("/") if "learning_rate=" in part), None) for base in planned["train"]}
    assert (None in rates) == (preset == "fresh")  # the search is over rates
    assert preset == "search" or rates <= {None, "learning_rate=1e-12"}  # a control that learns nothing


def test_every_rule_says_what_it_needs() -> None:
    for file in sorted((HOME / "workflow/rules").glob("*.smk")):
        for rule in file.read_text(encoding="utf-8").split("\nrule ")[1:]:
            wanted = ("log:", "benchmark:", "threads:", "mem_mb=", "runtime=", "gpu=", "shell:", "requirements.lock")
            assert [word for word in wanted if word not in rule] == [], f"{file.name}: {rule.split(':')[0]}"


def test_every_entry_of_a_profile_is_explained() -> None:
    for file in sorted((HOME / "workflow/profiles").rglob("config.yaml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        for above, line in zip(["", *lines], lines, strict=False):
            assert not line[:1].isalpha() or above.startswith("# "), f"{file}: no comment above {line!r}"


def test_make_help_lists_the_targets(sources: Project) -> None:
    said = sources.run("make").stdout
    assert all(f"make {name}" in said for name in ("paper", "test", "smoke", "reproduce", "help"))


def test_make_says_what_to_install_where_tex_is_missing(sources: Project, tmp_path: Path) -> None:
    for tool in ("bash", "cat", "cksum", "tr", "id", "make"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or os.devnull)
    done = sources.run("make", "tex", check=False, PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("make: TeX is missing: install latexmk and pdflatex")
