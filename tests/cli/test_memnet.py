"""MemNet from the command line: training and evaluation at one delay, its authors' settings, one line a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest.foundation.files import read_json
from tests.cli.command_line import palimpsest
from tests.training.presets import PROJECT

SMOKE = str(PROJECT / "params/smoke.yaml")


def train(monkeypatch: pytest.MonkeyPatch, root: Path, *options: str) -> int:
    return palimpsest(monkeypatch, "train", "memnet", "--params", SMOKE, "--root", str(root), *options)


def cells(text: str) -> list[list[str]]:
    """The rows of a printed table, word by word."""
    return [line.replace("│", " ").split() for line in text.splitlines() if line.startswith("│")]


def test_it_is_trained_and_evaluated_at_one_delay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--delay", "100", "--num-slots", "64", "--top-k", "8", "--num-epochs", "1"]
    assert train(monkeypatch, tmp_path, *options) == 0
    assert "test_accuracy_at_100" in capsys.readouterr().out
    run = tmp_path / "results/memnet/track=repaired/model=memnet/seed=0"
    final = read_json(run / "final.json")
    assert (final["spec"]["config"]["num_slots"], final["spec"]["config"]["top_k"]) == (64, 8)
    assert final["spec"]["task"]["delay"] == 100
    assert [name for name in final["metrics"] if name.startswith("test_accuracy_at_")] == ["test_accuracy_at_100"]
    assert palimpsest(monkeypatch, "evaluate", str(run)) == 0
    shown = {row[0]: row[1] for row in cells(capsys.readouterr().out)}
    assert shown.keys() == {"on", "off", "shuffled", "random_writes"}
    for control, accuracy in shown.items():
        assert accuracy == f"{final['metrics'][f'test_accuracy_{control}']:.4f}"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--top-k", "8", "--num-slots", "6"], "grids.single.config: top_k 8 exceeds num_slots 6; allowed: 1 to 6"),
        (
            ["--num-memory-heads", "3"],
            "config: num_memory_heads 3 does not divide slot_dim 8; allowed: a divisor",
        ),
        (["--num-heads", "3"], "config: num_heads 3 does not divide width 8; allowed: a divisor"),
        (["--bottleneck", "9"], "config: bottleneck 9 exceeds slot_dim 8; allowed: 1 to 8"),
        (["--window", "21"], "config: window 21 exceeds the sequence; allowed: 1 to 20, or null"),
        (
            ["--window", "17", "--delay", "12"],
            "config: window 17 exceeds the sequence; allowed: 1 to 16, or null",
        ),
        (
            ["--lambda-sparsity", "-0.1"],
            "config.lambda_sparsity: -0.1: input should be greater than or equal to 0",
        ),
        (["--decay-bias", "often"], "config.decay_bias: 'often': input should be a valid number"),
        (["--delay", "0"], "task.config.delay: 0: input should be greater than or equal to 1"),
        (["--delay"], "command line: --delay: has no value; allowed: --delay VALUE"),
    ],
)
def test_a_mistake_is_one_line_and_trains_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    assert train(monkeypatch, tmp_path, *options) == 2
    shown = capsys.readouterr().err
    assert line in shown
    assert shown.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_describe_shows_the_settings_of_the_authors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(PROJECT)
    assert palimpsest(monkeypatch, "describe", "memnet") == 0
    shown = cells(capsys.readouterr().out)
    for row in (
        "model num_slots 128", "model slot_dim 128", "model num_memory_heads 8", "model top_k 16",
        "model bottleneck 64",
        "model width 128", "model feedforward 512", "model num_layers 4", "model window null",
        "model lambda_sparsity 0.02", "model lambda_utilisation 0.01", "model lambda_diversity 0.01",
        "training learning_rate 0.0001", "training batch_size 32", "training num_epochs 50", "training clip_norm 1",
        "task name delayed_copy", "task num_symbols 18", "task num_items 10", "task test_delays [100]",
    ):  # fmt: skip
        assert row.split() in shown, row


def test_describe_works_where_there_is_no_preset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert palimpsest(monkeypatch, "describe", "memnet") == 0
    shown = capsys.readouterr()
    assert "num_slots" in shown.out
    assert shown.err == "params/paper.yaml: no such file, so that the authors' settings are not shown\n"
