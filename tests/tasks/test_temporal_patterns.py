"""Temporal patterns: what follows is what the rule says; who does not see back as far as the lag is at chance."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import Examples, temporal_patterns
from palimpsest.tasks.shared.floors import scores_of


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters; checked outside, as shape checks draw random numbers, which a strategy may not."""
    return {
        "num_symbols": draw(st.integers(2, 9)),
        "lags": tuple(draw(st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True))),
        "patterns": draw(st.sampled_from([("periodic",), ("driven",), ("periodic", "driven")])),
        "num_asked": draw(st.integers(1, 12)),
        "block": draw(st.integers(1, 4)),
        "num_train": 12,
        "num_validation": 5,
        "num_test": 6,
    }


@given(contents(), st.integers(0, 1000))
def test_without_noise_every_symbol_behind_the_first_ones_follows_from_the_rule(
    content: dict[str, Any], seed: int
) -> None:
    config = temporal_patterns.Config(**content, noise=0)
    for inputs, targets, extras in config.build(seed):
        for row, (tokens, wanted) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            rule = config.rules[tokens[0] - config.num_symbols]
            assert extras["slice"][row] == rule.lag
            symbols = tokens[1:]
            for step in range(len(tokens)):
                if step < rule.lag:
                    assert wanted[step] == -1
                    continue
                added = 1 if rule.pattern == "periodic" else symbols[step - 1]
                due = (symbols[step - rule.lag] + added) % config.num_symbols
                assert wanted[step] == due
                if step < len(symbols):
                    assert symbols[step] == due


@given(contents(), st.integers(0, 1000), st.floats(0, 0.9))
def test_the_best_guess_is_the_symbol_that_is_due_and_the_next_input_is_the_target(
    content: dict[str, Any], seed: int, noise: float
) -> None:
    config = temporal_patterns.Config(**content, noise=noise)
    for inputs, targets, _ in config.build(seed):
        guess = temporal_patterns.best_guess(config, inputs)
        assert torch.equal(guess >= 0, targets >= 0)
        assert torch.equal(inputs[:, 1:].where(targets[:, :-1] >= 0, -1), targets[:, :-1])


def test_the_example_of_the_docstring_is_one() -> None:
    config = temporal_patterns.Config(num_symbols=4, lags=(3,), patterns=("periodic",), num_asked=6)
    inputs = torch.tensor([[4, 2, 0, 3, 3, 1, 2, 0, 2]])
    assert config.interface()["sequence_length"] == 9
    assert temporal_patterns.best_guess(config, inputs).tolist() == [[-1, -1, -1, 3, 1, 0, 0, 2, 3]]


def large(**departures: Any) -> tuple[temporal_patterns.Config, Examples]:
    """The default task with as many test sequences as a thousandth needs."""
    config = temporal_patterns.Config(num_train=4, num_validation=4, num_test=8000, **departures)
    return config, config.build(5).test


def test_copying_the_last_symbol_is_at_chance_and_far_from_the_ceiling_at_every_lag() -> None:
    config, test = large()
    ceiling, chance = temporal_patterns.ceiling(config), temporal_patterns.chance(config)
    last = scores_of(config, test.inputs.clamp_max(config.num_symbols - 1), test.targets)
    for lag in config.lags:
        mean = last[test.extras["slice"] == lag].mean().item()
        assert mean < chance + 0.02
        assert ceiling - mean > 0.75


