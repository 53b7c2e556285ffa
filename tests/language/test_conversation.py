"""Turns reach the base through the memory alone, and a conversation goes on where it was left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.language.conversation import conversation
from palimpsest.language.module import MemoryModule
from palimpsest.language.pretrained import Base
from tests.language.bases import reader

BASE = Base(*reader())
FACT, QUESTION = "The secret word of Anna is apple.", "The secret word of Anna is"


def memory(slots: int = 5) -> MemoryModule:
    return MemoryModule(16, slots, 8, 2, segment=12, initial_gain=8.0, update_rate=1.0, feedback=1.0, blend=1.0)


def test_a_turn_is_written_whole_and_the_base_sees_no_other() -> None:
    with conversation(BASE, memory(), None, tokens=4) as talk:
        first = talk.say(QUESTION)
        assert int(talk.attached.state.segments) == 1  # six words said, four answered, two blank lines
        assert int(talk.attached.state.begun) == 0
        before = talk.attached.state.slots.clone()
        talk.say(FACT)
        assert not torch.equal(before, talk.attached.state.slots)
    with conversation(BASE, memory(), None, tokens=4) as talk:
        assert talk.say(QUESTION) == first
    with conversation(BASE, MemoryModule(16, 5, 8, 2, segment=12, feedback=0.0), None, tokens=4) as talk:
        talk.say(FACT)
        assert talk.say(QUESTION) == first  # nothing is read, so nothing that was said counts


def test_a_saved_conversation_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with conversation(BASE, memory(), path) as talk:
        talk.save(path)
        assert not path.exists()  # nothing was said
        talk.say(FACT)
        talk.save(path)
        expected = talk.say(QUESTION)
    with conversation(BASE, memory(), path) as talk:
        assert talk.say(QUESTION) == expected


def test_slots_are_shown_from_the_largest_on() -> None:
    with conversation(BASE, memory(), None) as talk:
        assert talk.slots() == []
        talk.say(FACT)
        slots = talk.slots()
        assert sorted(slot.number for slot in slots) == list(range(5))
        assert [slot.size for slot in slots] == sorted((slot.size for slot in slots), reverse=True)
        assert all(0 < slot.written < 1 and len(slot.words) == 3 for slot in slots)
        talk.forget()
        assert talk.slots() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [(" ", r"text: is empty; allowed: a word or more"), ("apple " * 600, r"text: 600 tokens; allowed: 500, so that")],
)
def test_what_cannot_be_said_is_one_line(text: str, message: str) -> None:
    with conversation(BASE, memory(), None) as talk, pytest.raises(ParameterError, match=message):
        talk.say(text)


def test_a_state_of_another_memory_is_refused_and_the_hooks_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with conversation(BASE, memory(), path) as talk:
        talk.say(FACT)
        talk.save(path)
    with (
        pytest.raises(DataError, match=r"slots: .* allowed: .* as this memory has"),
        conversation(BASE, memory(6), path),
    ):
        pass
    assert not any(part._forward_hooks for part in BASE.model.modules())


def test_a_conversation_is_one_text(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with conversation(BASE, memory(), None) as talk:
        BASE.model(torch.ones(3, 12, dtype=torch.int64))
        talk.save(path)
    with (
        conversation(BASE, memory(), path) as talk,
        pytest.raises(ParameterError, match="1 sequences, the memory holds 3"),
    ):
        talk.say(FACT)
