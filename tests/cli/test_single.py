"""Runs outside the pipeline: what options mean, which experiment is meant, and that an evaluation repeats the run's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from palimpsest.cli import single
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import read_json
from palimpsest.measuring import job as measuring
from palimpsest.models import CONTROLS
from palimpsest.planning import plan, specs
from palimpsest.training import datasets, job
from tests.training import presets

# --- options ----------------------------------------------------------------------------------------------------------


def test_options_read_values_as_yaml() -> None:
    words = ["--mem-lambda", "0.05", "--segment=null", "--read", "sigmoid", "--retain-offset", "-3"]
    assert single.parse_options(words) == {
        "mem_lambda": 0.05,
        "segment": None,
        "read": "sigmoid",
        "retain_offset": -3,
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--use-memory"], {"use_memory": True}),
        (["--no-use-memory"], {"use_memory": False}),
        (["--use-memory=false"], {"use_memory": False}),
        (["--use-memory", "false"], {"use_memory": False}),
        (["--use-memory", "--batch-size", "4"], {"use_memory": True, "batch_size": 4}),
        (["--batch-size", "4", "--no-use-memory"], {"batch_size": 4, "use_memory": False}),
        (["--no-use-memory", "--use-memory"], {"use_memory": True}),
        ([], {}),
    ],
)
def test_an_option_without_a_value_is_a_switch(words: list[str], expected: dict[str, object]) -> None:
    assert single.parse_options(words) == expected


@given(st.dictionaries(st.from_regex(r"[a-z]{3,6}_[a-z]{2,5}", fullmatch=True), st.integers(-99, 99) | st.booleans()))
def test_options_are_read_as_they_are_spelt(chosen: dict[str, int | bool]) -> None:
    words = []
    for name, value in chosen.items():
        spelt = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{spelt}" if value else f"--no-{spelt}")
        else:
            words += [f"--{spelt}", str(value)]
    assert single.parse_options(words) == chosen


@pytest.mark.parametrize("words", [["mem_lambda"], ["--use-memory", "true", "lra"], ["-x", "1"]])
def test_a_word_that_is_no_option_is_refused(words: list[str]) -> None:
    with pytest.raises(ParameterError, match=r"^command line: '[^']+': not an option; allowed: --name value$"):
        single.parse_options(words)


# --- experiments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "experiment", "task", "track", "expected"),
    [
        ("nema_lc", None, "lra", "repaired", "nema_lc_lra"),
        ("nema_lc", None, "lra", "published", "nema_lc_lra"),
        ("nema_lc", None, "key_value_stream", "repaired", "nema_lc"),
        ("nema_lc", None, "key_presence", "repaired", "nema_lc_lra"),
        ("nema_lc", None, "key_presence", "published", "nema_lc"),
        ("fifo", None, "key_value_stream", "repaired", "nema_lc"),
        ("nema_lc", None, None, "repaired", "nema_lc"),
        ("fifo", None, None, "published", "nema_lc"),
        ("lru", None, None, "published", "nema_lc"),
        ("nema_lc", "nema_lc_lra", None, "repaired", "nema_lc_lra"),
    ],
)
def test_the_experiment_that_is_meant(
    tmp_path: Path, model: str, experiment: str | None, task: str | None, track: str, expected: str
) -> None:
    file = presets.write_lifecycle(tmp_path)
    assert single.find_experiment(file, model, experiment, task, track) == expected


def test_a_task_that_no_experiment_has_on_the_track_is_one_line(tmp_path: Path) -> None:
    file = presets.write_lifecycle(tmp_path)
    line = r"^\S+lifecycle\.yaml: --task 'key_value_stream': no such task; allowed: key_presence, lra$"
    with pytest.raises(ParameterError, match=line):
        single.find_experiment(file, "nema_lc", None, "key_value_stream", "published")
    with pytest.raises(ParameterError, match=r"^command line: --experiment 'nema_lc' and --task 'lra'; allowed: one"):
        single.find_experiment(file, "nema_lc", "nema_lc", "lra", "published")


def test_the_default_preset_knows_the_tasks_of_source_001() -> None:
    file = presets.PROJECT / "params/default.yaml"
    for task in ("lra", "documents", "document_qa"):
        assert single.find_experiment(file, "nema_lc", None, task, "repaired") == f"nema_lc_{task}"
    assert single.find_experiment(file, "nema_lite", None, None, "repaired") == "nema_lite"


# --- presets of one run -----------------------------------------------------------------------------------------------


def test_parameters_go_to_model_training_and_task(tmp_path: Path) -> None:
    file = presets.write_lifecycle(tmp_path)
    chosen = {"use_memory": True, "lambda_write": 0.5, "batch_size": 4, "num_train": 8, "num_slots": 3}
    params = single.preset(file, "nema_lc", "nema_lc_lra", "repaired", 7, chosen)
    cells = [cell for cell in plan.cells(params) if cell.grid == "single"]
    (spec,) = specs.resolve(params, cells[0])
    assert len(cells) == 1
    assert (spec.seed, spec.training.batch_size, spec.task["num_train"]) == (7, 4, 8)
    assert spec.cell == {"lambda_write": 0.5}
    assert (spec.config["use_memory"], spec.config["num_slots"], spec.config["lambda_write"]) == (True, 3, 0.5)


@pytest.mark.parametrize("name", ["lambda_write", "num_slots", "num_train", "batch_size", "ablation"])
@pytest.mark.parametrize("value", [True, False])
def test_what_is_no_switch_needs_a_value(tmp_path: Path, name: str, value: bool) -> None:
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(ParameterError, match=f"^command line: {option}: has no value; allowed: {option} VALUE$"):
        single.preset(presets.write_lifecycle(tmp_path), "nema_lc", "nema_lc", "repaired", 0, {name: value})


# --- evaluation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("experiment", "track"), [("nema_lc", "published"), ("nema_lc", "repaired")])
@pytest.mark.parametrize("model", ["nema_lc", "fifo"])
def test_an_evaluation_gives_the_numbers_that_the_run_wrote(
    tmp_path: Path, experiment: str, track: str, model: str
) -> None:
    file = presets.write_lifecycle(tmp_path, num_epochs=1)
    params = single.preset(file, model, experiment, track, 0, {})
    directory = single.train(params, tmp_path, file, Console(quiet=True))
    written = read_json(directory / "final.json")["metrics"]
    measured = single.evaluate(directory)
    assert list(measured) == list(CONTROLS)
    for control, metrics in measured.items():
        for name in ("accuracy", "loss"):
            assert metrics[name] == written[f"test_{name}_{control}"], (control, name)
    assert measured["on"]["write_ratio"] == written["test_write_ratio"]
    assert measured["on"]["answer_kept"] == written["test_answer_kept"]


def test_a_run_is_finished_when_all_its_files_are_there(tmp_path: Path) -> None:
    params = presets.read_lifecycle(tmp_path, num_epochs=1)
    cell = next(cell for cell in plan.cells(params) if cell.model == "fifo")
    spec, other = specs.resolve(params, cell)
    datasets.generate(params, cell.experiment, cell.track, tmp_path)
    pack = plan.Pack("pack", tuple(plan.runs_of(cell))[:1])
    job.train_pack(params, pack, tmp_path, file="params", progress=lambda *_: None, report=lambda _: None)
    directory = tmp_path / pack.runs[0].directory
    assert not single.is_finished(directory, spec)  # trained, not yet measured
    measuring.measure_pack(params, pack, tmp_path, file="params", report=lambda _: None)
    assert {path.name for path in directory.iterdir()} == set(plan.RUN_FILES)
    assert single.is_finished(directory, spec)
    assert not single.is_finished(directory, other)
    for name in plan.RUN_FILES:
        kept = (directory / name).read_bytes()
        (directory / name).unlink()
        assert not single.is_finished(directory, spec), name
        (directory / name).write_bytes(kept)
    assert single.is_finished(directory, spec)


def test_a_directory_without_a_run_cannot_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"final\.json: no such file"):
        single.evaluate(tmp_path)
    (tmp_path / "final.json").write_text('{"spec": {"seed": 0}}')
    with pytest.raises(DataError, match=r"final\.json: spec: missing or malformed; allowed: what a run writes"):
        single.evaluate(tmp_path)
