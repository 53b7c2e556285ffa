"""The command line: what people see, and one line with a non-zero exit for every mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest import cli
from palimpsest.errors import ParameterError
from palimpsest.single import options
from tests.training import presets


def palimpsest(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["palimpsest", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_help_names_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert palimpsest(monkeypatch, "--help") == 0
    text = capsys.readouterr().out
    people = ["train", "evaluate", "plan", "sweep", "summarise", "explain", "describe", "params"]
    for command in [*people, "data", "plot", "claims", "paper"]:
        assert f" {command} " in text, command


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


def test_describe_lists_every_parameter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert palimpsest(monkeypatch, "describe", "nema_lite") == 0
    text = capsys.readouterr().out
    assert "mem_lambda" in text
    assert "τ" in text
    assert palimpsest(monkeypatch, "describe", "nothing") == 2


def test_params_check_fails_on_drift_and_params_mends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = presets.write(tmp_path)
    assert palimpsest(monkeypatch, "params", "--params", str(file), "--check") == 2
    assert palimpsest(monkeypatch, "params", "--params", str(file)) == 0
    assert palimpsest(monkeypatch, "params", "--params", str(file), "--check") == 0


def test_options_read_values_as_yaml() -> None:
    assert options(["--mem-lambda", "0.05", "--segment=null", "--read", "sigmoid"]) == {
        "mem_lambda": 0.05,
        "segment": None,
        "read": "sigmoid",
    }
    with pytest.raises(ParameterError):
        options(["mem_lambda"])


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(presets.PROJECT / "src")}
    command = [sys.executable, "-m", "palimpsest", "plan", "--params", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("none.yaml: no such file")
    assert len(done.stderr.strip().splitlines()) == 1
