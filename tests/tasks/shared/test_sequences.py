"""Streams of sequences: draws without replacement, blocks of one size, the curriculum, what every such task keeps."""

from __future__ import annotations

import itertools
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest import tasks
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import Examples, associative_recall, copy, mqar, priority_sort, repeat_copy
from palimpsest.tasks.shared import bits, classes
from palimpsest.tasks.shared.sequences import StreamConfig, distinct, drawn_up_to, parts

NAMES = ["associative_recall", "copy", "mqar", "priority_sort", "repeat_copy"]
Sizes = dict[str, Any]
SIZED: dict[str, Sizes] = {
    "associative_recall": {"max_items": 9},
    "copy": {},
    "mqar": {"train_settings": [[8, 1], [16, 2], [24, 3], [32, 4], [40, 5]]},
    "priority_sort": {"min_vectors": 1, "max_vectors": 12},
    "repeat_copy": {},
}
"""Parameters that give each task several sizes."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 20), st.integers(0, 12), st.integers(0, 30), st.integers(0, 1000))
def test_numbers_without_replacement_never_repeat_and_stay_in_range(
    examples: int, count: int, more: int, seed: int
) -> None:
    below = count + more
    drawn = distinct(examples, count, below, generator(seed))
    assert drawn.shape == (examples, count)
    assert drawn.dtype == torch.int64
    for row in drawn.tolist():
        assert len(set(row)) == count
        assert all(0 <= number < below for number in row)


@given(st.integers(1, 12), st.integers(0, 1000))
def test_all_numbers_that_there_are_come_in_some_order(count: int, seed: int) -> None:
    for row in distinct(3, count, count, generator(seed)).tolist():
        assert sorted(row) == list(range(count))


@pytest.mark.parametrize(("count", "below"), [(1, 3), (2, 4), (3, 4), (4, 4), (3, 6)])
def test_every_order_of_numbers_is_as_likely(count: int, below: int) -> None:
    size = 24_000
    counts = Counter(map(tuple, distinct(size, count, below, generator(1)).tolist()))
    orders = list(itertools.permutations(range(below), count))
    expected = size / len(orders)
    assert set(counts) == set(orders)
    assert all(abs(counts[order] - expected) < 4.5 * expected**0.5 for order in orders)


def test_numbers_without_replacement_may_be_large() -> None:
    drawn = distinct(4, 5, 2**60, generator(0))
    assert drawn.max() > 2**58
    assert all(len(set(row)) == 5 for row in drawn.tolist())


def test_more_numbers_than_there_are_cannot_be_distinct() -> None:
    with pytest.raises(ValueError, match="4 distinct numbers below 3"):
        distinct(2, 4, 3, generator(0))


def test_numbers_up_to_a_limit_are_uniform_and_reach_both_ends() -> None:
    limits = torch.tensor([2, 4, 9]).repeat(6000)
    drawn = drawn_up_to(2, limits, generator(0))
    for limit in (2, 4, 9):
        counts = Counter(drawn[limits == limit].tolist())
        expected = 6000 / (limit - 1)
        assert set(counts) == set(range(2, limit + 1))
        assert all(abs(count - expected) < 4.5 * expected**0.5 for count in counts.values())


class Plain(StreamConfig):
    """A stream of no task."""


def largest_by_hand(config: Plain, smallest: int, largest: int, place: int) -> int:
    """Largest size that the block may have which begins at an example of the training stream."""
    start = max(smallest, min(config.curriculum_start, largest))
    growing = config.curriculum_share * config.num_train
    if growing == 0 or place >= growing:
        return largest
    return min(largest, start + int(place / growing * (largest - start + 1)))


@given(
    st.integers(1, 7),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(2, 90),
    st.integers(0, 99),
)
def test_sizes_of_a_stream_are_shared_by_blocks_and_grow_with_the_curriculum(
    block: int, smallest: int, more: int, start: int, share: float, examples: int, seed: int
) -> None:
    config = Plain(
        block=block, curriculum_start=start, curriculum_share=share, num_train=examples, num_validation=9, num_test=9
    )
    train, validation, test = parts(config, seed)
    sizes = train.sizes(smallest, smallest + more, [1])
    assert train.group.tolist() == [place // block for place in range(examples)]
    for first in range(0, examples, block):
        assert len(set(sizes[first : first + block].tolist())) == 1
        assert smallest <= sizes[first] <= largest_by_hand(config, smallest, smallest + more, first)
    assert validation.group.tolist() == list(range(9))
    assert all(smallest <= size <= smallest + more for size in validation.sizes(smallest, smallest + more, [1]))
    assert sorted(Counter(test.sizes(smallest, smallest + more, [3, 1, 2]).tolist()).values()) == [3, 3, 3]


def test_sizes_are_uniform_up_to_the_largest_of_their_time() -> None:
    config = Plain(block=1, curriculum_start=2, curriculum_share=0.5, num_train=40_000, num_validation=20_000)
    train, validation, _ = parts(config, 5)
    sizes = train.sizes(1, 4, [1])
    thirds = [sizes[:6666], sizes[6667:13_333], sizes[13_334:]]  # growing from 2 to 4 takes three steps
    for found, largest in [*zip(thirds, (2, 3, 4), strict=True), (validation.sizes(1, 4, [1]), 4)]:
        counts = Counter(found.tolist())
        assert set(counts) == set(range(1, largest + 1))
        assert all(abs(count - len(found) / largest) < 4.5 * (len(found) / largest) ** 0.5 for count in counts.values())


@given(st.integers(1, 9), st.integers(0, 40))
def test_tested_sizes_have_shares_that_differ_by_one_at_most(kinds: int, more: int) -> None:
    *_, test = parts(Plain(num_test=max(2, kinds + more)), 0)
    counts = Counter(test.sizes(1, 2, range(10, 10 + kinds)).tolist())
    assert set(counts) == set(range(10, 10 + kinds))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each task of sequences."""
    return request.param


