"""Reading LRA Retrieval from files in the release's format, which are written here: there are no others to test on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from palimpsest import tasks
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.planning import specs
from palimpsest.planning.presets import read_params
from palimpsest.tasks import lra_retrieval
from palimpsest.tasks.lra_retrieval import CLS, SEP, Config
from tests.training.presets import PROJECT

NAMES = ("new_aan_pairs.train.tsv", "new_aan_pairs.eval.tsv", "new_aan_pairs.test.tsv")
Pair = tuple[int, bytes, bytes]
PAIRS: list[Pair] = [(1, b"one", b"two"), (0, b"a", b""), (1, b"\ttab\n", b"\x00\xff")]


def line(label: object, first: str, second: str) -> str:
    return f"{label}\tP93-1024\tW04-3213\t{first}\t{second}\n"


def write(folder: Path, *contents: str | bytes) -> None:
    """The three files; the last content stands for those that are not given."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(NAMES):
        content = contents[min(index, len(contents) - 1)]
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def release(pairs: list[Pair], label: str = "{}.0") -> str:
    return "".join(line(label.format(answer), repr(first), repr(second)) for answer, first, second in pairs)


def small(folder: Path, **changes: Any) -> Config:
    """A configuration that asks for every line that is there."""
    sizes = {}
    for split, name in zip(("train", "validation", "test"), NAMES, strict=True):
        path = folder / name
        lines = path.read_bytes().removesuffix(b"\n").count(b"\n") + 1 if path.is_file() else 1
        sizes[f"num_{split}"] = lines
    return Config.model_validate({"folder": str(folder), "max_bytes": 6, "question_length": 3, **sizes, **changes})


def document(tokens: list[int]) -> bytes:
    """Tokens read back, without the padding, which may stand at the end alone."""
    length = next((place for place, token in enumerate(tokens) if token == 0), len(tokens))
    assert not any(tokens[length:])
    return bytes(token - 1 for token in tokens[:length])


@given(st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=40), st.binary(max_size=40)), min_size=2, max_size=6))
@example([(1, bytes(range(256)), bytes(range(255, -1, -1))), (0, b"", b"")])
@example([(0, b"it's", b'"'), (1, b"'\"", b"\\")])
def test_arbitrary_bytes_are_read_back_as_written(pairs: list[Pair]) -> None:
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), release(pairs))
        for split in small(Path(name), max_bytes=300).build(0):
            assert split.targets[:, 0].tolist() == [label for label, _, _ in pairs]
            read = [(document(row[:300]), document(row[300:600])) for row in split.inputs.tolist()]
            assert read == [(first, second) for _, first, second in pairs]


def test_an_example_is_what_the_picture_shows(tmp_path: Path) -> None:
    write(tmp_path, line("1.0", r"b'We\tsay'", 'b"It\'s"'))
    inputs, targets, extras = small(tmp_path, max_bytes=5).build(0).train
    assert inputs.tolist() == [[88, 102, 10, 116, 98, 74, 117, 40, 116, 0, SEP, SEP, CLS]]
    assert targets.tolist() == [[1]]
    assert extras["answer_position"].tolist() == [-1]


def test_each_split_is_read_from_its_own_file(tmp_path: Path) -> None:
    write(tmp_path, release(PAIRS), release(PAIRS[:2]), release(PAIRS[1:2]))
    splits = small(tmp_path).build(0)
    assert [split.targets[:, 0].tolist() for split in splits] == [[1, 0, 1], [1, 0], [0]]
    assert [path.name for path in small(tmp_path).files().values()] == list(NAMES)


@pytest.mark.parametrize("label", ["{}", "{}.0"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "not ended"])
def test_labels_and_line_ends_may_be_written_both_ways(tmp_path: Path, label: str, end: str, last: bool) -> None:
    content = release(PAIRS, label).replace("\n", end)
    write(tmp_path, content if last else content.removesuffix(end))
    train = small(tmp_path).build(0).train
    assert train.targets[:, 0].tolist() == [1, 0, 1]
    assert document(train.inputs[2, 6:12].tolist()) == b"\x00\xff"


