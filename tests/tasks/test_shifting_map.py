"""Shifting map: every map is a function of keys of its own, and no test sequence shows any of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import shifting_map
from palimpsest.tasks.shifting_map import Config


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters; checked outside, as shape checks draw random numbers, which a strategy may not."""
    key_bits = draw(st.integers(2, 6))
    keys = draw(st.integers(2, 2**key_bits))
    return {
        "map": draw(st.integers(0, 2**key_bits // keys - 1)),
        "key_bits": key_bits,
        "code": draw(st.sampled_from(["bits", "learned"])),
        "keys_per_map": keys,
        "num_values": draw(st.integers(2, 9)),
        "num_pairs": draw(st.integers(1, 9)),
        "shown": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "num_train": 12,
        "num_validation": 5,
        "num_test": 6,
    }


def naive(config: Config, keys: np.ndarray, shows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of sequences, pair by pair, from their keys and from whether each value is shown."""
    value_of = {int(key): int(value) for key, value in zip(*shifting_map.keys_and_values(config), strict=True)}
    inputs, targets = [], []
    for row, shown in zip(keys.tolist(), shows.tolist(), strict=True):
        tokens, answers = [], []
        for key, is_shown in zip(row, shown, strict=True):
            tokens += [key, 2**config.key_bits + value_of[key] if is_shown else config.blank]
            answers += [value_of[key], -1]
        inputs.append(tokens)
        targets.append(answers)
    return np.array(inputs), np.array(targets)


@given(contents(), st.integers(0, 1000))
def test_sequences_are_keys_and_values_of_one_map(content: dict[str, Any], seed: int) -> None:
    config = Config(**content)
    for number, (inputs, targets, extras) in enumerate(config.build(seed)):
        keys, told = inputs[:, ::2].numpy(), inputs[:, 1::2].numpy()
        expected, answers = naive(config, keys, told != config.blank)
        assert np.array_equal(inputs.numpy(), expected)
        assert np.array_equal(targets.numpy(), answers)
        assert torch.equal(shifting_map.best_guess(config, inputs), targets)
        if number or config.shown in (0, 1):
            assert ((told != config.blank) == (number == 0 and config.shown == 1)).all()
        assert set(extras["slice"].tolist()) == {config.map}


@given(contents())
def test_a_map_has_each_value_alike_often_and_keys_of_its_own(content: dict[str, Any]) -> None:
    config = Config(**content)
    maps = range(2**config.key_bits // config.keys_per_map)
    drawn = [shifting_map.keys_and_values(config.model_copy(update={"map": number})) for number in maps]
    every = torch.cat([keys for keys, _ in drawn]).tolist()
    assert len(set(every)) == len(every) == len(maps) * config.keys_per_map
    assert all(0 <= key < 2**config.key_bits for key in every)
    for _, values in drawn:
        counts = {value: values.tolist().count(value) for value in range(config.num_values)}
        most = max(counts.values())
        assert min(counts.values()) >= most - 1
        assert shifting_map.chance(config) == most / config.keys_per_map


def test_the_seed_draws_sequences_and_not_the_map() -> None:
    config = Config(num_train=200, num_pairs=20)
    for seed in (1, 2):
        inputs, targets, _ = config.build(seed).train
        assert torch.equal(shifting_map.best_guess(config, inputs), targets)
        assert set(inputs[:, ::2].flatten().tolist()) == set(shifting_map.keys_and_values(config)[0].tolist())


@given(st.integers(2, 6), st.integers(1, 9), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 1000))
def test_a_sequence_with_a_map_of_its_own_is_answered_by_what_it_has_shown(
    keys: int, pairs: int, shown: float, seed: int
) -> None:
    config = Config(map=None, keys_per_map=keys, num_pairs=pairs, shown=shown, num_train=9, num_values=3)
    for inputs, targets, _ in config.build(seed):
        guess = shifting_map.best_guess(config, inputs)
        for row, answers, guessed in zip(inputs.tolist(), targets.tolist(), guess.tolist(), strict=True):
            value_of: dict[int, int] = {}
            known: dict[int, int] = {}
            for key, told, answer, said in zip(row[::2], row[1::2], answers[::2], guessed[::2], strict=True):
                assert value_of.setdefault(key, answer) == answer
                assert said == known.get(key, 0)
                if told != config.blank:
                    assert told - 2**config.key_bits == answer
                    known[key] = answer
            assert set(answers[1::2]) == set(guessed[1::2]) == {-1}
            assert len(value_of) <= keys


def test_the_ceiling_of_sequences_with_maps_of_their_own_is_what_the_best_guess_reaches() -> None:
    config = Config(map=None, keys_per_map=4, num_values=5, shown=0.6, num_test=20_000)
    inputs, targets, _ = config.build(2).test
    asked = targets >= 0
    right = (shifting_map.best_guess(config, inputs) == targets)[asked].double().mean()
    assert right == pytest.approx(shifting_map.ceiling(config), abs=0.005)
    informed = shifting_map.informed_guess(config, inputs)
    assert informed is not None
    assert shifting_map.chance(config) < (informed == targets)[asked].double().mean() < right


def test_training_shows_the_share_of_values_that_is_asked_for() -> None:
    train = Config(shown=0.25, num_train=2000).build(0).train
    blank = Config().blank
    assert (train.inputs[:, 1::2] != blank).double().mean() == pytest.approx(0.25, abs=0.02)


def test_two_maps_differ_in_nothing_that_a_model_is_told() -> None:
    first, second = (Config(map=number) for number in (0, 1))
    assert first.interface() == second.interface()
    assert first.interface() == Config(map=None, keys_per_map=4).interface()
    assert first.interface() | {"code": "learned", "code_bits": 0} == Config(code="learned").interface()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"map": 16}, r"map 16 finds no keys: 16 a map of 2\^8; allowed: fewer than 16 maps"),
        ({"key_bits": 3}, r"keys_per_map 16 is above 2\^3; allowed: 2 to 8"),
        ({"num_values": 1}, "num_values"),
        ({"shown": 1.5}, "shown"),
    ],
)
def test_bad_input_is_one_line(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        checked(Config, content, "p.yaml", "task.config")
    assert "\n" not in str(caught.value)