@pytest.mark.parametrize("window", [2, 3])
def test_no_table_of_what_followed_in_training_helps_within_a_window_that_is_shorter_than_the_lag(window: int) -> None:
    """An n-gram that knows the rule and the last symbols, counted on other sequences; beyond the lag it is the rule."""
    config = temporal_patterns.Config(num_symbols=4, lags=(2, 4), num_train=6000, num_validation=4, num_test=2000)
    splits = config.build(3)
    counts: dict[tuple[int, ...], Counter[int]] = {}

    def contexts(tokens: list[int]) -> list[tuple[int, ...]]:
        return [(tokens[0], *tokens[max(1, step + 1 - window) : step + 1]) for step in range(len(tokens))]

    for tokens, wanted in zip(splits.train.inputs.tolist(), splits.train.targets.tolist(), strict=True):
        for context, answer in zip(contexts(tokens), wanted, strict=True):
            if answer >= 0:
                counts.setdefault(context, Counter())[answer] += 1
    most = {context: found.most_common(1)[0][0] for context, found in counts.items()}
    guess = torch.tensor([[most.get(each, 0) for each in contexts(row)] for row in splits.test.inputs.tolist()])
    scores, lag = scores_of(config, guess, splits.test.targets), splits.test.extras["slice"]
    assert scores[lag == 2].mean().item() == pytest.approx(temporal_patterns.ceiling(config), abs=0.01)
    assert scores[lag == 4].mean().item() < temporal_patterns.chance(config) + 0.03


def test_the_informed_floor_is_near_chance_where_no_pattern_comes_back_within_a_sequence() -> None:
    config, test = large()
    guess = temporal_patterns.informed_guess(config, test.inputs)
    scores, lag = scores_of(config, guess, test.targets), test.extras["slice"]
    for far in (8, 16):
        assert scores[lag == far].mean().item() < temporal_patterns.chance(config) + 0.02
    # Symbols that are each the sum of the two before come back after a few steps.
    assert temporal_patterns.chance(config) + 0.1 < scores[lag == 2].mean().item() < 0.6


def naive_continuation(tokens: list[int], symbols: int) -> list[int]:
    """What followed most often on the longest context of up to three tokens, counted one by one."""
    guesses = []
    for step in range(len(tokens)):
        found = Counter[int]()
        for order in (3, 2, 1, 0):
            if order > step + 1:
                continue
            context = tokens[step + 1 - order : step + 1]
            found = Counter(
                tokens[place] for place in range(max(1, order), step + 1) if tokens[place - order : place] == context
            )
            if found:
                break
        guesses.append(min(range(symbols), key=lambda symbol: (-found[symbol], symbol)))
    return guesses


@given(contents(), st.integers(0, 100))
def test_the_informed_guess_is_an_n_gram_of_the_sequence_so_far(content: dict[str, Any], seed: int) -> None:
    config = temporal_patterns.Config(**content)
    inputs = config.build(seed).test.inputs
    expected = [naive_continuation(row, config.num_symbols) for row in inputs.tolist()]
    assert temporal_patterns.informed_guess(config, inputs).tolist() == expected


def test_noise_is_as_frequent_as_it_should_be_and_the_ceiling_knows_it() -> None:
    for noise, ceiling in ((0.0, 1.0), (0.5, 0.5625)):
        config, test = large(noise=noise)
        assert temporal_patterns.ceiling(config) == pytest.approx(ceiling)
        found = scores_of(config, temporal_patterns.best_guess(config, test.inputs), test.targets).mean().item()
        assert found == pytest.approx(ceiling, abs=0.005)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lags": [1]}, "lags"),
        ({"lags": []}, "nothing is tested; allowed: at least one size"),
        ({"lags": [4, 4]}, "the test asks for 4 twice; allowed: each size once"),
        ({"patterns": []}, r"patterns \[\]; allowed: one or more of periodic and driven, each once"),
        ({"patterns": ["driven", "driven"]}, "allowed: one or more of periodic and driven, each once"),
        ({"patterns": ["chaotic"]}, "patterns"),
        ({"noise": 1.0}, "noise"),
        ({"num_symbols": 1}, "num_symbols"),
        ({"lags": [4], "curriculum_start": 2}, "curriculum_start 2 counts lags; allowed: 1 to 1"),
        ({"num_test": 3}, "num_test 3 is too few for 4 tested sizes"),
    ],
)
def test_parameters_that_make_no_task_are_refused_in_one_line(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        checked(temporal_patterns.Config, config, "params/x.yaml", "task.config")
    assert "\n" not in str(caught.value)