@pytest.fixture
def module(name: str) -> ModuleType:
    """Its module."""
    return tasks.load(name)


def config_of(name: str, **changes: object) -> Any:
    """A small data set of several sizes."""
    sizes = {"num_train": 60, "num_validation": 30, "num_test": 30, "block": 7}
    return tasks.load(name).Config(**{**sizes, **SIZED[name], **changes})


def same(one: Examples, other: Examples) -> bool:
    """Whether two splits hold the same bytes."""
    tensors = [
        [split.inputs, split.targets, *(split.extras[key] for key in sorted(split.extras))] for split in (one, other)
    ]
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(*tensors, strict=True))


def test_a_task_of_sequences_defines_what_is_scored_and_what_its_tokens_are(name: str, module: ModuleType) -> None:
    interface = config_of(name).interface()
    assert module.score is (classes if name == "mqar" else bits).score
    assert list(interface) == ["num_tokens", "num_outputs", "sequence_length", "code", "code_bits", "code_levels"]
    assert interface["code"] == ("learned" if name == "mqar" else "bits")


def test_examples_are_padded_at_the_end_and_nothing_is_scored_there(name: str) -> None:
    config = config_of(name)
    interface = config.interface()
    blank = 0 if name == "mqar" else interface["num_tokens"] - 1
    longest = 0
    for inputs, targets, extras in config.build(1):
        assert inputs.shape == targets.shape
        assert inputs.dtype == targets.dtype == torch.int64
        assert extras.keys() == {"length", "group", "slice"}
        assert all(value.dtype == torch.int64 and value.shape == (len(inputs),) for value in extras.values())
        assert 0 <= inputs.min() <= inputs.max() < interface["num_tokens"]
        outputs = interface["num_outputs"] if name == "mqar" else 2 ** interface["num_outputs"]
        assert -1 <= targets.min() <= targets.max() < outputs
        assert (targets >= 0).any(1).all()
        padding = torch.arange(inputs.shape[1]) >= extras["length"][:, None]
        assert (inputs[padding] == blank).all()
        assert (targets[padding] == -1).all()
        longest = max(longest, inputs.shape[1])
    assert longest == interface["sequence_length"]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_blocks_of_the_stream_share_length_and_group_so_that_a_batch_has_no_padding(name: str, share: float) -> None:
    config = config_of(name, curriculum_share=share, num_train=200)
    train, validation, test = config.build(2)
    lengths, groups = train.extras["length"], train.extras["group"]
    for first in range(0, len(lengths), 7):
        assert len(set(lengths[first : first + 7].tolist())) == 1
        assert set(groups[first : first + 7].tolist()) == {first // 7}
    assert len(set(train.extras["slice"].tolist())) > 2
    for split in (validation, test):
        assert split.extras["group"].tolist() == list(range(30))


def test_the_curriculum_begins_with_the_shortest_and_ends_with_all(name: str) -> None:
    config = config_of(name, curriculum_share=0.8, num_train=700)
    length = config.build(0).train.extras["length"]
    plain = config_of(name, num_train=700).build(0).train.extras["length"]
    shortest, longest = plain.min(), plain.max()
    assert length[:14].max() <= shortest
    assert length[-140:].max() > (shortest + longest) / 2
    assert length[:280].double().mean() < plain[:280].double().mean()


def test_the_test_split_has_every_tested_size_and_validation_those_of_training(name: str) -> None:
    config = config_of(name, num_train=3000, num_validation=3000, block=1)
    train, validation, test = config.build(0)
    counts = Counter(test.extras["slice"].tolist())
    assert max(counts.values()) - min(counts.values()) <= 1
    expected = {
        "associative_recall": {2, 4, 6, 8, 10, 12},
        "copy": {10, 20, 40, 80, 120},
        "mqar": {2, 4, 8},
        "priority_sort": {8},
        "repeat_copy": {505, 1010, 2010, 1020},
    }
    assert set(counts) == expected[name]
    assert set(validation.extras["slice"].tolist()) == set(train.extras["slice"].tolist())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_or_split_others(name: str) -> None:
    sizes = {"num_train": 30}
    one, again = (config_of(name, **sizes).build(3) for _ in range(2))
    assert all(same(a, b) for a, b in zip(one, again, strict=True))
    splits = [split for seed in (3, 4) for split in config_of(name, **sizes).build(seed)]
    for a, b in itertools.combinations(splits, 2):
        time = min(a.inputs.shape[1], b.inputs.shape[1])
        assert not torch.equal(a.inputs[:, :time], b.inputs[:, :time])


def test_a_longer_stream_leaves_the_other_splits_as_they_are_and_no_global_generator_is_touched(name: str) -> None:
    before = torch.get_rng_state()
    short, long = (config_of(name, num_train=size).build(1) for size in (20, 50))
    assert same(short.validation, long.validation)
    assert same(short.test, long.test)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_best_guess_is_right_wherever_something_is_scored_and_absent_elsewhere(
    name: str, module: ModuleType
) -> None:
    config = config_of(name, curriculum_share=0.3)
    for inputs, targets, _ in config.build(6):
        assert torch.equal(module.best_guess(config, inputs), targets)
    assert module.ceiling(config) == 1
    assert 0 < module.chance(config) < 1


def test_a_sample_of_two_examples_can_be_drawn_for_its_shapes(module: ModuleType) -> None:
    assert module.Config().sample(2).inputs.shape[0] == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"block": 0}, "block"),
        ({"curriculum_start": 0}, "curriculum_start"),
        ({"curriculum_start": 99}, "curriculum_start 99 .*; allowed: 1 to "),
        ({"curriculum_share": 1.5}, "curriculum_share"),
        ({"num_train": 1}, "num_train"),
        ({"lenght": 3}, "unknown key; allowed: .*block"),
    ],
)
def test_bad_parameters_of_a_stream_are_refused_in_one_line(module: ModuleType, content: Sizes, problem: str) -> None:
    with pytest.raises(ParameterError, match=problem) as caught:
        checked(module.Config, content, "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "content", "problem"),
    [
        (copy, {"test_lengths": [5, 7, 5]}, "the test asks for 5 twice; allowed: each size once"),
        (copy, {"num_test": 4}, "num_test 4 is too few for 5 tested sizes; allowed: that or more"),
        (copy, {"test_lengths": []}, "nothing is tested; allowed: at least one size"),
        (copy, {"min_length": 21}, "min_length 21 is above max_length; allowed: 1 to 20"),
        (repeat_copy, {"test_sizes": [[5, 5], [5, 5]]}, r"the test asks for \(5, 5\) twice; allowed: each size once"),
        (associative_recall, {"min_items": 7}, "min_items 7 is above max_items; allowed: 1 to 6"),
        (priority_sort, {"min_vectors": 9}, "min_vectors 9 is above max_vectors; allowed: 1 to 8"),
        (mqar, {"test_settings": [[16, 2], [32, 2]]}, "the test asks for 2 twice; allowed: each size once"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused_in_one_line(
    module: ModuleType, content: Sizes, problem: str
) -> None:
    with pytest.raises(ParameterError, match=problem) as caught:
        checked(module.Config, content, "file")
    assert "\n" not in str(caught.value)
