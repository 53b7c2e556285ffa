"""Answers from encoded segments are those of the base with its memory attached; training moves the memory alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator

from palimpsest.language import recall
from palimpsest.language.attachment import attach
from palimpsest.language.facts import Language
from palimpsest.language.module import MemoryModule
from palimpsest.language.pretrained import Base
from palimpsest.language.recall import Answers, Plan, Pool
from tests.language.bases import reader

BASE = Base(*reader())
LANGUAGE = Language(BASE.tokenizer, count=12, segment=40)


def silent(_: str) -> None:
    """Nobody looks."""


def pool(facts: int = 2, training: bool = True, texts: int = 6) -> Pool:
    return recall.make_pool(
        BASE, LANGUAGE, facts=facts, texts=texts, distractors=4, training=training, seed=0, progress=silent
    )


def memory(**more: Any) -> MemoryModule:
    return MemoryModule(16, 5, 8, 2, segment=40, **more)


@pytest.mark.parametrize("segments", [2, 4])
def test_encoded_segments_give_what_an_attached_memory_gives(segments: int) -> None:
    own, known = memory(), pool()
    texts = recall.compose(known, 3, segments, Generator().manual_seed(1))
    found = recall.answer(BASE, own, known, texts)
    generator = Generator().manual_seed(0)
    drawn = LANGUAGE.draw(6, 2, True, generator)
    told = [LANGUAGE.tell(text, generator) for text in drawn.tolist()]
    others = [LANGUAGE.distract(generator) for _ in range(4)]
    assert torch.equal(drawn, known.facts)
    for number, (text, more) in enumerate(zip(texts.told.tolist(), texts.distractors.tolist(), strict=True)):
        for place, (name, word) in enumerate(drawn[text].tolist()):
            with attach(BASE.model, own), torch.no_grad():
                for segment in (told[text], *(others[other] for other in more)):
                    BASE.model(torch.tensor([segment]), use_cache=False)
                logits = BASE.model(torch.tensor([LANGUAGE.tokens(LANGUAGE.question(name))])).logits[0, -1]
            # encoded features are kept in half precision
            torch.testing.assert_close(found.logits[2 * number + place], logits, rtol=1e-2, atol=2e-3)
            assert found.words[2 * number + place] == word


def test_without_reads_the_answers_are_those_of_the_base_alone() -> None:
    known = pool()
    texts = recall.compose(known, None, 3, Generator())
    assert torch.equal(
        recall.answer(BASE, memory(), known, texts, "off").logits, recall.alone(BASE, known, texts).logits
    )


def test_every_text_of_a_test_is_asked_once() -> None:
    known = pool(texts=7)
    texts = recall.compose(known, None, 5, Generator())
    assert texts.told.tolist() == list(range(7))
    assert texts.distractors.shape == (7, 3)


def test_training_lowers_the_loss_and_moves_no_weight_of_the_base() -> None:
    before = {name: value.clone() for name, value in BASE.model.state_dict().items()}
    own, known, losses = memory(update_rate=1.0, feedback=1.0, blend=1.0, initial_gain=4.0), pool(facts=1), []
    plan = Plan(steps=60, batch=8, learning_rate=0.01, most=3)
    texts = recall.compose(known, None, 2, Generator())
    for _ in range(2):
        found = recall.answer(BASE, own, known, texts)
        losses.append(torch.nn.functional.cross_entropy(found.logits, LANGUAGE.answers[found.words]).item())
        recall.train(BASE, own, known, LANGUAGE, plan, 0, silent)
    assert losses[1] < losses[0] - 1
    assert all(torch.equal(value, before[name]) for name, value in BASE.model.state_dict().items())


def test_the_same_seed_trains_the_same_memory() -> None:
    known, weights = pool(), []
    for _ in range(2):
        own = memory(seed=3)
        recall.train(BASE, own, known, LANGUAGE, Plan(steps=3, batch=2), 5, silent)
        weights.append(own.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_scores_by_hand() -> None:
    words = torch.tensor([0, 1, 2])
    logits = torch.full((3, len(BASE.tokenizer)), -torch.inf)
    logits[0, LANGUAGE.answers[0]] = 0.0  # sure and right
    logits[1, LANGUAGE.answers[1]], logits[1, 1] = 0.0, np.log(3)  # right among words, not of the vocabulary
    logits[2, LANGUAGE.answers[0]] = 0.0  # sure and wrong
    found = recall.score(Answers(logits, words), LANGUAGE)
    assert found["exact"].tolist() == [1, 0, 0]
    assert found["forced"].tolist() == [1, 1, 0]
    assert found["probability"].tolist() == pytest.approx([1, 0.25, 0])
    assert found["confidence"].tolist() == pytest.approx([1, 0.75, 1])
    assert found["brier"].tolist() == pytest.approx([0, 0.75**2 + 0.75**2, 2])


def test_calibration_error_against_a_plain_loop() -> None:
    draw = np.random.default_rng(0)
    sure, right = draw.random(200), draw.random(200) < 0.5
    expected = 0.0
    for low in range(10):
        inside = (sure >= low / 10) & (sure < (low + 1) / 10)
        if inside.any():
            expected += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    assert recall.calibration_error(sure, right.astype(float)) == pytest.approx(expected, abs=1e-6)
    assert recall.calibration_error([1.0, 1.0], [1.0, 1.0]) == 0


def test_a_base_that_sees_all_gets_the_whole_text() -> None:
    tokens = torch.randint(8, 40, (9, 30), generator=Generator().manual_seed(0))
    found = recall.whole(BASE, tokens, torch.zeros(9, dtype=torch.int64))
    with torch.no_grad():
        torch.testing.assert_close(found.logits, BASE.model(tokens).logits[:, -1])
