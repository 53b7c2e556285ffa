"""Fact recall: facts and questions stand where they should, pairs are held out, text has its next words as targets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import Examples, fact_recall

SPLITS = {"num_train": 12, "num_validation": 6, "num_test": 6}


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters; checked outside, as shape checks draw random numbers, which a strategy may not."""
    window, keys, values = 4 * draw(st.integers(2, 5)), draw(st.integers(2, 6)), draw(st.integers(2, 6))
    return {
        "num_keys": keys,
        "num_values": values,
        "held_out": draw(st.integers(1, values - 1)),
        "num_words": draw(st.integers(1, 3)),
        "num_facts": draw(st.integers(1, min(keys, window // 4 - 1))),
        "num_questions": draw(st.integers(1, window // 4)),
        "window": window,
        "min_segments": 2,
        "max_segments": draw(st.integers(2, 4)),
        "test_segments": draw(st.lists(st.integers(2, 6), min_size=1, max_size=3, unique=True)),
        "block": draw(st.integers(1, 5)),
        **SPLITS,
    }


def told(config: fact_recall.Config, words: list[int]) -> dict[int, tuple[int, int]]:
    """Key → value and place of every fact of a text."""
    places = [place for place, word in enumerate(words[:-2]) if word == config.stop + 1]
    return {words[place + 1]: (words[place + 2], place) for place in places}


@settings(max_examples=25)
@given(contents(), st.integers(0, 1000))
def test_facts_stand_in_the_first_segment_and_questions_in_the_last(content: dict[str, Any], seed: int) -> None:
    config = fact_recall.Config(**content)
    for inputs, targets, extras in config.build(seed):
        for row, words in enumerate(inputs.tolist()):
            length, facts = int(extras["length"][row]), told(config, words)
            assert length == config.window * int(extras["slice"][row])
            assert len(facts) == config.num_facts
            assert all(place + 3 < config.window for _, place in facts.values())
            asked = [place for place, word in enumerate(words[:length]) if word == config.stop + 2]
            assert len(asked) == config.num_questions
            assert asked[-1] == length - 2
            assert all(place >= length - config.window for place in asked)
            expected = [-1] * inputs.shape[1]
            for place in asked:
                expected[place + 1] = facts[words[place + 1]][0]
            assert targets[row].tolist() == expected
            assert config.stop not in [words[place + 1] for place in asked]


@settings(max_examples=25)
@given(contents(), st.integers(0, 1000), st.booleans())
def test_pairs_of_validation_and_test_are_never_in_training(content: dict[str, Any], seed: int, text: bool) -> None:
    config = fact_recall.Config(**{**content, "text": text})
    splits = config.build(seed)
    pairs = [
        {(key, value) for words in split.inputs.tolist() for key, (value, _) in told(config, words).items()}
        for split in splits
    ]
    if text:  # random words may stand in any order
        pairs = [_statements(config, split) for split in splits]
    assert not pairs[0] & (pairs[1] | pairs[2])


def _statements(config: fact_recall.Config, split: Examples) -> set[tuple[int, int]]:
    """Pairs of whole sentences with a full stop before and after them, in windows that do not repeat."""
    found = set()
    for words in split.inputs.tolist():
        repeats = any(words[p:] == words[:-p] for p in range(4, config.window // 2 + 1))
        for place in range(1, len(words) - 3):
            sentence = words[place - 1 : place + 4]
            is_sentence = sentence[0] == sentence[4] == config.stop and sentence[1] in (
                config.stop + 1,
                config.stop + 2,
            )
            if is_sentence and not repeats:
                found.add((sentence[2], sentence[3]))
    return found


def test_the_picture_is_an_example() -> None:
    config = fact_recall.Config(num_keys=4, num_values=4, num_words=2, window=8, num_facts=1, test_segments=(2,))
    fact, ask, stop = config.stop + 1, config.stop + 2, config.stop
    words = torch.tensor([[10, stop, fact, 3, 6, stop, 8, 11, 12, stop, 9, 10, 13, stop, ask, 3]])
    assert fact_recall.best_guess(config, words).tolist() == [[-1] * 15 + [6]]


@settings(max_examples=10)
@given(contents(), st.integers(0, 1000))
def test_the_best_guess_answers_every_question(content: dict[str, Any], seed: int) -> None:
    config = fact_recall.Config(**{**content, "num_questions": 1})
    for inputs, targets, _ in config.build(seed):
        assert torch.equal(fact_recall.best_guess(config, inputs), targets)


def test_the_informed_guess_is_a_value_that_was_told() -> None:
    config = fact_recall.Config(num_facts=4, num_test=2000, num_train=2, num_validation=2)
    inputs, targets, _ = config.build(1).test
    right = (fact_recall.informed_guess(config, inputs) == targets)[targets >= 0]
    assert right.double().mean().item() == pytest.approx(1 / 4 + 3 / 4 / 16, abs=0.03)
    assert fact_recall.informed_guess(config.model_copy(update={"num_facts": 1}), inputs) is None


def test_text_has_its_next_word_as_target_and_asks_about_what_it_has_told() -> None:
    config = fact_recall.Config(text=True, num_train=300, num_validation=2, num_test=4)
    inputs, targets, extras = config.build(2).train
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert extras["length"].unique().tolist() == [config.window]
    windows = [[*words, last] for words, last in zip(inputs.tolist(), targets[:, -1].tolist(), strict=True)]
    repeats = [any(w[p:] == w[:-p] for p in range(4, config.window // 2 + 1)) for w in windows]
    assert 0.4 < sum(repeats) / len(repeats) < 0.6
    answers: Counter[bool] = Counter()
    for words, is_random in zip(windows, repeats, strict=True):
        facts = {} if is_random else told(config, words)
        for place, word in enumerate(words[:-2]):
            if not is_random and word == config.stop + 2 and words[place + 1] in facts:
                answers[facts[words[place + 1]][0] == words[place + 2]] += 1
    assert answers[True] > 100
    assert not answers[False]


def test_scores_say_how_sure_a_model_is() -> None:
    config = fact_recall.Config(num_train=2, num_validation=2, num_test=4, test_segments=(2,))
    inputs, targets, extras = config.build(0).test
    words = config.interface()["num_outputs"]
    logits = torch.zeros(1, *targets.shape, words)
    one = Examples(inputs[None], targets[None], {name: value[None] for name, value in extras.items()})
    unsure = fact_recall.score(logits, one)
    for name, expected in {"confidence": 1 / words, "answer_probability": 1 / words, "brier": 1 - 1 / words}.items():
        torch.testing.assert_close(unsure[name], torch.full((1, 4), expected))
    sure = fact_recall.score(torch.nn.functional.one_hot(one.targets.clamp_min(0), words) * 50.0, one)
    torch.testing.assert_close(sure["brier"], torch.zeros(1, 4))
    torch.testing.assert_close(sure["answer_probability"], torch.ones(1, 4))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"window": 30}, "window 30; allowed: a multiple of 4"),
        ({"held_out": 16}, "held_out 16 of 16 values; allowed: 1 to 15"),
        ({"num_facts": 8}, "num_facts 8 in a window of 32 words about 16 keys; allowed: 1 to 7"),
        ({"num_questions": 9}, "num_questions 9 in a window of 32 words; allowed: 1 to 8"),
        ({"min_segments": 9}, "min_segments 9 is above max_segments; allowed: 1 to 8"),
        ({"test_segments": []}, "nothing is tested"),
        ({"test_segments": [1]}, "greater than or equal to 2"),
    ],
)
def test_wrong_sizes_are_refused_in_one_line(content: dict[str, Any], line: str) -> None:
    with pytest.raises(ParameterError) as error:
        checked(fact_recall.Config, content, "file.yaml")
    assert line in str(error.value)
    assert "\n" not in str(error.value)
