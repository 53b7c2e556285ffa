"""Copy: the inputs are the targets of the second half alone; bits are fair."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import copy


@st.composite
def configs(draw: st.DrawFn) -> copy.Config:
    shortest = draw(st.integers(1, 4))
    longest = draw(st.integers(shortest, 9))
    return copy.Config(
        bits=draw(st.integers(1, 14)),
        min_length=shortest,
        max_length=longest,
        test_lengths=tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True))),
        curriculum_start=draw(st.integers(1, longest)),
        curriculum_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
        block=draw(st.integers(1, 5)),
        num_train=12,
        num_validation=5,
        num_test=6,
    )


def parse(config: copy.Config, tokens: list[int]) -> list[int]:
    """The vectors of a sequence, whose form is checked."""
    end, blank = 2**config.bits, 2**config.bits + 1
    assert tokens.count(end) == 1
    vectors = tokens[: tokens.index(end)]
    assert all(0 <= vector < end for vector in vectors)
    assert set(tokens[len(vectors) + 1 :]) == {blank}
    return vectors


@given(configs(), st.integers(0, 1000))
def test_the_targets_after_the_end_are_the_inputs_and_nothing_else_is_a_target(config: copy.Config, seed: int) -> None:
    for inputs, targets, extras in config.build(seed):
        for row, (tokens, wanted) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            vectors = parse(config, tokens)
            silence = [-1] * (len(vectors) + 1)
            rest = [-1] * (len(tokens) - 2 * len(vectors) - 1)
            assert wanted == silence + vectors + rest
            assert extras["length"][row] == 2 * len(vectors) + 1
            assert extras["slice"][row] == len(vectors)
        assert torch.equal(copy.best_guess(config, inputs), targets)


def test_the_picture_is_an_example() -> None:
    config = copy.Config()
    inputs = torch.tensor([[7, 200, 13, 256, 257, 257, 257], [9, 256, 257, 257, 257, 257, 257]])
    expected = [[-1, -1, -1, -1, 7, 200, 13], [-1, -1, 9, -1, -1, -1, -1]]
    assert copy.best_guess(config, inputs).tolist() == expected


def test_twenty_vectors_take_the_forty_one_steps_that_others_report() -> None:
    config = copy.Config(test_lengths=(20,))
    assert config.interface()["sequence_length"] == 41


def test_every_bit_is_fair_so_that_chance_is_one_half() -> None:
    config = copy.Config(num_train=2000)
    targets = config.build(0).train.targets
    answers = targets[targets >= 0]
    for bit in range(config.bits):
        share = ((answers >> bit) & 1).double().mean().item()
        assert abs(share - copy.chance(config)) < 4 * (0.25 / len(answers)) ** 0.5


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"bits": 0}, "bits"),
        ({"bits": 15}, "bits"),
        ({"min_length": 0}, "min_length"),
        ({"max_length": 1001}, "max_length"),
        ({"test_lengths": [10, 0]}, "test_lengths.1"),
        ({"test_lengths": [1.5]}, "test_lengths.0"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        checked(copy.Config, content, "file")
    assert "\n" not in str(caught.value)
