"""Entailment: truth by sympy and by brute force, fours, what shallow predictors can know, splits, bad parameters."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sympy.logic.inference import satisfiable

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import Examples, entailment
from palimpsest.tasks.entailment import Config

SIZES = {"num_train": 240, "num_validation": 40, "num_test": 80}


def halves(config: Config, inputs: torch.Tensor) -> tuple[list[int], list[int]]:
    """Tokens of the premise and of the conclusion of one example."""
    tokens = [token for token in inputs.tolist() if token != entailment.BLANK]
    assert tokens[-1] == config.turnstile + 1
    mark = tokens.index(config.turnstile)
    return tokens[:mark], tokens[mark + 1 : -1]


def evaluated(config: Config, formula: list[int], literals: list[Any], operators: list[Any]) -> Any:
    """The value of a formula in reverse Polish notation."""
    stack: list[Any] = []
    for token in formula:
        if token <= 2 * config.num_variables:
            stack.append(literals[token - 1])
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(operators[token - 1 - 2 * config.num_variables](left, right))
    (value,) = stack
    return value


@settings(max_examples=10)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_answers_are_those_of_a_solver_and_of_brute_force(variables: int, seed: int) -> None:
    config = Config(num_variables=variables, num_train=12, num_validation=4, num_test=8)
    symbols = sympy.symbols(f"p:{variables}")
    symbolic = [literal for symbol in symbols for literal in (symbol, sympy.Not(symbol))]
    for split in config.build(seed):
        for inputs, target in zip(split.inputs, split.targets[:, 0].tolist(), strict=True):
            both = halves(config, inputs)
            premise, conclusion = (
                evaluated(config, one, symbolic, [sympy.And, sympy.Or, sympy.Implies]) for one in both
            )
            assert (not satisfiable(sympy.And(premise, sympy.Not(conclusion)))) == bool(target)
            assert target == all(
                not values[0] or values[1]
                for assignment in itertools.product([False, True], repeat=variables)
                for literals in [[part for one in assignment for part in (one, not one)]]
                for values in [
                    [
                        evaluated(
                            config, one, literals, [lambda a, b: a and b, lambda a, b: a or b, lambda a, b: not a or b]
                        )
                        for one in both
                    ]
                ]
            )


@pytest.mark.parametrize("balance", ["fours", "bags"])
def test_examples_come_in_fours_in_which_each_formula_stands_with_either_answer(balance: str) -> None:
    config = Config(train_balance=balance, **SIZES)
    splits = config.build(3)
    for number, split in enumerate(splits):
        pairs = [halves(config, inputs) for inputs in split.inputs]
        for first in range(0, len(pairs) - 3, 4):
            four = pairs[first : first + 4]
            assert split.targets[first : first + 4, 0].tolist() == [1, 1, 0, 0]
            (a, b), (c, d) = four[:2]
            assert four[2:] == [(a, d), (c, b)]
            if number or balance == "bags":
                assert sorted(a) == sorted(c)
                assert sorted(b) == sorted(d)
            assert a != c
            assert b != d


@given(seed=st.integers(0, 2**31), share=st.floats(0.05, 0.95))
@settings(max_examples=20, deadline=None)
def test_the_first_four_of_a_draw_is_found_where_there_is_one(seed: int, share: float) -> None:
    """Against a search of all pairs of premises, and for each of all pairs of conclusions, in order."""
    drawn = entailment.DRAWN
    entails = torch.rand(12, drawn, drawn, generator=torch.Generator().manual_seed(seed)) < share
    choices = itertools.product(itertools.combinations(range(drawn), 2), itertools.permutations(range(drawn), 2))
    every = list(choices)
    expected = []
    for row, table in enumerate(entails.tolist()):
        for (a, b), (c, d) in every:
            if table[a][c] and table[b][d] and not table[a][d] and not table[b][c]:
                expected.append([row, a, b, c, d])
                break
    rows, premises, conclusions = entailment._first_four(entails)
    assert torch.stack([rows, *premises, *conclusions], 1).tolist() == expected


def counts(config: Config, split: Examples) -> np.ndarray:
    """How often each token stands in the premise, and in the conclusion, of each example."""
    rows = [halves(config, inputs) for inputs in split.inputs]
    return np.array([np.concatenate([np.bincount(one, minlength=config.turnstile) for one in both]) for both in rows])


def test_shallow_predictors_sit_at_chance_on_the_test_and_not_where_nothing_is_balanced() -> None:
    """Linear or not, of counts of the tokens of each formula: within three points of one half, here exactly on it."""
    config = Config(num_train=4000, num_validation=400, num_test=2000)
    train, validation, test = config.build(0)
    predictors = [LogisticRegression(max_iter=300), RandomForestClassifier(60, min_samples_leaf=4, random_state=0)]
    given_counts, answers = counts(config, train), train.targets[:, 0].numpy()
    for predictor in predictors:
        predictor.fit(given_counts, answers)
        for split in (validation, test):
            assert abs(predictor.score(counts(config, split), split.targets[:, 0].numpy()) - 0.5) < 0.03
    # The same forest does find the cue where the fours are balanced and the tokens are not: in training itself.
    fresh = config.model_copy(update={"num_train": 2000}).build(1).train
    assert predictors[1].score(counts(config, fresh), fresh.targets[:, 0].numpy()) > 0.55


def test_sizes_and_splits_are_as_asked() -> None:
    config = Config(min_operators=1, max_operators=3, test_operators=(2, 3, 6), **SIZES)
    train, validation, test = config.build(5)
    assert set(train.extras["slice"].tolist()) == {1, 2, 3}
    assert set(validation.extras["slice"].tolist()) == {2, 3}
    assert torch.bincount(test.extras["slice"])[[2, 3, 6]].tolist() == [27, 27, 26]
    for split in (train, validation, test):
        for inputs, size in zip(split.inputs, split.extras["slice"].tolist(), strict=True):
            assert [len(half) for half in halves(config, inputs)] == [2 * size + 1] * 2
    seen = [{tuple(row) for row in split.inputs.tolist()} for split in (train, validation, test)]
    assert not seen[2] & (seen[0] | seen[1])
    assert not seen[1] & seen[0]


def test_every_order_of_tokens_that_is_a_formula_is_as_likely() -> None:
    config = Config()
    tokens = torch.tensor([[1, 2, 3, 5, 6]]).expand(20000, -1)
    found = entailment._arranged(config, tokens, torch.Generator().manual_seed(0))
    rows, times = found.unique(dim=0, return_counts=True)
    valid = [
        order
        for order in set(itertools.permutations([1, 2, 3, 5, 6]))
        if all(sum(1 if token <= 4 else -1 for token in order[: end + 1]) >= 1 for end in range(5))
    ]
    assert sorted(map(tuple, rows.tolist())) == sorted(valid)
    expected = 20000 / len(valid)
    assert (times - expected).abs().max() < 5 * expected**0.5


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"min_operators": 4}, "min_operators 4 is above max_operators; allowed: 1 to 3"),
        ({"test_operators": [1, 2]}, "allowed: 2 to 20"),
        ({"test_operators": [7]}, "are all untrained; allowed: at least one of 1 to 3"),
        ({"test_operators": [2, 2]}, "allowed: at least one size, each once"),
        ({"num_test": 3}, "num_test 3; allowed: as many as tested sizes or more"),
        ({"num_variables": 6}, "num_variables"),
        ({"train_balance": "none"}, "train_balance"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, Any], line: str) -> None:
    with pytest.raises(ParameterError, match=line) as caught:
        checked(Config, content, "file")
    assert "\n" not in str(caught.value)
