"""Texts for models that read words: whole segments, facts that are never cut off, pairs that training never shows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from palimpsest.foundation.errors import ParameterError
from palimpsest.language.facts import DOES, NAMES, WHERE, WHO, WORDS, Language
from tests.language.bases import reader

TOKENIZER = reader()[1]
OWN = Language(TOKENIZER, count=12, segment=40)


def said(tokens: list[int]) -> str:
    return TOKENIZER.decode(tokens)


def test_no_word_has_two_meanings() -> None:
    words = [*NAMES, *WORDS, *WHO, *DOES, *WHERE, "the", "secret", "word", "of", "is"]
    assert len(set(words)) == len(words)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_a_segment_is_whole_and_tells_every_fact_once(seed: int, facts: int) -> None:
    generator = Generator().manual_seed(seed)
    text = OWN.draw(1, facts, True, generator)[0].tolist()
    segment = OWN.tell(text, generator)
    assert len(segment) == OWN.segment
    for name, word in text:
        assert said(segment).count(said(OWN.tokens(OWN.fact(name, word)))) == 1
    assert said(segment).count("secret") == facts


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.booleans())
def test_names_and_words_of_a_text_differ(seed: int, facts: int, training: bool) -> None:
    for text in OWN.draw(5, facts, training, Generator().manual_seed(seed)).tolist():
        assert len({name for name, _ in text}) == len({word for _, word in text}) == facts


def test_pairs_of_tests_are_never_in_training() -> None:
    pairs = [
        {tuple(fact) for text in OWN.draw(400, 3, training, Generator().manual_seed(0)).tolist() for fact in text}
        for training in (True, False)
    ]
    assert not pairs[0] & pairs[1]
    assert len(pairs[1]) == 12 * OWN.held_out
    assert {word for _, word in pairs[0]} == {word for _, word in pairs[1]} == set(range(12))


def test_distractors_have_no_name_and_no_secret_word() -> None:
    spoken = {said([token]) for seed in range(20) for token in OWN.distract(Generator().manual_seed(seed))}
    assert not spoken & {*OWN.names, *OWN.words, "secret"}


def test_a_question_is_a_fact_without_its_word() -> None:
    assert OWN.tokens(OWN.fact(3, 5))[:-2] == OWN.tokens(OWN.question(3))
    assert OWN.tokens(OWN.fact(3, 5))[-2] == OWN.answers[5]


def test_blank_lines_complete_a_segment() -> None:
    assert len(OWN.blank(OWN.tokens(OWN.fact(0, 1)))) == OWN.segment
    assert len(OWN.blank([1] * (OWN.segment + 1))) == 2 * OWN.segment
    assert OWN.blank([]) == []


@pytest.mark.parametrize(("facts", "allowed"), [(0, 4), (5, 4)])
def test_the_number_of_facts_has_limits(facts: int, allowed: int) -> None:
    with pytest.raises(ParameterError, match=f"facts: {facts}; allowed: 1 to {allowed}"):
        OWN.draw(1, facts, True, Generator())


def test_facts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ParameterError, match="facts: 4 do not fit into 30 tokens; allowed: fewer"):
        Language(TOKENIZER, segment=30).tell([[0, 1], [1, 2], [2, 3], [3, 4]], Generator())


def test_a_tokenizer_that_splits_every_word_is_refused() -> None:
    with pytest.raises(ParameterError, match="tokenizer: 7 names or words are one token; allowed: 8 or more"):
        Language(TOKENIZER, count=7)


@pytest.mark.parametrize("held_out", [0, 24])
def test_some_words_are_held_out_and_not_all(held_out: int) -> None:
    with pytest.raises(ParameterError, match=f"held_out: {held_out}; allowed: 1 to 23"):
        Language(TOKENIZER, held_out=held_out)
