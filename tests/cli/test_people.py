"""Commands for people: what they print and write, and one line with a non-zero exit for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest.foundation.files import read_json
from palimpsest.planning import plan
from tests.cli.command_line import palimpsest
from tests.training import presets


def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *extra: str) -> int:
    """Train one tiny run."""
    file = presets.write(tmp_path)
    common = ["--params", str(file), "--experiment", "tiny", "--root", str(tmp_path / "out"), "--seed", "2"]
    return palimpsest(monkeypatch, "train", "nema_lite", *common, *extra)


def test_train_trains_one_run_with_the_given_parameters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(monkeypatch, tmp_path, "--mem-lambda", "0.05", "--write-threshold=0.7", "--num-epochs", "2") == 0
    base = tmp_path / "out/results/tiny/track=repaired/model=nema_lite/mem_lambda=0.05/write_threshold=0.7/seed=2"
    assert len((base / "history.csv").read_text().splitlines()) == 3
    assert "test_accuracy_on" in capsys.readouterr().out
    assert palimpsest(monkeypatch, "evaluate", str(base)) == 0
    shown = capsys.readouterr().out
    assert all(control in shown for control in ("on", "off", "shuffled", "random_writes"))


def train_lifecycle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *extra: str) -> int:
    """Train one run of the preset of memories with a lifecycle."""
    file = presets.write_lifecycle(tmp_path)
    return palimpsest(monkeypatch, "train", "nema_lc", "--params", str(file), "--root", str(tmp_path / "out"), *extra)


@pytest.mark.parametrize("track", ["published", "repaired"])
@pytest.mark.parametrize("switch", ["--use-memory", "--no-use-memory"])
def test_nema_lc_is_trained_on_a_task_with_and_without_its_memory(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    track: str,
    switch: str,
) -> None:
    arguments = ["--task", "lra", switch, "--batch-size", "4", "--num-epochs", "1", "--track", track]
    assert train_lifecycle(monkeypatch, tmp_path, *arguments) == 0
    assert ("test_write_ratio" in capsys.readouterr().out) == (switch == "--use-memory")
    run = tmp_path / f"out/results/nema_lc_lra/track={track}/model=nema_lc/seed=0"
    spec = read_json(run / "final.json")["spec"]
    assert (spec["config"]["use_memory"], spec["training"]["batch_size"]) == (switch == "--use-memory", 4)
    assert {path.name for path in run.iterdir()} == set(plan.RUN_FILES)
    assert len((run / "steps.csv").read_text().splitlines()) == 1 + 13  # 50 examples, four at a time
    assert palimpsest(monkeypatch, "evaluate", str(run)) == 0
    rows = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if len(row) == 3 and row[0] != "control"] == [
        "on",
        "off",
        "shuffled",
        "random_writes",
    ]


def test_nema_lc_is_trained_where_it_is_at_home_if_nothing_else_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert train_lifecycle(monkeypatch, tmp_path, "--num-epochs", "1", "--ablation", "write") == 0
    run = tmp_path / "out/results/nema_lc/track=repaired/model=nema_lc/ablation=write/seed=0"
    assert read_json(run / "final.json")["spec"]["config"]["ablation"] == "write"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--task", "ira"], "lifecycle.yaml: --task 'ira': no such task; allowed: key_presence, key_value_stream, lra"),
        (["--use-memory", "often"], "config.use_memory: 'often': "),
        (["--use-memory=2"], "config.use_memory: 2: "),
        (["--ablation", "read"], "config.ablation: 'read': "),
        (["--ablation"], "--ablation: has no value; allowed: --ablation VALUE"),
        (["--budget", "0"], "config.budget: 0: "),
        (["--chunk", "5"], "chunk 5 does not cut a sequence of 16; allowed: a divisor of it"),
        (
            ["--experiment", "nema_lc_aan"],
            "experiment: 'nema_lc_aan': not in this preset; allowed: nema_lc, nema_lc_lra",
        ),
    ],
)
def test_a_mistake_about_a_lifecycle_is_one_line_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    assert train_lifecycle(monkeypatch, tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--mem-lamda", "0.1"], "palimpsest: command line: --mem-lamda: unknown parameter; allowed: "),
        (["--mem-lambda", "-1"], "config.mem_lambda: -1: "),
        (["--write-threshold", "1"], "config.write_threshold: 1: "),
        (["--num-epochs", "many"], "training.num_epochs: 'many': "),
        (["--num-heads", "3"], "num_heads 3 does not divide width 8"),
        (["--seed"], "seed"),
        (["--mem-lambda"], "--mem-lambda: has no value"),
        (["--num-heads", "--mem-lambda", "0.1"], "--num-heads: has no value; allowed: --num-heads VALUE"),
        (["--no-width"], "--width: has no value"),
        (["--num-epochs"], "--num-epochs: has no value"),
        (["--num-train", "true"], "--num-train: has no value"),
        (["--use-memory"], "--use-memory: unknown parameter; allowed: "),
        (["--task", "delayed_qa"], "--experiment 'tiny' and --task 'delayed_qa'; allowed: one of them"),
        (["loose"], "'loose': not an option"),
        (["--track", "mended"], "track: 'mended': not in this preset; allowed: repaired"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    assert train(monkeypatch, tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert line in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_sweep_trains_what_is_missing_and_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = presets.write(tmp_path)
    arguments = ["sweep", "tiny", "--params", str(file), "--root", str(tmp_path / "out")]
    assert palimpsest(monkeypatch, *arguments) == 0
    runs = list((tmp_path / "out").glob("results/**/final.json"))
    assert len(runs) == 3 * 3
    (runs[0].parent / "model.safetensors").unlink()
    capsys.readouterr()
    assert palimpsest(monkeypatch, *arguments) == 0
    assert capsys.readouterr().err.count("finished before") == 3
    assert (runs[0].parent / "model.safetensors").exists()


def test_plan_counts_jobs_runs_and_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert palimpsest(monkeypatch, "plan", "--params", str(presets.write(tmp_path))) == 0
    total = next(line for line in capsys.readouterr().out.splitlines() if "total" in line)
    assert [word for word in total.replace("│", " ").split()][1:4] == ["3", "9", "81"]


def test_plan_says_where_steps_are_at_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    file = str(presets.write(tmp_path, training={"stop_within": 0.1}))
    assert palimpsest(monkeypatch, "plan", "--params", file) == 0
    total = next(line for line in capsys.readouterr().out.splitlines() if "total" in line)
    assert total.replace("│", " ").split()[1:5] == ["3", "9", "≤", "81"]


def test_describe_lists_every_parameter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert palimpsest(monkeypatch, "describe", "nema_lite") == 0
    text = capsys.readouterr().out
    assert "mem_lambda" in text
    assert "τ" in text
    assert palimpsest(monkeypatch, "describe", "nothing") == 2


@pytest.mark.parametrize(
    ("task", "levels"),
    [
        ("mqar", "chance 0.031, informed floor 0.292, ceiling 1.000"),  # (1/2 + 1/4 + 1/8) / 3
        ("lra_retrieval", "chance 0.500, informed floor 0.500, ceiling 1.000"),  # its files are not read
    ],
)
def test_describe_prints_the_levels_of_a_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str, levels: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert palimpsest(monkeypatch, "describe", task) == 0
    assert levels in capsys.readouterr().out


def test_params_check_fails_on_drift_and_params_mends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = presets.write(tmp_path)
    assert palimpsest(monkeypatch, "params", "--params", str(file), "--check") == 2
    assert palimpsest(monkeypatch, "params", "--params", str(file)) == 0
    assert palimpsest(monkeypatch, "params", "--params", str(file), "--check") == 0
