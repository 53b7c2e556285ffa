"""An experiment is left as it is only if all that decides its products is the same, and they are those bytes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from palimpsest.foundation.files import read_json, write_text
from palimpsest.planning import schedule
from palimpsest.planning.parameters import Params
from palimpsest.rendering import kept
from palimpsest.rendering.kept import NOTHING, RECORD, files_of_experiment
from tests.training import presets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of one experiment whose products were recorded."""
    write_text(tmp_path / "requirements.lock", "torch==2\n")
    for file in files_of_experiment("tiny"):
        write_text(tmp_path / file, f"content of {file}\n")
    write(presets.read(tmp_path), tmp_path)
    return tmp_path


def scheduled(params: Params, root: Path) -> schedule.Schedule:
    return schedule.read(params, "file", root / "schedules")


def write(params: Params, root: Path) -> None:
    kept.record(params, scheduled(params, root), root, root)


def stands(root: Path, keep: bool = True, **changes: Any) -> frozenset[str]:
    """The experiments that stand, with changes of the preset."""
    params = presets.read(root, **changes).model_copy(update={"keep": keep})
    return kept.kept(params, scheduled(params, root), root, root).experiments


def test_what_was_recorded_stands(root: Path) -> None:
    assert stands(root) == {"tiny"}


def test_nothing_stands_unless_it_is_asked_for_and_recorded(root: Path) -> None:
    assert stands(root, keep=False) == set()
    (root / RECORD).unlink()
    assert stands(root) == set()
    params = presets.read(root)
    assert kept.kept(params, scheduled(params, root), root, root) == NOTHING


def test_other_training_seeds_or_data_do_not_stand(root: Path) -> None:
    assert stands(root, training={"num_epochs": 4}) == set()
    for name, value in (("seeds", (7,)), ("confidence", 0.9), ("trace_examples", 3), ("device", "cuda")):
        params = presets.read(root).model_copy(update={"keep": True, name: value})
        resolved = scheduled(presets.read(root), root)  # nobody needs the device to compare
        assert kept.kept(params, resolved, root, root) == NOTHING, name


def test_what_changes_no_result_changes_nothing(root: Path) -> None:
    resolved = scheduled(presets.read(root), root)
    for name, value in (("workdir", "build/x"), ("preset", "paper"), ("omit", ("gone",))):
        params = presets.read(root).model_copy(update={"keep": True, name: value})
        assert kept.kept(params, resolved, root, root).experiments == {"tiny"}, name


def test_other_packages_do_not_stand(root: Path) -> None:
    write_text(root / "requirements.lock", "torch==3\n")
    assert stands(root) == set()


def test_other_code_does_not_stand(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_DRAWING", ["palimpsest.foundation.patterns"])
    assert stands(root) == set()


@pytest.mark.parametrize("file", files_of_experiment("tiny"))
def test_products_that_were_edited_or_are_missing_do_not_stand(root: Path, file: str) -> None:
    write_text(root / file, "edited\n")
    assert stands(root) == set()
    (root / file).unlink()
    assert stands(root) == set()
    write(presets.read(root), root)  # a record of what is not there keeps nothing
    assert stands(root) == set()


def test_an_experiment_that_the_record_does_not_know_does_not_stand(root: Path) -> None:
    shutil.copy(root / RECORD, root / "before.json")
    write_text(root / RECORD, '{"experiments": {}}\n')
    assert stands(root) == set()
    assert read_json(root / "before.json")["experiments"].keys() == {"tiny"}
