"""Key–value stream: examples as the picture shows them, who is asked and who is tagged, what a queue reaches."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import key_value_stream

SMALL = {"num_train": 40, "num_validation": 10, "num_test": 10}
PICTURE = [5, 26, 9, 31, 3, 24, 9, 28, 12, 25, 0, 25, 17, 32]


@st.composite
def configs(draw: st.DrawFn) -> key_value_stream.Config:
    keys = draw(st.integers(1, 9))
    return key_value_stream.Config(
        num_pairs=draw(st.integers(1, 12)),
        num_keys=keys,
        num_tagged=draw(st.integers(1, keys)),
        num_values=draw(st.integers(2, 9)),
        **SMALL,
    )


def parse(config: key_value_stream.Config, row: list[int]) -> tuple[list[tuple[int, bool, int]], int]:
    """The pairs (key, whether tagged, value) of one sequence and the asked key, read token by token."""
    keys, values = config.num_keys, config.num_values
    assert row[-1] == 3 * keys + values
    assert row[-2] in range(2 * keys, 3 * keys)
    assert set(row[:-2:2]) <= set(range(2 * keys))
    assert set(row[1:-2:2]) <= set(range(3 * keys, 3 * keys + values))
    pairs = zip(row[:-2:2], row[1:-2:2], strict=True)
    return [(key % keys, key >= keys, value - 3 * keys) for key, value in pairs], row[-2] - 2 * keys


@given(configs(), st.integers(0, 1000))
def test_a_reader_that_writes_every_pair_into_a_dictionary_knows_the_answer(
    config: key_value_stream.Config, seed: int
) -> None:
    inputs, targets, extras = config.build(seed).train
    targets = targets[:, 0]
    for index, row in enumerate(inputs.tolist()):
        pairs, asked = parse(config, row)
        latest = {key: (value, 2 * place + 1) for place, (key, _, value) in enumerate(pairs)}
        assert latest[asked] == (targets[index].item(), extras["answer_position"][index].item())
        assert extras["tagged"][index].tolist() == [int(tag) for _, tag, _ in pairs for tag in (tag, False)] + [0, 0]
        assert extras["num_rewrites"][index].item() == [key for key, _, _ in pairs].count(asked) - 1
    assert torch.equal(key_value_stream.best_guess(config, inputs)[:, 0], targets)


@given(configs(), st.integers(0, 1000))
def test_a_key_is_tagged_throughout_a_sequence_or_not_at_all_and_the_asked_one_is(
    config: key_value_stream.Config, seed: int
) -> None:
    for row in config.build(seed).test.inputs.tolist():
        pairs, asked = parse(config, row)
        tagged = {key for key, tag, _ in pairs if tag}
        plain = {key for key, tag, _ in pairs if not tag}
        assert asked in tagged
        assert not tagged & plain
        assert len(tagged) <= config.num_tagged
        assert len(plain) <= config.num_keys - config.num_tagged


def test_the_picture_in_the_docstring_reads_as_it_says() -> None:
    config = key_value_stream.Config(num_pairs=6)
    pairs, asked = parse(config, PICTURE)
    assert asked == 1
    assert [(place, value) for place, (key, _, value) in enumerate(pairs) if key == asked] == [(1, 7), (3, 4)]
    assert key_value_stream.best_guess(config, torch.tensor([PICTURE]))[:, 0].tolist() == [4]


def test_keys_and_values_are_uniform_and_independent_of_one_another() -> None:
    config = key_value_stream.Config(num_pairs=2, num_keys=3, num_tagged=2, num_values=2, num_train=36_000)
    inputs = config.build(0).train.inputs
    words = torch.stack((inputs[:, 0] % 3, inputs[:, 1] - 9, inputs[:, 2] % 3, inputs[:, 3] - 9))
    counts = torch.zeros(3, 2, 3, 2).index_put(tuple(words), torch.ones(36_000), accumulate=True)
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


def test_the_stream_does_not_show_which_of_the_tagged_keys_is_asked() -> None:
    config = key_value_stream.Config(num_train=20_000)
    recency, occurrences = torch.zeros(3), torch.zeros(3)
    for row in config.build(1).train.inputs.tolist():
        pairs, asked = parse(config, row)
        places = {key: place for place, (key, tag, _) in enumerate(pairs) if tag}
        if len(places) == 3:
            recency[sorted(places, key=places.__getitem__).index(asked)] += 1
            keys = [key for key, _, _ in pairs]
            occurrences[sorted(places, key=lambda key: (keys.count(key), key)).index(asked)] += 1
    for counts in (recency, occurrences):
        third = counts.sum().item() / 3
        assert third > 6000
        assert (counts - third).abs().max() < 4 * (third * 2 / 3) ** 0.5


def test_the_keys_that_are_tagged_beside_the_asked_one_are_uniform() -> None:
    config = key_value_stream.Config(num_pairs=40, num_keys=4, num_tagged=2, num_train=12_000)
    counts = torch.zeros(4, 4)
    for row in config.build(2).train.inputs.tolist():
        pairs, asked = parse(config, row)
        for key in {key for key, tag, _ in pairs if tag} - {asked}:
            counts[asked, key] += 1
    assert counts.diagonal().sum() == 0
    assert counts.sum() > 11_990  # all four keys are among 40 pairs but for one sequence in 25,000
    others = counts[~torch.eye(4, dtype=torch.bool)]
    assert (others - 1000).abs().max() < 5 * 1000**0.5


def test_a_key_that_occurs_is_tagged_beside_the_asked_one_as_often_as_one_that_does_not() -> None:
    config = key_value_stream.Config(num_pairs=2, num_keys=4, num_tagged=2, num_train=16_000)
    tagged = []
    for row in config.build(4).train.inputs.tolist():
        pairs, asked = parse(config, row)
        tagged += [tag for key, tag, _ in pairs if key != asked]
    assert len(tagged) == pytest.approx(12_000, abs=4 * 3000**0.5)
    assert sum(tagged) == pytest.approx(len(tagged) / 3, abs=4 * (len(tagged) * 2 / 9) ** 0.5)


def accuracy_of_a_queue(config: key_value_stream.Config, num_slots: int, *, tagged_alone: bool = False) -> float:
    """Share of right answers of a reader that holds the newest pairs, or tagged ones, and else guesses the value 0."""
    inputs, targets, _ = config.build(3).train
    targets = targets[:, 0]
    right = 0
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        pairs, asked = parse(config, row)
        queue = deque((pair for pair in pairs if pair[1] or not tagged_alone), maxlen=num_slots)
        right += next((value for key, _, value in reversed(queue) if key == asked), 0) == target
    return right / len(inputs)


@pytest.mark.parametrize("num_slots", [0, 1, 4, 12, 31])
@pytest.mark.parametrize("num_tagged", [1, 3, 8])
def test_a_queue_of_pairs_reaches_its_ceiling_whatever_is_tagged(num_slots: int, num_tagged: int) -> None:
    config = key_value_stream.Config(num_tagged=num_tagged, num_train=4000)
    expected = key_value_stream.fifo_ceiling(config, num_slots)
    assert accuracy_of_a_queue(config, num_slots) == pytest.approx(expected, abs=4 * (0.25 / 4000) ** 0.5)


@pytest.mark.parametrize(("pairs", "keys", "num_slots"), [(1, 3, 0), (4, 2, 1), (4, 3, 2), (5, 4, 3), (6, 3, 5)])
def test_the_ceiling_of_a_queue_equals_an_enumeration_of_all_streams(pairs: int, keys: int, num_slots: int) -> None:
    config = key_value_stream.Config(num_pairs=pairs, num_keys=keys, num_tagged=1, num_values=5)
    streams = list(itertools.product(range(keys), repeat=pairs))
    kept = sum(len(set(stream[pairs - num_slots :])) / len(set(stream)) for stream in streams) / len(streams)
    assert key_value_stream.fifo_ceiling(config, num_slots) == pytest.approx(kept + (1 - kept) / 5)


@given(configs())
def test_the_ceiling_of_a_queue_grows_from_chance_to_one_with_its_slots(config: key_value_stream.Config) -> None:
    ceilings = [key_value_stream.fifo_ceiling(config, slots) for slots in range(config.num_pairs + 3)]
    assert ceilings[0] == pytest.approx(key_value_stream.chance(config))
    assert ceilings[config.num_pairs :] == [1, 1, 1]
    assert all(low < high + 1e-12 for low, high in itertools.pairwise(ceilings))


@pytest.mark.parametrize("num_slots", [0, 1, 2, 4, 12])
@pytest.mark.parametrize("num_tagged", [1, 3, 8])
def test_a_queue_of_tagged_pairs_reaches_its_ceiling(num_slots: int, num_tagged: int) -> None:
    config = key_value_stream.Config(num_tagged=num_tagged, num_train=4000)
    expected = key_value_stream.tagged_ceiling(config, num_slots)
    found = accuracy_of_a_queue(config, num_slots, tagged_alone=True)
    assert found == pytest.approx(expected, abs=4 * (0.25 / 4000) ** 0.5)


@given(configs())
def test_a_queue_of_tagged_pairs_is_at_least_as_good_as_one_of_all_and_equal_if_all_are_tagged(
    config: key_value_stream.Config,
) -> None:
    every = config.model_copy(update={"num_tagged": config.num_keys})
    for slots in range(config.num_pairs + 2):
        plain = key_value_stream.fifo_ceiling(config, slots)
        assert key_value_stream.tagged_ceiling(config, slots) >= plain - 1e-12
        assert key_value_stream.tagged_ceiling(every, slots) == pytest.approx(plain)


def test_four_slots_hold_five_answers_in_six_if_tagged_pairs_alone_are_written() -> None:
    assert key_value_stream.tagged_ceiling(key_value_stream.Config(), 4) == pytest.approx(0.8375, abs=5e-5)
    with pytest.raises(ParameterError, match="num_slots: -1 is negative; allowed: 0 and above"):
        key_value_stream.tagged_ceiling(key_value_stream.Config(), -1)


def test_a_queue_of_eight_pairs_loses_three_answers_in_ten() -> None:
    assert key_value_stream.fifo_ceiling(key_value_stream.Config(), 8) == pytest.approx(0.7081, abs=5e-5)


def test_a_queue_of_fewer_than_no_slots_is_refused() -> None:
    with pytest.raises(ParameterError, match="num_slots: -1 is negative; allowed: 0 and above"):
        key_value_stream.fifo_ceiling(key_value_stream.Config(), -1)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"num_pairs": 0}, "num_pairs"),
        ({"num_pairs": 2048}, "num_pairs"),
        ({"num_keys": 0}, "num_keys"),
        ({"num_tagged": 0}, "num_tagged"),
        ({"num_tagged": 9}, "num_tagged 9 is above num_keys; allowed: at most 8"),
        ({"num_values": 1}, "num_values"),
        ({"num_values": 2.5}, "num_values"),
        ({"num_train": 1}, "num_train"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        checked(key_value_stream.Config, content, "file")
    assert "\n" not in str(caught.value)
