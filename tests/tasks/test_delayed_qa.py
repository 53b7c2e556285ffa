"""Delayed question answering: examples as the pictures show them, exact ceilings, no leak, same seed same data."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import delayed_qa

SMALL = {"num_train": 50, "num_validation": 20, "num_test": 20}
QUESTIONS = ["none", "flag", "marker"]


@given(st.sampled_from(QUESTIONS), st.integers(0, 1000), st.sampled_from([8, 16, 64]))
def test_the_target_is_the_digit_at_the_answer_position(question: str, seed: int, length: int) -> None:
    config = delayed_qa.Config(question=question, sequence_length=length, **SMALL)
    for split in config.build(seed):
        position = split.extras["answer_position"]
        assert position.min() >= 1
        assert position.max() < length // 2
        digit = split.inputs.gather(1, position[:, None]).squeeze(1) % config.num_digits
        assert torch.equal(digit, split.targets[:, 0])
        assert split.inputs.max() < config.interface()["num_tokens"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_cls_stands_where_the_interface_says(question: str) -> None:
    config = delayed_qa.Config(question=question, **SMALL)
    column = config.build(0).train.inputs[:, config.interface()["cls_position"]]
    assert len(column.unique()) == 1


@pytest.mark.parametrize("question", ["flag", "marker"])
def test_one_token_asks_and_the_last_half_holds_no_answer(question: str) -> None:
    config = delayed_qa.Config(question=question, **SMALL)
    inputs = config.build(0).train.inputs
    assert ((inputs >= 10).sum(1) == 2).all()  # the flag or marker, and CLS
    assert (inputs[:, 32:-1] < 10).all()


def test_same_seed_same_data_and_splits_do_not_overlap() -> None:
    config = delayed_qa.Config(**SMALL)
    first, again = config.build(3), config.build(3)
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, again, strict=True))
    rows = {tuple(row) for split in first for row in split.inputs.tolist()}
    assert len(rows) == 90


def test_a_longer_training_split_leaves_the_others_as_they_are() -> None:
    short, long = (delayed_qa.Config(**{**SMALL, "num_train": n}).build(1) for n in (50, 60))
    assert torch.equal(short.test.inputs, long.test.inputs)
    assert torch.equal(short.validation.inputs, long.validation.inputs)


@pytest.mark.parametrize(("length", "digits"), [(8, 2), (8, 3), (10, 2), (12, 4)])
def test_the_ceiling_equals_an_enumeration_of_all_words(length: int, digits: int) -> None:
    places = length // 2 - 1
    best = [max(map(word.count, range(digits))) for word in itertools.product(range(digits), repeat=places)]
    expected = sum(best) / len(best) / places
    assert delayed_qa.ceiling(delayed_qa.Config(sequence_length=length, num_digits=digits)) == pytest.approx(expected)


def test_the_published_ceiling_is_a_fifth_and_simulation_agrees() -> None:
    config = delayed_qa.Config(num_train=40_000)
    inputs, targets, _ = config.build(9).train
    targets = targets[:, 0]
    simulated = (delayed_qa.best_guess(config, inputs)[:, 0] == targets).double().mean().item()
    assert delayed_qa.ceiling(config) == pytest.approx(0.1952, abs=5e-5)
    assert simulated == pytest.approx(delayed_qa.ceiling(config), abs=4 * (0.16 / 40_000) ** 0.5)


@pytest.mark.parametrize("question", ["flag", "marker"])
def test_with_a_question_the_best_guess_is_always_right(question: str) -> None:
    config = delayed_qa.Config(question=question, **SMALL)
    inputs, targets, _ = config.build(0).train
    targets = targets[:, 0]
    assert torch.equal(delayed_qa.best_guess(config, inputs)[:, 0], targets)
    assert delayed_qa.ceiling(config) == 1


def test_without_the_early_half_only_chance_is_left() -> None:
    config = delayed_qa.Config(question="flag", num_train=20_000)
    inputs, targets, _ = config.build(4).train
    targets = targets[:, 0]
    for column in range(32, 63):
        share = (inputs[:, column] == targets).double().mean().item()
        assert abs(share - delayed_qa.chance(config)) < 5 * (0.09 / 20_000) ** 0.5


@pytest.mark.parametrize(
    "content", [{"sequence_length": 7}, {"sequence_length": 9}, {"num_digits": 1}, {"question": "?"}]
)
def test_bad_parameters_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        checked(delayed_qa.Config, content, "file")
