"""Repeat copy: as often as the number asks, then END; what the code makes of the number; chance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.encoding import bit_codes
from palimpsest.tasks import repeat_copy


@st.composite
def configs(draw: st.DrawFn) -> repeat_copy.Config:
    shortest, fewest = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sizes = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4, unique=True)
    return repeat_copy.Config(
        bits=draw(st.integers(1, 8)),
        min_length=shortest,
        max_length=draw(st.integers(shortest, 5)),
        min_repeats=fewest,
        max_repeats=draw(st.integers(fewest, 5)),
        test_sizes=tuple(draw(sizes)),
        curriculum_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
        block=draw(st.integers(1, 5)),
        num_train=12,
        num_validation=5,
        num_test=6,
    )


@given(configs(), st.integers(0, 1000))
def test_vectors_are_repeated_as_often_as_asked_and_then_the_end(config: repeat_copy.Config, seed: int) -> None:
    vectors_below = 2**config.bits
    for inputs, targets, extras in config.build(seed):
        for row, (tokens, wanted) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            length, repeats = divmod(int(extras["slice"][row]), 100)
            assert all(token < vectors_below for token in tokens[:length])
            assert tokens[length] == vectors_below * repeats
            assert set(tokens[length + 1 :]) == {config.blank}
            answers = tokens[:length] * repeats + [vectors_below]
            assert extras["length"][row] == length + 1 + len(answers)
            assert wanted == [-1] * (length + 1) + answers + [-1] * (len(tokens) - length - 1 - len(answers))
        assert torch.equal(repeat_copy.best_guess(config, inputs), targets)


@given(configs(), st.integers(0, 1000))
def test_sizes_lie_where_they_may(config: repeat_copy.Config, seed: int) -> None:
    train, validation, test = config.build(seed)
    for split in (train, validation):
        length, repeats = split.extras["slice"] // 100, split.extras["slice"] % 100
        assert config.min_length <= length.min() <= length.max() <= config.max_length
        assert config.min_repeats <= repeats.min() <= repeats.max() <= config.max_repeats
    tested = {(value // 100, value % 100) for value in test.extras["slice"].tolist()}
    assert tested == set(config.test_sizes)


def test_the_picture_is_an_example() -> None:
    config = repeat_copy.Config()
    blank = config.blank
    inputs = torch.tensor([[7, 200, 3 * 256, *[blank] * 7]])
    assert repeat_copy.best_guess(config, inputs).tolist() == [[-1, -1, -1, 7, 200, 7, 200, 7, 200, 256]]


def test_the_number_reaches_a_model_on_a_channel_of_its_own_in_equal_steps() -> None:
    config = repeat_copy.Config(bits=2, max_repeats=2, test_sizes=((1, 4),))
    interface = config.interface()
    codes = bit_codes(interface["num_tokens"], interface["code_bits"], interface["code_levels"])  # type: ignore[arg-type]
    numbers = codes[[4 * repeats for repeats in range(5)]]
    assert numbers[:, 2].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert not numbers[:, [0, 1, 3]].any()
    assert codes[config.blank].tolist() == [0, 0, 0, 1]


def test_chance_is_the_accuracy_of_the_best_constant_on_the_test_split() -> None:
    config = repeat_copy.Config(bits=3, test_sizes=((1, 1), (2, 3), (4, 4)), num_test=20_001)
    targets = config.build(0).test.targets
    asked = targets >= 0
    bits = (targets[..., None] >> torch.arange(config.bits + 1)) & 1
    found = []
    for constant in range(2 ** (config.bits + 1)):
        guess = (torch.tensor(constant) >> torch.arange(config.bits + 1)) & 1
        right = (bits == guess).double().mean(2)
        found.append(((right * asked).sum(1) / asked.sum(1)).mean().item())
    assert max(range(len(found)), key=found.__getitem__) == 0
    assert found[0] == pytest.approx(repeat_copy.chance(config), abs=4 * 0.25 / 20_001**0.5)


def test_a_number_of_test_examples_that_does_not_divide_evenly_weighs_chance() -> None:
    config = repeat_copy.Config(bits=1, test_sizes=((1, 1), (9, 9)), num_test=3)
    short, long = ((n - 1) * 1.5 + 1 for n in (2, 82))
    assert repeat_copy.chance(config) == pytest.approx((2 * short / 4 + long / 164) / 3)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"bits": 0}, "bits"),
        ({"max_repeats": 100}, "max_repeats"),
        ({"min_repeats": 11}, "min_repeats 11 is above max_repeats; allowed: 1 to 10"),
        ({"test_sizes": [[3, 100]]}, "test_sizes.0.1"),
        ({"test_sizes": [[3]]}, "test_sizes.0"),
        ({"test_sizes": []}, "nothing is tested; allowed: at least one size"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        checked(repeat_copy.Config, content, "file")
    assert "\n" not in str(caught.value)