def test_a_number_takes_the_first_lines_and_does_not_look_at_the_others(tmp_path: Path) -> None:
    write(tmp_path, release(PAIRS) + "not a pair\n")
    splits = small(tmp_path, num_train=2, num_validation=3, num_test=2).build(0)
    assert [len(split.targets) for split in splits] == [2, 3, 2]
    assert document(splits.train.inputs[0, :6].tolist()) == b"one"


def test_the_seed_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, release(PAIRS))
    one, other = (small(tmp_path).build(seed) for seed in (0, 1))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(one, other, strict=True))


def test_literal_text_is_the_characters_of_the_file_whatever_they_are(tmp_path: Path) -> None:
    write(tmp_path, b"0\tx\ty\tb'\\n'\tcaf\xc3\xa9\n")
    inputs = small(tmp_path, text="literal").build(0).train.inputs
    assert document(inputs[0, :6].tolist()) == b"b'\\n'"
    assert document(inputs[0, 6:12].tolist()) == b"caf\xc3\xa9"
    with pytest.raises(DataError, match="text 2: .*; allowed: bytes as Python prints them"):
        small(tmp_path).build(0)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("1.0\ta\tb\tb'x'\n", "4 fields; allowed: 5, split by tabs: label, 2 ids, 2 texts"),
        ("1.0\ta\tb\tb'x'\tb'y\tz'\n", "6 fields; allowed: 5"),
        ("\n", "1 fields; allowed: 5"),
        (line("2.0", "b'x'", "b'y'"), "label '2.0'; allowed: 0, 1, 0.0, 1.0"),
        (line("", "b'x'", "b'y'"), "label ''; allowed: 0, 1, 0.0, 1.0"),
        (line("label", "text1", "text2"), "label 'label'; allowed"),
        (line("1", "x", "b'y'"), "text 1: 'x'; allowed: bytes as Python prints them, b'…' or b\"…\""),
        (line("1", "b'x'", "'y'"), "text 2: \"'y'\"; allowed: bytes"),
        (line("1", "b'x'", "b\"y'"), "text 2: "),
        (line("1", "b'x'", "b'it's'"), "text 2: "),
        (line("1", "b'x'", "b'a' b'b'"), "text 2: "),
        (line("1", "b'x' + b'y'", "b'y'"), "text 1: "),
        (line("1", "b'x'", r"b'\q'"), "text 2: "),
        (line("1", "b'x'", r"b'\x4'"), "text 2: "),
        (line("1", "b'x'", "b'x\\'"), "text 2: "),
        (line("1", "b'x'", "b'café'"), "text 2: "),
        (line("1", "b'x'", "b'y' "), "text 2: "),
        (line("1", "b'x'", "__import__('os')"), "text 2: "),
        (line("1", "b'x'", "y" * 500), "text 2: 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...'; allowed"),
    ],
)
@pytest.mark.parametrize("file", [0, 1, 2])
def test_a_malformed_line_is_named_by_file_and_number(tmp_path: Path, bad: str, problem: str, file: int) -> None:
    good = release(PAIRS)
    write(tmp_path, *(good + bad + good if index == file else good for index in range(3)))
    with pytest.raises(DataError) as caught:
        small(tmp_path).build(0)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / NAMES[file]}: line 4: {problem}")
    assert "; allowed: " in message
    assert len(message.splitlines()) == 1
    assert len(message) < 200 + len(str(tmp_path))


def test_a_missing_folder_is_named_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        Config().build(0)
    assert str(caught.value) == (
        f"{tmp_path / 'data/lra_release'}: no such folder; allowed: one with {', '.join(NAMES)} of the release"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, release(PAIRS))
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match="no such file; allowed: the release's files, under their names") as caught:
        small(tmp_path).build(0)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, release(PAIRS), "", release(PAIRS))
    with pytest.raises(DataError, match=r"new_aan_pairs\.eval\.tsv: empty; allowed: a file with a pair on every line"):
        small(tmp_path).build(0)


