"""The command line of the measurements: it lists them, spells its command out, and refuses in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import __main__ as command_line
from bench import record, scaling
from palimpsest.foundation.errors import ParameterError


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_every_measurement(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command_line.main(words)
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in command_line.NAMES)


def test_an_unknown_measurement_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command_line.main(["speed"])
    assert end.value.code == 2
    assert "invalid choice: 'speed'" in capsys.readouterr().err


def test_the_command_has_every_option_but_no_path() -> None:
    options = command_line.parse(["sweep", "--runs", "4", "--batch", "8", "--results", "/secret/place"])
    assert command_line.command_of(options) == (
        "python -m bench sweep --device cpu --runs 4 --steps 400 --epochs 2 --batch 8 --pack 5 10 20 --repeats 1"
    )
    options = command_line.parse(["overhead", "--no-build", "--wall", "1200.5"])
    assert command_line.command_of(options) == (
        "python -m bench overhead --device cpu --no-build --wall 1200.5 --repeats 3"
    )


@pytest.mark.parametrize("name", command_line.NAMES)
def test_a_command_that_is_spelled_out_means_the_same(name: str) -> None:
    options = command_line.parse([name])
    assert command_line.parse(command_line.command_of(options).split()[3:]) == options


def test_a_measurement_is_written_with_its_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = dict.fromkeys(scaling.COLUMNS, 1) | {"device": "cpu"}
    monkeypatch.setattr(scaling, "measure", lambda options: [row])
    monkeypatch.setattr(record, "about", lambda command, device: {"command": command})
    assert command_line.main(["scaling", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "scaling.csv").read_text().splitlines()[0] == ",".join(scaling.COLUMNS)
    assert "python -m bench scaling --device cpu" in (tmp_path / "machine.json").read_text()
    assert "scaling.csv" in capsys.readouterr().out


def test_a_mistake_is_one_line_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(options: object) -> None:
        raise ParameterError("--runs: 0; allowed: at least 1")

    monkeypatch.setattr(scaling, "measure", measure)
    monkeypatch.setattr(record, "about", lambda command, device: {})
    assert command_line.main(["scaling", "--results", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err == "bench: --runs: 0; allowed: at least 1\n"
    assert not (tmp_path / "results").exists()


def test_a_gpu_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "_gpu", lambda: False)
    assert command_line.main(["scaling", "--device", "cuda", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "bench: --device: 'cuda': no GPU is visible; allowed here: cpu\n"
