"""Informed floors: majorities, counts and shown values score what formulas say; slices weigh as in the test split."""

from __future__ import annotations

from math import comb
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest import tasks
from palimpsest.tasks.shared import bits, classes, floors


def majority_of_fair_bits(count: int) -> float:
    """How often the majority of so many fair bits is one of them."""
    return 0.5 + sum(comb(count, ones) * abs(ones - count / 2) for ones in range(count + 1)) / 2**count / count


def found(name: str, seed: int = 1, **chosen: Any) -> dict[str, Any]:
    """Informed floor of a task with some parameters."""
    module = tasks.load(name)
    config = module.Config(**{"num_train": 2, "num_validation": 2, **chosen})
    return floors.informed_floor(module, config, config.build(seed).test, seed)


def close(floor: dict[str, Any], expected: float) -> bool:
    """Whether a floor is as expected, within the error of the simulation."""
    return abs(floor["floor"] - expected) <= 4 * floor["floor_simulated"]["standard_error"] + 1e-9


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        ("copy", {"test_lengths": (10, 20, 40, 60, 80, 100, 120), "num_test": 70}, 0.564),
        ("associative_recall", {"test_items": (2, 4, 6, 8, 10, 12), "num_test": 240}, 0.726),
        ("priority_sort", {"bits": 6, "min_vectors": 6, "max_vectors": 6, "test_vectors": (6,)}, 0.656),
        ("mqar", {"test_settings": ((16, 4), (32, 8), (64, 8 + 1)), "num_test": 90}, (1 / 4 + 1 / 8 + 1 / 9) / 3),
        ("key_value_stream", {}, 0.279),
        ("delayed_qa", {"question": "flag"}, tasks.load("delayed_qa").ceiling(tasks.load("delayed_qa").Config())),
    ],
)
def test_floors_at_the_sizes_of_the_default_preset(name: str, chosen: dict[str, Any], expected: float) -> None:
    floor = found(name, **chosen)
    assert floor["floor"] == pytest.approx(expected, abs=0.0005 + 4 * floor["floor_simulated"]["standard_error"])


@pytest.mark.parametrize("name", ["key_presence", "document_matching"])
def test_where_nothing_is_seen_without_the_memory_the_floor_is_chance(name: str) -> None:
    assert found(name) == {"floor": 0.5, "floors_by_slice": {}, "floor_simulated": None}


def test_without_a_question_the_floor_of_delayed_question_answering_is_chance() -> None:
    assert found("delayed_qa") == {"floor": 0.1, "floors_by_slice": {}, "floor_simulated": None}


