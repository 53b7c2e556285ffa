"""Delayed copy: symbols come back in order, as far behind as the delay says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import delayed_copy


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters; checked outside, as shape checks draw random numbers, which a strategy may not."""
    shortest = draw(st.integers(1, 9))
    return {
        "num_symbols": draw(st.integers(2, 9)),
        "num_items": draw(st.integers(1, 6)),
        "min_delay": shortest,
        "max_delay": draw(st.integers(shortest, 12)),
        "test_delays": draw(st.lists(st.integers(1, 20), min_size=1, max_size=3, unique=True)),
        "curriculum_start": 1,
        "curriculum_share": draw(st.sampled_from([0.0, 0.5])),
        "block": draw(st.integers(1, 5)),
        "num_train": 12,
        "num_validation": 5,
        "num_test": 6,
    }


@given(contents(), st.integers(0, 1000))
def test_every_symbol_is_asked_in_order_after_the_delay(content: dict[str, Any], seed: int) -> None:
    config = delayed_copy.Config(**content)
    items = config.num_items
    for inputs, targets, extras in config.build(seed):
        assert torch.equal(delayed_copy.best_guess(config, inputs), targets)
        for row, tokens in enumerate(inputs.tolist()):
            delay, length = int(extras["slice"][row]), int(extras["length"][row])
            symbols = tokens[:items]
            assert all(symbol < config.num_symbols for symbol in symbols)
            rest = [config.blank] * delay + [config.blank + 1] + [config.blank] * (items - 1)
            assert tokens[items:length] == rest
            assert targets[row].tolist()[:length] == [-1] * (items + delay) + symbols
            assert set(targets[row].tolist()[length:]) <= {-1}


def test_the_picture_is_an_example() -> None:
    config = delayed_copy.Config(num_items=3, min_delay=4, max_delay=4, test_delays=(4,))
    tokens = torch.tensor([[5, 2, 7, 8, 8, 8, 8, 9, 8, 8]])
    assert delayed_copy.best_guess(config, tokens).tolist() == [[-1, -1, -1, -1, -1, -1, -1, 5, 2, 7]]


def test_validation_has_trained_delays_and_the_test_has_all_alike_often() -> None:
    config = delayed_copy.Config(num_train=40, num_validation=200, num_test=40)
    splits = config.build(3)
    assert splits.validation.extras["slice"].min() >= config.min_delay
    assert splits.validation.extras["slice"].max() <= config.max_delay
    assert Counter(splits.test.extras["slice"].tolist()) == {20: 10, 50: 10, 100: 10, 200: 10}
    assert [config.trained(delay) for delay in (7, 8, 100, 200)] == [False, True, True, False]


def test_one_delay_is_the_longest_in_training_and_the_only_one_tested() -> None:
    config = delayed_copy.Config(num_train=40, num_validation=40, num_test=4, delay=30)
    splits = config.build(3)
    assert splits.train.extras["slice"].max() <= 30
    assert splits.test.extras["slice"].tolist() == [30] * 4
    assert config.interface()["sequence_length"] == 50
    short = delayed_copy.Config(num_train=40, num_validation=40, num_test=4, delay=5).build(1)
    assert all((split.extras["slice"] == 5).all() for split in short)


def test_the_informed_guess_names_what_was_shown_most_often() -> None:
    config = delayed_copy.Config(num_symbols=8, num_items=10, num_test=2000)
    inputs, targets, _ = config.build(0).test
    guess = delayed_copy.informed_guess(config, inputs)
    naive = [min(Counter(row).items(), key=lambda pair: (-pair[1], pair[0]))[0] for row in inputs[:, :10].tolist()]
    assert guess[:, 0].tolist() == naive
    right = (guess == targets)[targets >= 0].double().mean()
    assert 0.25 < right < 0.35  # chance is 1/8: the order is unknown, the symbols are not


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"min_delay": 30, "max_delay": 20}, "min_delay 30 is above max_delay; allowed: 1 to 20"),
        ({"test_delays": []}, "nothing is tested; allowed: at least one size"),
        ({"test_delays": [20, 20]}, "the test asks for 20 twice; allowed: each size once"),
        ({"num_symbols": 1}, "num_symbols"),
        ({"curriculum_start": 101}, "curriculum_start 101 is above max_delay; allowed: 1 to 100"),
    ],
)
def test_bad_input_is_one_line(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        checked(delayed_copy.Config, content, "p.yaml", "task.config")
