"""Multi-query associative recall: every key is asked once, at the gaps that the power law gives."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import mqar


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters; checked outside, as shape checks draw random numbers, which a strategy may not."""
    vocabulary = 2 * draw(st.integers(7, 20))
    settings = st.integers(1, 6).flatmap(
        lambda pairs: st.integers(2 * pairs, 2 * pairs + 8).map(lambda half: (2 * half, pairs))
    )
    return {
        "vocabulary": vocabulary,
        "train_settings": draw(st.lists(settings, min_size=1, max_size=3)),
        "test_settings": draw(st.lists(settings, min_size=1, max_size=3, unique_by=lambda setting: setting[1])),
        "power": draw(st.sampled_from([0.01, 0.5, 1.0])),
        "filler": draw(st.sampled_from(["blank", "values"])),
        "block": draw(st.integers(1, 5)),
        "num_train": 12,
        "num_validation": 5,
        "num_test": 6,
    }


def naive_answers(half: int, tokens: list[int], pairs: int) -> list[int]:
    """The right answer at each step, by looking every later token up among the keys of the pairs."""
    keys, values = tokens[: 2 * pairs : 2], tokens[1 : 2 * pairs : 2]
    assert len(set(keys)) == len(set(values)) == pairs
    assert all(0 < key < half for key in keys)
    assert all(half <= value < 2 * half for value in values)
    answers = [-1] * (2 * pairs)
    for step, token in enumerate(tokens[2 * pairs :]):
        assert token not in keys or step % 2 == 0
        answers.append(values[keys.index(token)] if token in keys else -1)
    return answers


@given(contents(), st.integers(0, 1000))
def test_every_key_is_asked_once_and_its_value_is_the_answer_there(content: dict[str, Any], seed: int) -> None:
    config = mqar.Config(**content)
    half = config.vocabulary // 2
    fillers = {0} if config.filler == "blank" else set(range(half, 2 * half))
    for inputs, targets, extras in config.build(seed):
        for row, (tokens, wanted) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            pairs, length = int(extras["slice"][row]), int(extras["length"][row])
            assert (length, pairs) in config.settings
            assert wanted == naive_answers(half, tokens, pairs)
            assert sum(target >= 0 for target in wanted) == pairs
            between = [step for step in range(2 * pairs, length) if wanted[step] < 0]
            assert {tokens[step] for step in between} <= fillers
        assert torch.equal(mqar.best_guess(config, inputs), targets)


def test_the_picture_is_an_example() -> None:
    config = mqar.Config(vocabulary=8, train_settings=((12, 2),), test_settings=((12, 2),))
    tokens = [2, 7, 1, 4, 0, 0, 1, 0, 0, 0, 2, 0]
    expected = [-1, -1, -1, -1, -1, -1, 4, -1, -1, -1, 7, -1]
    assert mqar.best_guess(config, torch.tensor([tokens])).tolist() == [expected]


def probabilities(weights: list[float], pairs: int) -> dict[tuple[int, ...], float]:
    """Of every order of gaps that can be drawn one after the other without replacement."""
    found = {}
    for gaps in itertools.permutations(range(len(weights)), pairs):
        left, probability = sum(weights), 1.0
        for gap in gaps:
            probability *= weights[gap] / left
            left -= weights[gap]
        found[gaps] = probability
    return found


@pytest.mark.parametrize("power", [0.01, 0.5, 1.0])
def test_gaps_follow_the_power_law_drawn_one_after_the_other(power: float) -> None:
    settings = ((12, 2),)  # four gaps
    config = mqar.Config(train_settings=settings, test_settings=settings, power=power, num_train=20_000)
    inputs, _, _ = config.build(0).train
    keys = inputs[:, :4:2]
    places = (inputs[:, None, 4:] == keys[:, :, None]).int().argmax(2) // 2
    expected = probabilities([(gap + 1) ** (power - 1) for gap in range(4)], 2)
    for gaps, probability in expected.items():
        count = (places == torch.tensor(gaps)).all(1).sum().item()
        assert abs(count - 20_000 * probability) < 4.5 * (20_000 * probability) ** 0.5


def test_chance_is_the_accuracy_of_any_constant_value() -> None:
    settings = ((8, 1), (16, 3))
    config = mqar.Config(vocabulary=16, train_settings=settings, test_settings=settings, num_train=4000)
    targets = config.build(0).train.targets
    answers = targets[targets >= 0]
    shares = torch.bincount(answers, minlength=16)[8:].double() / len(answers)
    assert ((shares - mqar.chance(config)).abs() < 4.5 * (mqar.chance(config) / len(answers)) ** 0.5).all()


@pytest.mark.parametrize("setting", [(64, 4), (128, 8), (256, 16), (512, 64)])
def test_the_settings_of_the_paper_can_be_drawn(setting: tuple[int, int]) -> None:
    config = mqar.Config(
        vocabulary=8192, train_settings=(setting,), test_settings=(setting,), num_train=20, num_test=20
    )
    train = config.build(0).train
    assert train.inputs.shape == (20, setting[0])
    assert ((train.targets >= 0).sum(1) == setting[1]).all()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"vocabulary": 63}, "vocabulary 63 is odd; allowed: an even number"),
        ({"vocabulary": 2**20 + 2}, "vocabulary"),
        ({"train_settings": [[16, 5]]}, r"\[16, 5\] has no room; allowed: an even number of tokens, 4 a pair or more"),
        ({"train_settings": [[17, 2]]}, r"\[17, 2\] has no room"),
        ({"vocabulary": 16}, r"8 pairs of \[64, 8\] are more than there are keys; allowed: 7"),
        ({"train_settings": []}, "train_settings is empty; allowed: at least one"),
        ({"test_settings": []}, "nothing is tested; allowed: at least one size"),
        ({"curriculum_start": 3}, "curriculum_start 3 counts settings of training; allowed: 1 to 2"),
        ({"power": 0}, "power"),
        ({"power": 1.1}, "power"),
        ({"filler": "keys"}, "filler"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        checked(mqar.Config, content, "file")
    assert "\n" not in str(caught.value)
