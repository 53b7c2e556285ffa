"""Priority sort: no two priorities are equal, the highest comes first, and there are as many targets as asked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.encoding import bit_codes
from palimpsest.tasks import priority_sort


@st.composite
def configs(draw: st.DrawFn) -> priority_sort.Config:
    fewest = draw(st.integers(1, 5))
    most = draw(st.integers(fewest, 8))
    return priority_sort.Config(
        bits=draw(st.integers(1, 8)),
        num_levels=draw(st.integers(9, 20)),
        num_sorted=draw(st.integers(1, 10)),
        min_vectors=fewest,
        max_vectors=most,
        test_vectors=tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True))),
        curriculum_share=draw(st.sampled_from([0.0, 0.5])),
        block=draw(st.integers(1, 5)),
        num_train=12,
        num_validation=5,
        num_test=6,
    )


@given(configs(), st.integers(0, 1000))
def test_targets_are_vectors_from_the_highest_priority_down(config: priority_sort.Config, seed: int) -> None:
    end = 2**config.bits * config.num_levels
    for inputs, targets, extras in config.build(seed):
        for row, (tokens, wanted) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            count = int(extras["slice"][row])
            pairs = [divmod(token, 2**config.bits) for token in tokens[:count]]
            levels = [level for level, _ in pairs]
            assert len(set(levels)) == count
            assert max(levels) < config.num_levels
            assert tokens[count:] == [end] + [end + 1] * (len(tokens) - count - 1)
            answers: list[int] = []
            while pairs and len(answers) < config.num_sorted:
                answers.append(pairs.pop(max(range(len(pairs)), key=lambda place: pairs[place][0]))[1])
            assert extras["length"][row] == count + 1 + len(answers)
            assert wanted == [-1] * (count + 1) + answers + [-1] * (len(tokens) - count - 1 - len(answers))
        assert torch.equal(priority_sort.best_guess(config, inputs), targets)


def test_the_picture_is_an_example_and_its_priorities_reach_a_model() -> None:
    config = priority_sort.Config(num_levels=9, num_sorted=3)
    levels = torch.tensor([6, 0, 8, 4])
    inputs = torch.cat([torch.tensor([7, 200, 13, 90]) + 256 * levels, torch.tensor([2304, 2305, 2305, 2305])])
    assert priority_sort.best_guess(config, inputs[None]).tolist() == [[-1] * 5 + [13, 7, 90]]
    interface = config.interface()
    codes = bit_codes(interface["num_tokens"], interface["code_bits"], interface["code_levels"])[inputs]  # type: ignore[arg-type]
    assert codes[:4, 8].tolist() == [0.5, -1, 1, 0]
    assert (codes[:4, :8].long() @ (1 << torch.arange(8))).tolist() == [7, 200, 13, 90]
    assert codes[4:, 9:].tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]


def test_the_sizes_of_the_paper_fit_into_the_alphabet() -> None:
    config = priority_sort.Config(
        min_vectors=20, max_vectors=20, num_sorted=16, test_vectors=(20,), num_levels=127, num_train=40
    )
    assert config.interface()["sequence_length"] == 37
    targets = config.build(0).train.targets
    assert ((targets >= 0).sum(1) == 16).all()


def test_every_level_and_every_bit_is_as_likely_as_the_others() -> None:
    config = priority_sort.Config(bits=3, num_levels=10, num_train=4000)
    inputs, targets, _ = config.build(0).train
    levels = torch.bincount(inputs[:, :8].flatten() // 8, minlength=10)
    assert ((levels - 3200).abs() < 4.5 * 3200**0.5).all()
    answers = targets[targets >= 0]
    for bit in range(3):
        share = ((answers >> bit) & 1).double().mean().item()
        assert abs(share - priority_sort.chance(config)) < 4 * (0.25 / len(answers)) ** 0.5


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"bits": 0}, "bits"),
        ({"num_levels": 1}, "num_levels"),
        ({"num_levels": 7}, "num_levels 7 is below 8 vectors; allowed: that many or more"),
        ({"num_levels": 4097}, "num_levels"),
        ({"num_sorted": 0}, "num_sorted"),
        ({"test_vectors": [0]}, "test_vectors.0"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        checked(priority_sort.Config, content, "file")
    assert "\n" not in str(caught.value)
