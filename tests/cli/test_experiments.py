"""The source's commands: each stands for experiments of its number, and one that the preset lacks gives one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest import sources
from palimpsest.analysis.tables import read_runs
from palimpsest.cli import experiments
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning.presets import read_params
from tests.cli.command_line import palimpsest

FILE = Path("params/default.yaml")
KNOWN = tuple(read_params(FILE).experiments)


def test_commands_are_those_of_the_source() -> None:
    assert list(experiments.STANDS_FOR) == ["copy", "associative", "continual", "logical", "temporal", "knowledge"]


@pytest.mark.parametrize(
    ("word", "names"), [("copy", ["copy"]), ("associative", ["associative_recall"]), ("temporal", ["temporal"])]
)
def test_a_command_stands_for_an_experiment_or_for_all_of_a_manifest(word: str, names: list[str]) -> None:
    assert experiments.experiments_of(word, FILE, KNOWN) == names


def test_what_a_command_stands_for_is_of_the_source() -> None:
    for word in experiments.STANDS_FOR:
        try:
            names = experiments.experiments_of(word, FILE, KNOWN)
        except ParameterError as error:
            assert f"experiment '{word}': no experiment of this preset; allowed: copy, " in str(error)  # noqa: PT017
            continue
        assert all(sources.manifests()[str(sources.source_of(name))].number == "004" for name in names)


def test_all_is_each_of_them_once() -> None:
    everything = experiments.experiments_of("all", FILE, KNOWN)
    assert len(set(everything)) == len(everything)
    assert {"copy", "associative_recall", "temporal"} <= set(everything)
    assert set(experiments.experiments_of("temporal", FILE, KNOWN)) < set(everything)


@pytest.mark.parametrize(
    ("word", "known", "message"),
    [
        ("coppy", KNOWN, f"experiment: 'coppy'; allowed: {', '.join(experiments.STANDS_FOR)}, all"),
        ("copy", ("temporal",), f"{FILE}: experiment 'copy': no experiment of this preset; allowed: temporal, all"),
        ("all", ("nema_lite",), f"{FILE}: experiment 'all': no experiment of this preset; allowed: none"),
    ],
)
def test_a_command_without_an_experiment_gives_one_line(word: str, known: tuple[str, ...], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        experiments.experiments_of(word, FILE, known)
    assert str(caught.value) == message


def test_the_command_trains_and_aggregates_and_a_second_time_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("experiment", "temporal", "--params", "params/smoke.yaml", "--root", str(tmp_path))
    assert palimpsest(monkeypatch, *arguments) == 0
    assert "temporal prediction" in capsys.readouterr().out
    files = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.csv"))}
    assert set(read_runs(tmp_path, "temporal")["model"]) == {
        "temporal_memory",
        "lstm",
        "windowed_transformer",
        "causal_transformer",
    }
    assert palimpsest(monkeypatch, *arguments) == 0
    assert capsys.readouterr().err.split().count("before") == 4
    assert files == {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.csv"))}


def test_an_unknown_command_is_one_line_and_status_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert palimpsest(monkeypatch, "experiment", "coppy") == 2
    assert capsys.readouterr().err.count("\n") == 1
