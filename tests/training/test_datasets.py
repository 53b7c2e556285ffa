"""Data sets on disk and their cards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import sha256
from palimpsest.planning import plan, specs
from palimpsest.planning.cards import load_card
from palimpsest.tasks import Splits, lra_retrieval
from palimpsest.training import datasets
from tests.training import presets


def test_what_is_read_is_what_was_drawn(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    datasets.generate(params, "tiny", "repaired", tmp_path)
    task = specs.task_config(params.experiments["tiny"].tracks["repaired"], "params", "here")
    read = datasets.load(tmp_path / plan.data_directory("tiny", "repaired"), task)
    for mine, drawn in zip(read, task.build(1), strict=True):
        assert torch.equal(mine.inputs, drawn.inputs)
        assert torch.equal(mine.targets, drawn.targets)
        assert torch.equal(mine.extras["answer_position"], drawn.extras["answer_position"])


def test_the_card_describes_the_data(tmp_path: Path) -> None:
    card = datasets.generate(presets.read(tmp_path), "tiny", "repaired", tmp_path)
    directory = tmp_path / plan.data_directory("tiny", "repaired")
    assert load_card(directory) == card
    assert card["examples"] == {"train": 48, "validation": 24, "test": 24}
    assert card["sha256"] == sha256(directory / "examples.safetensors")
    assert (card["chance"], card["ceiling"], card["seed"]) == (0.1, 1.0, 1)
    assert card["ceiling_simulated"]["accuracy"] == 1
    assert card["answers"] == 24
    assert card["chance"] < card["floor"] < card["ceiling"]
    assert card["floors_by_slice"] == {}


def test_two_generations_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        datasets.generate(presets.read(tmp_path), "tiny", "repaired", tmp_path / name)
    for name in plan.DATA_FILES:
        one, two = (tmp_path / root / plan.data_directory("tiny", "repaired") / name for root in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("key", ["answers", "chance", "floor", "floors_by_slice", "ceiling", "sha256"])
def test_a_card_without_one_of_its_levels_is_refused(tmp_path: Path, key: str) -> None:
    card = datasets.generate(presets.read(tmp_path), "tiny", "repaired", tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({name: value for name, value in card.items() if name != key}))
    with pytest.raises(DataError, match=rf"card\.json: {key}: missing"):
        load_card(tmp_path)


def test_what_is_read_and_not_drawn_has_no_simulated_ceiling(tmp_path: Path) -> None:
    """A task that reads a folder of the user's: three files in the release's format."""
    folder = tmp_path / "release"
    folder.mkdir()
    lines = "".join(f"{label}.0\tA\tB\tb'text {label}'\tb'other'\n" for label in (0, 1, 1, 0))
    for file in lra_retrieval.FILES.values():
        (folder / file).write_text(lines)
    sizes = {"num_train": 4, "num_validation": 3, "num_test": 2}
    config = {"folder": str(folder), "max_bytes": 8, "question_length": 2, **sizes}
    params = presets.read_lifecycle(tmp_path)
    experiment = params.experiments["nema_lc"]
    track = experiment.tracks["repaired"]
    task = track.task.model_copy(update={"name": "lra_retrieval", "config": config})
    tracks = {"repaired": track.model_copy(update={"task": task})}
    params = params.model_copy(update={"experiments": {"aan": experiment.model_copy(update={"tracks": tracks})}})
    card = datasets.generate(params, "aan", "repaired", tmp_path)
    assert card["ceiling_simulated"] is None
    assert (card["floor"], card["floor_simulated"], card["answers"]) == (0.5, None, 2)
    assert card["examples"] == {"train": 4, "validation": 3, "test": 2}
    read = datasets.load(tmp_path / plan.data_directory("aan", "repaired"), lra_retrieval.Config.model_validate(config))
    assert read.train.targets.tolist() == [[0], [1], [1], [0]]


# --- sequences --------------------------------------------------------------------------------------------------------

Tensors = dict[str, torch.Tensor]


def generated(root: Path, name: str) -> Path:
    """The data set of one experiment of sequences; its directory."""
    datasets.generate(presets.read_sequences(root), name, "repaired", root)
    return root / plan.data_directory(name, "repaired")


def loaded(root: Path, name: str) -> Splits:
    """What is read of it."""
    params = presets.read_sequences(root)
    task = specs.task_config(params.experiments[name].tracks["repaired"], "params", "here")
    return datasets.load(root / plan.data_directory(name, "repaired"), task)


@pytest.mark.parametrize(("name", "lengths"), [("copy", (9, 9, 13)), ("mqar", (12, 12, 16))])
def test_sequences_that_are_read_are_those_that_were_drawn(
    tmp_path: Path, name: str, lengths: tuple[int, int, int]
) -> None:
    """A split is as long as its own longest sequence, and −1, where nothing is asked, is kept."""
    directory = generated(tmp_path, name)
    params = presets.read_sequences(tmp_path)
    config = specs.task_config(params.experiments[name].tracks["repaired"], "params", "here")
    splits = loaded(tmp_path, name)
    for read, drawn, length in zip(splits, config.build(1), lengths, strict=True):
        assert read.inputs.shape[1] == length
        assert read.targets.min() == -1
        assert torch.equal(read.inputs, drawn.inputs)
        assert torch.equal(read.targets, drawn.targets)
        assert read.extras.keys() == drawn.extras.keys() == {"length", "group", "slice"}
        assert all(torch.equal(value, drawn.extras[key]) for key, value in read.extras.items())
    stored = load_file(directory / "examples.safetensors")
    assert stored["train.inputs"].dtype == stored["train.targets"].dtype == torch.int8


@pytest.mark.parametrize(("name", "chance"), [("copy", 0.5), ("mqar", 1 / 6)])
def test_the_card_of_sequences_simulates_the_ceiling_where_something_is_asked(
    tmp_path: Path, name: str, chance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "SIMULATED_EXAMPLES", 64)
    card = load_card(generated(tmp_path, name))
    assert (card["chance"], card["ceiling"]) == (pytest.approx(chance), 1)
    assert card["ceiling_simulated"]["accuracy"] == 1
    assert card["ceiling_simulated"]["standard_error"] == 0
    drawn = specs.task_config(presets.read_sequences(tmp_path).experiments[name].tracks["repaired"], "params", "here")
    slices, bits = drawn.build(1).test.extras["slice"], 4 if name == "copy" else 1
    assert card["floors_by_slice"].keys() == {str(kind) for kind in slices.tolist()}
    assert card["floor"] == pytest.approx(
        sum(card["floors_by_slice"][str(kind)] for kind in slices.tolist()) / len(slices)
    )
    assert card["answers"] == int((drawn.build(1).test.targets >= 0).sum()) * bits
    fresh = drawn.model_copy(update={"num_train": 64}).build(2).train
    assert card["ceiling_simulated"]["examples"] == int((fresh.targets >= 0).sum())


@pytest.mark.parametrize(
    ("name", "tamper", "message"),
    [
        ("copy", lambda t: t["train.targets"].fill_(16), r"train\.targets: value 16; allowed: -1 to 15"),
        ("copy", lambda t: t["test.targets"].fill_(-2), r"test\.targets: value -2; allowed: -1 to 15"),
        ("copy", lambda t: t["validation.inputs"].fill_(18), r"validation\.inputs: value 18; allowed: 0 to 17"),
        ("copy", lambda t: t["test.inputs"].fill_(-1), r"test\.inputs: value -1; allowed: 0 to 17"),
        ("mqar", lambda t: t["train.targets"].fill_(12), r"train\.targets: value 12; allowed: -1 to 11"),
        (
            "copy",
            lambda t: t.update({"train.targets": t["train.targets"][:, :5].contiguous()}),
            r"train\.targets: shape \(96, 5\); allowed: \(96, 9\)",
        ),
        (
            "copy",
            lambda t: t.update({"train.targets": t["train.targets"][:, 0].contiguous()}),
            r"train\.targets: shape \(96,\); allowed: \(96, 9\)",
        ),
        (
            "copy",
            lambda t: t.update({"train.inputs": torch.zeros(96, 14), "train.targets": torch.zeros(96, 14)}),
            r"train\.inputs: shape \(96, 14\); allowed: \(96, 13\)",
        ),
        (
            "copy",
            lambda t: t.update({"train.inputs": torch.tensor(3)}),
            r"train\.inputs: shape \(\); allowed: \(96, 13\)",
        ),
        ("copy", lambda t: t.pop("train.extras.length"), r"train\.extras\.length: missing; allowed: what"),
        ("mqar", lambda t: t.pop("test.extras.slice"), r"test\.extras\.slice: missing"),
        ("copy", lambda t: t.pop("train.extras.group"), r"train\.extras\.group: missing"),
        ("copy", lambda t: t["train.extras.length"].fill_(10), r"train\.extras\.length: value 10; allowed: 1 to 9"),
        ("copy", lambda t: t["test.extras.length"].fill_(0), r"test\.extras\.length: value 0; allowed: 1 to 13"),
        (
            "copy",
            lambda t: t.update({"test.extras.slice": t["test.extras.slice"][:5].contiguous()}),
            r"test\.extras\.slice: shape \(5,\); allowed: an entry for each of 12 examples",
        ),
        ("mqar", lambda t: t.pop("test.targets"), r"test\.targets: missing; allowed: what `palimpsest data` writes"),
    ],
)
def test_sequences_of_another_shape_or_alphabet_are_refused(
    tmp_path: Path, name: str, tamper: Callable[[Tensors], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "SIMULATED_EXAMPLES", 64)
    path = generated(tmp_path, name) / "examples.safetensors"
    tensors = load_file(path)
    tamper(tensors)
    save_file(tensors, path)
    with pytest.raises(DataError, match=message) as caught:
        loaded(tmp_path, name)
    assert "\n" not in str(caught.value)


def test_an_alphabet_of_a_language_model_is_stored_whole(tmp_path: Path) -> None:
    """50,257 tokens take 32 bits, and what is read is what was drawn."""
    params = presets.read_sequences(tmp_path)
    experiment = params.experiments["mqar"]
    track = experiment.tracks["repaired"]
    config = {**track.task.config, "vocabulary": 50_258}
    task = track.task.model_copy(update={"config": config})
    tracks = {"repaired": track.model_copy(update={"task": task})}
    params = params.model_copy(update={"experiments": {"mqar": experiment.model_copy(update={"tracks": tracks})}})
    datasets.generate(params, "mqar", "repaired", tmp_path)
    directory = tmp_path / plan.data_directory("mqar", "repaired")
    checked = specs.task_config(tracks["repaired"], "params", "here")
    read, drawn = datasets.load(directory, checked).train, checked.build(task.seed).train
    assert drawn.inputs.max() > 2**15
    assert torch.equal(read.inputs, drawn.inputs)
    assert torch.equal(read.targets, drawn.targets)
    assert load_file(directory / "examples.safetensors")["train.inputs"].dtype == torch.int32