@pytest.mark.parametrize("question", ["flag", "marker"])
def test_the_mark_of_a_digit_does_not_show_in_the_informed_guess(question: str) -> None:
    """It is the most frequent digit of the early half, so that the digit itself may be marked or not."""
    module = tasks.load("delayed_qa")
    config = module.Config(question=question, sequence_length=8, num_digits=4)
    inputs = torch.tensor([[3, 2, 1, 2, 3, 3, 3, 3]])
    marked = inputs.clone()
    marked[0, 2] = {"flag": 5, "marker": 4}[question]
    assert module.informed_guess(config, inputs).tolist() == module.informed_guess(config, marked).tolist() == [[2]]


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True), width=st.integers(1, 9))
def test_copy_has_the_majority_of_fair_bits_for_every_length(lengths: list[int], width: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(floors, "MOST_EXAMPLES", 2000)
        floor = found("copy", bits=width, max_length=9, test_lengths=tuple(lengths), num_test=50)
    assert close(floor, sum(part * majority_of_fair_bits(size) for size, part in shares(lengths, 50).items()))


def shares(sizes: list[int], examples: int) -> dict[int, float]:
    """Share of the test split that has each size."""
    drawn = [sizes[index * len(sizes) // examples] for index in range(examples)]
    return {size: drawn.count(size) / examples for size in sizes}


def test_repeat_copy_adds_an_end_mark_that_is_never_guessed() -> None:
    length, repeats, width = 3, 2, 4
    floor = found("repeat_copy", bits=width, test_sizes=((length, repeats),))
    steps, majority = length * repeats, majority_of_fair_bits(length)
    last = sum(comb(length, ones) for ones in range(length // 2 + 1)) / 2**length  # all bits of END's vector are 0
    expected = (steps * (majority * width + 1) + last * width) / ((steps + 1) * (width + 1))
    assert close(floor, expected)


@settings(deadline=None, max_examples=10)
@given(pairs=st.integers(1, 6), filler=st.sampled_from(["blank", "values"]))
def test_mqar_names_one_of_the_values_exactly_as_often_as_there_are_pairs(pairs: int, filler: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(floors, "MOST_EXAMPLES", 50)
        floor = found("mqar", test_settings=((4 * pairs, pairs),), train_settings=((4, 1),), filler=filler)
    assert floor["floor"] == pytest.approx(1 / pairs)
    assert floor["floors_by_slice"] == {str(pairs): pytest.approx(1 / pairs)}


def test_two_items_leave_one_answer_in_associative_recall() -> None:
    assert found("associative_recall", test_items=(2,))["floor"] == 1


def test_the_informed_guess_of_a_stream_weighs_late_pairs_more() -> None:
    module = tasks.load("key_value_stream")
    config = module.Config(num_pairs=5, num_keys=2, num_tagged=1, num_values=3)
    values = torch.tensor([[0, 0, 0, 1, 2], [0, 0, 0, 0, 1], [2, 0, 1, 1, 2], [0, 1, 2, 2, 0]])
    pairs = torch.stack([torch.zeros_like(values), 6 + values], 2)
    inputs = torch.cat([pairs, torch.tensor([4, 9]).expand(4, 1, 2)], 1).flatten(1)
    weights = 0.5 ** torch.arange(5.0).flip(0)
    expected = [max(range(3), key=lambda v: weights[row == v].sum().item()) for row in values]
    assert module.informed_guess(config, inputs)[:, 0].tolist() == expected


def test_document_question_answering_names_the_object_of_most_sentences() -> None:
    module = tasks.load("document_qa")
    config = module.Config(num_sentences=3, num_subjects=4, num_relations=1, num_objects=4)
    sentences = [[0, 4, 5 + 2, 9], [1, 4, 5 + 3, 9], [2, 4, 5 + 3, 9], [0, 4, 10, 11]]
    assert module.informed_guess(config, torch.tensor(sentences).view(1, -1)).tolist() == [[3]]


def test_a_majority_is_taken_bit_by_bit_over_what_is_shown_and_a_tie_is_no() -> None:
    vectors = torch.tensor([[0b011, 0b010, 0b111, 0b100], [0b001, 0b010, 0b111, 0b111]])
    shown = torch.tensor([[True, True, True, False], [True, True, False, False]])
    assert bits.majority(vectors, shown, 3).tolist() == [[0b011], [0b000]]
    assert bits.majority(vectors, shown, 1).tolist() == [[0b1], [0b0]]


def test_of_classes_with_equal_weights_the_smallest_is_named() -> None:
    answers = torch.tensor([[2, 1, 1, 2], [0, 2, 2, 1]])
    assert classes.most_frequent(answers, torch.ones(4), 3).tolist() == [[1], [2]]


def test_a_score_is_a_mean_over_the_asked_steps_alone() -> None:
    config = tasks.load("copy").Config(bits=2)
    targets = torch.tensor([[-1, 0b11, 0b01], [-1, -1, -1]])
    guess = torch.tensor([[0, 0b10, 0b01], [0, 0, 0]])
    assert floors.scores_of(config, guess, targets).tolist() == [0.75, 0]
    test = config.build(1).test
    assert floors.scored_answers(config, test) == 2 * int((test.targets >= 0).sum())


def test_no_more_tokens_are_drawn_than_the_limit_but_every_slice_has_an_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(floors, "MOST_TOKENS", 2100)
    assert found("copy", test_lengths=(10,), num_test=4)["floor_simulated"]["examples"] == 100
    monkeypatch.setattr(floors, "MOST_TOKENS", 1)
    floor = found("copy", test_lengths=(1, 10, 20), num_test=6)
    assert floor["floor_simulated"]["examples"] == 3
    assert floor["floors_by_slice"].keys() == {"1", "10", "20"}


def test_a_floor_is_the_same_each_time_and_draws_other_examples_than_the_test_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(floors, "MOST_EXAMPLES", 1000)
    assert found("copy", num_test=10) == found("copy", num_test=10)
    assert found("copy", num_test=10)["floor"] != found("copy", seed=2, num_test=10)["floor"]