def test_a_folder_in_a_files_place_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, release(PAIRS))
    (tmp_path / NAMES[2]).unlink()
    (tmp_path / NAMES[2]).mkdir()
    with pytest.raises(DataError, match=r"new_aan_pairs\.test\.tsv: cannot be read: "):
        small(tmp_path).build(0)


def test_fewer_lines_than_asked_for_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, release(PAIRS))
    with pytest.raises(DataError, match=r"train\.tsv: 3 lines, 4 asked for; allowed: at most 3"):
        small(tmp_path, num_train=4).build(0)


@given(st.integers(1, 50), st.integers(2, 20), st.integers(1, 4))
def test_sizes_are_known_without_data(max_bytes: int, question: int, size: int) -> None:
    config = Config(folder="nowhere", max_bytes=max_bytes, question_length=question)
    length = 2 * max_bytes + question
    assert config.interface() == {
        "num_tokens": 259,
        "num_outputs": 2,
        "sequence_length": length,
        "asked": [length - 1],
        "cls_position": length - 1,
    }
    inputs, targets, extras = config.sample(size)
    assert inputs.shape == (size, length)
    assert inputs[0].tolist() == [0] * 2 * max_bytes + [SEP] * (question - 1) + [CLS]
    assert inputs.dtype == targets.dtype == torch.int64
    assert targets.shape == (size, 1)
    assert extras["answer_position"].shape == (size,)


def test_blank_examples_have_the_shapes_of_those_that_are_read(tmp_path: Path) -> None:
    write(tmp_path, release(PAIRS))
    config = small(tmp_path)
    read, blank = config.build(0).train, config.sample(3)
    assert (read.inputs.shape, read.inputs.dtype) == (blank.inputs.shape, blank.inputs.dtype)
    assert torch.equal(read.inputs[:, 12:], blank.inputs[:, 12:])
    assert read.extras.keys() == blank.extras.keys()


def test_what_is_read_fits_into_a_data_sets_file(tmp_path: Path) -> None:
    write(tmp_path, release([(1, b"\x00\xff", b"\xff" * 9), (0, b"", b"")]))
    config = small(tmp_path)
    inputs = config.build(0).train.inputs
    assert inputs.min() == 0
    assert inputs.max() == CLS < config.interface()["num_tokens"]  # type: ignore[operator]
    assert torch.equal(inputs.to(torch.int16).long(), inputs)


def test_the_best_predictor_is_not_known_so_nothing_is_simulated() -> None:
    assert not Config.generated
    assert lra_retrieval.best_guess(Config(), Config().sample(1).inputs) is None
    assert (lra_retrieval.chance(Config()), lra_retrieval.ceiling(Config())) == (0.5, 1.0)
    assert "lra_retrieval" in tasks.names()


@pytest.mark.parametrize(
    "content",
    [{"folder": ""}, {"max_bytes": 0}, {"question_length": 1}, {"num_train": 0}, {"num_test": 0}, {"text": "tokens"}],
)
def test_bad_parameters_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=f"file: {next(iter(content))}: "):
        checked(Config, content, "file")


def test_the_preset_asks_for_whole_splits_in_whole_chunks_without_the_data_being_there() -> None:
    path = PROJECT / "params/lra_retrieval.yaml"
    params = read_params(path)
    assert (params.preset, params.device, params.workdir) == ("paper", "cuda", "build/lra")
    assert list(params.experiments) == ["nema_lc_aan"]
    track = params.experiments["nema_lc_aan"].tracks["repaired"]
    config = specs.task_config(track, path, "here")
    assert isinstance(config, Config)
    assert (config.num_train, config.num_validation, config.num_test) == (147_086, 18_090, 17_437)
    chunk = track.shared["chunk"]
    assert config.question_length == chunk
    assert config.max_bytes % chunk == 0
    assert {grid.model: grid.config for grid in track.grids.values()} == {
        "nema_lc": {"use_memory": True},
        "no_memory": {"segment": chunk},
    }
