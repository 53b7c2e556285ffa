"""Associative recall: items differ, every item but the last is asked about alike, the one after it is the answer."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import associative_recall


@st.composite
def configs(draw: st.DrawFn) -> associative_recall.Config:
    bits, item_length = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    most = min(8, 2 ** (bits * item_length))
    fewest = draw(st.integers(2, most))
    return associative_recall.Config(
        bits=bits,
        item_length=item_length,
        min_items=fewest,
        max_items=draw(st.integers(fewest, most)),
        test_items=tuple(draw(st.lists(st.integers(2, most), min_size=1, max_size=4, unique=True))),
        block=draw(st.integers(1, 5)),
        num_train=12,
        num_validation=5,
        num_test=6,
    )


def parse(config: associative_recall.Config, tokens: list[int]) -> tuple[list[list[int]], list[int], int]:
    """Items, the one asked about, and where the answer begins; the form of the sequence is checked."""
    vectors, (item, query, blank) = 2**config.bits, (2**config.bits + flag for flag in range(3))
    width = config.item_length + 1
    items, place = [], 0
    while tokens[place] == item:
        items.append(tokens[place + 1 : place + width])
        place += width
    asked = tokens[place + 1 : place + width]
    assert tokens[place] == tokens[place + width] == query
    assert all(0 <= vector < vectors for one in [*items, asked] for vector in one)
    assert set(tokens[place + width + 1 :]) == {blank}
    return items, asked, place + width + 1


@given(configs(), st.integers(0, 1000))
def test_the_target_is_the_item_after_the_asked_one(config: associative_recall.Config, seed: int) -> None:
    for inputs, targets, extras in config.build(seed):
        for row, (tokens, wanted) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            items, asked, start = parse(config, tokens)
            assert len(set(map(tuple, items))) == len(items) == extras["slice"][row]
            assert asked in items[:-1]
            answer = next(after for before, after in itertools.pairwise(items) if before == asked)
            assert wanted == [-1] * start + answer + [-1] * (len(tokens) - start - len(answer))
            assert extras["length"][row] == start + config.item_length
        assert torch.equal(associative_recall.best_guess(config, inputs), targets)


def test_the_picture_is_an_example() -> None:
    config = associative_recall.Config(item_length=2)
    item, query, blank = 64, 65, 66
    tokens = [item, 7, 20, item, 3, 41, item, 60, 5, query, 3, 41, query, blank, blank]
    assert associative_recall.best_guess(config, torch.tensor([tokens])).tolist() == [[-1] * 13 + [60, 5]]


def test_each_item_but_the_last_is_asked_about_alike() -> None:
    config = associative_recall.Config(num_train=6000, min_items=5, max_items=5)
    counts: Counter[int] = Counter()
    for tokens in config.build(0).train.inputs.tolist():
        items, asked, _ = parse(config, tokens)
        counts[items.index(asked)] += 1
    assert set(counts) == {0, 1, 2, 3}
    assert all(abs(count - 1500) < 4.5 * 1500**0.5 for count in counts.values())


@pytest.mark.parametrize(("bits", "item_length"), [(6, 3), (2, 2)])
def test_every_bit_of_an_answer_is_fair_also_where_items_are_scarce(bits: int, item_length: int) -> None:
    config = associative_recall.Config(bits=bits, item_length=item_length, num_train=4000)
    targets = config.build(0).train.targets
    answers = targets[targets >= 0]
    for bit in range(bits):
        share = ((answers >> bit) & 1).double().mean().item()
        assert abs(share - associative_recall.chance(config)) < 4 * (0.25 / len(answers)) ** 0.5


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"bits": 0}, "bits"),
        ({"item_length": 5}, "item_length"),
        ({"min_items": 1}, "min_items"),
        ({"test_items": [1]}, "test_items.0"),
        (
            {"bits": 1, "max_items": 8, "test_items": [9]},
            r"9 items cannot all differ; allowed: at most 2\^\(bits \* item_length\) = 8",
        ),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        checked(associative_recall.Config, content, "file")
    assert "\n" not in str(caught.value)
