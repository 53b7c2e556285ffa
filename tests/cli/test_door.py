"""The entry point: every command is there, and a mistake is one line and a non-zero exit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import palimpsest
from tests.training import presets


def test_help_names_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert palimpsest(monkeypatch, "--help") == 0
    text = capsys.readouterr().out
    people = ["train", "evaluate", "plan", "sweep", "summarise", "explain", "describe", "params"]
    for command in [*people, "data", "plot", "claims", "paper"]:
        assert f" {command} " in text, command


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(presets.PROJECT / "src")}
    command = [sys.executable, "-m", "palimpsest", "plan", "--params", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("none.yaml: no such file")
    assert len(done.stderr.strip().splitlines()) == 1
