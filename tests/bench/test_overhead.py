"""Overhead: times of jobs are added up, a build that is not up to date is never timed as if it were."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench import overhead
from bench.processes import Cost
from palimpsest.foundation.errors import DataError, ParameterError, ToolError
from palimpsest.planning import plan, specs
from palimpsest.planning.presets import read_params

HEADER = "s\th:m:s\tmax_rss\n"


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    overhead.add_options(parser)
    return argparse.Namespace(device="cpu", **vars(parser.parse_args(words)))


def built(folder: Path) -> Path:
    """A project with the times of two training jobs."""
    for name, seconds in (("a/b", 10.5), ("a/c=1", 30.0)):
        file = folder / "benchmarks/train" / f"{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{HEADER}{seconds}\t0:00:10\t1.0\n")
    return folder


def test_training_times_are_added_up_and_spread_over_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead.machine, "cores", lambda: 2)
    rows = {row["quantity"]: row["value"] for row in overhead.build_rows(built(tmp_path), 30.375)}
    assert rows == {
        "wall time of the build": 30.375,
        "training time of all jobs": 40.5,
        "cores": 2,
        "training time / cores": 20.25,
        "wall time / (training time / cores)": 1.5,
    }


def test_without_a_wall_time_there_is_no_ratio(tmp_path: Path) -> None:
    assert not [row for row in overhead.build_rows(built(tmp_path), None) if "wall" in row["quantity"]]


def test_missing_and_broken_times_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"benchmarks/train: no \*.tsv; allowed: "):
        overhead.build_rows(tmp_path, 1.0)
    (built(tmp_path) / "benchmarks/train/a/b.tsv").write_text(f"{HEADER}soon\t\t\n")
    with pytest.raises(DataError, match=r"a/b.tsv: s: 'soon'; allowed: seconds$"):
        overhead.build_rows(tmp_path, 1.0)


def test_the_preset_of_many_runs_asks_for_ten_thousand(tmp_path: Path) -> None:
    assert overhead.write_many(tmp_path / "many.yaml") == 10_000
    params = read_params(tmp_path / "many.yaml")
    assert params.seeds == tuple(range(100))
    assert specs.resolve(params, plan.cells(params)[0])[0].model == "nema_lite"
    (grid,) = params.experiments["nema_lite"].tracks["published"].grids.values()
    assert [len(values) for values in grid.axes.values()] == [10, 10]


@pytest.mark.parametrize("stdout", ["", "Job stats: train 36", "pipeline:\n\tchanged deps: src"])
def test_what_is_out_of_date_is_not_timed(stdout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "output", lambda command, project: stdout)
    with pytest.raises(DataError, match=r"something is out of date; allowed: after `make paper`$"):
        overhead.check_up_to_date(tmp_path)


def test_what_is_up_to_date_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def output(command, project: Path) -> str:
        asked.append(command[0])
        return "Nothing to be done." if command[0] == "snakemake" else "Data and pipelines are up to date."

    monkeypatch.setattr(overhead, "output", output)
    overhead.check_up_to_date(tmp_path)
    assert asked == ["snakemake", "dvc"]


def test_a_build_is_made_in_a_clone_and_the_short_commands_are_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def output(command, project: Path) -> str:
        commands.append((command[0], command[1], project == overhead.workload.ROOT))
        if command[0] == "git":
            built(Path(command[-1]))
        return "Nothing to be done" if command[0] == "snakemake" else "up to date"

    monkeypatch.setattr(overhead, "output", output)
    monkeypatch.setattr(overhead.processes, "run_all", lambda *_, **__: Cost(3.0, None))
    rows = overhead.measure(options("--repeats", "1"))
    assert commands == [
        ("git", "clone", True),
        ("snakemake", "--cores", False),
        ("dvc", "repro", False),
        ("snakemake", "--cores", False),
        ("dvc", "status", False),
        ("snakemake", "--cores", False),
        ("dvc", "repro", False),
    ]
    assert all(set(row) == set(overhead.COLUMNS) for row in rows)
    assert [row["quantity"] for row in rows][-4:] == [
        "no-op snakemake", "no-op dvc repro", "runs that are planned", "palimpsest plan"
    ]  # fmt: skip


def test_commands_that_fail_or_are_missing_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"^bench: no-such-program: no such program$"):
        overhead.output(["no-such-program"], tmp_path)
    with pytest.raises(ToolError, match=r"^bench: git frobnicate: exit status 1: [^\n]+$"):
        overhead.output(["git", "frobnicate"], tmp_path)


@pytest.mark.parametrize("words", [["--repeats", "0"], ["--no-build", "--wall", "0"], ["--wall", "5"]])
def test_options_out_of_range_are_refused(words: list[str]) -> None:
    with pytest.raises(ParameterError, match=r"^--.*; allowed: .*$"):
        overhead.measure(options(*words))
