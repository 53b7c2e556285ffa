"""Key presence: where the key may stand, the ceiling against enumeration and simulation, what the repair repairs."""

from __future__ import annotations

import itertools
from collections import defaultdict
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import key_presence

SMALL = {"num_train": 40, "num_validation": 10, "num_test": 10}
LRA = {"sequence_length": 1024, "vocabulary": 512}


@st.composite
def configs(draw: st.DrawFn, **fixed: str) -> key_presence.Config:
    vocabulary = draw(st.integers(3, 40))
    return key_presence.Config(
        sequence_length=draw(st.integers(2, 40)),
        vocabulary=vocabulary,
        key=draw(st.integers(0, vocabulary - 1).filter(lambda key: key != key_presence.CLS)),
        negatives=fixed.get("negatives") or draw(st.sampled_from(["chance", "without"])),
        cls=draw(st.sampled_from(["first", "last"])),
        **SMALL,
    )


@given(configs(), st.integers(0, 1000))
def test_the_key_stands_where_it_was_put_and_cls_where_the_interface_says(
    config: key_presence.Config, seed: int
) -> None:
    inputs, targets, extras = config.build(seed).train
    targets = targets[:, 0]
    where = config.interface()["cls_position"]
    assert where == (0 if config.cls == "first" else config.sequence_length - 1)
    for row, target, answer in zip(inputs.tolist(), targets.tolist(), extras["answer_position"].tolist(), strict=True):
        assert row[where] == key_presence.CLS
        assert set(row) <= set(range(config.vocabulary))
        assert answer == -1 or (target == 1 and answer != where and row[answer] == config.key)


@given(configs(negatives="without"), st.integers(0, 1000))
def test_repaired_the_key_occurs_once_where_it_was_put_and_nowhere_else(config: key_presence.Config, seed: int) -> None:
    inputs, targets, extras = config.build(seed).train
    targets = targets[:, 0]
    keys = inputs == config.key
    assert torch.equal(keys.sum(1), targets)
    assert torch.equal(keys.int().argmax(1).where(targets == 1, -1), extras["answer_position"])
    assert torch.equal(key_presence.best_guess(config, inputs)[:, 0], targets)
    assert key_presence.ceiling(config) == key_presence.accuracy_of_presence(config) == 1


@pytest.mark.parametrize("cls", ["first", "last"])
@pytest.mark.parametrize("negatives", ["chance", "without"])
def test_the_key_is_put_at_every_position_alike(negatives: str, cls: str) -> None:
    config = key_presence.Config(sequence_length=5, vocabulary=50, negatives=negatives, cls=cls, num_train=20_000)
    _, targets, extras = config.build(0).train
    targets = targets[:, 0]
    answers = extras["answer_position"][targets == 1]
    counts = torch.bincount(answers + 1, minlength=6)
    lost = 0 if cls == "first" else 4
    expected = [len(answers) / (5 if negatives == "chance" else 4)] * 5
    overwritten, expected[lost] = (expected[lost] if negatives == "chance" else 0), 0
    for count, wanted in zip(counts.tolist(), [overwritten, *expected], strict=True):
        assert abs(count - wanted) <= 4 * wanted**0.5
    assert abs(len(answers) - 10_000) < 4 * 5000**0.5


@pytest.mark.parametrize(("negatives", "share"), [("chance", 1 / 8), ("without", 0)])
def test_negatives_hold_the_key_by_chance_as_published_and_never_when_repaired(negatives: str, share: float) -> None:
    config = key_presence.Config(sequence_length=11, vocabulary=8, key=2, negatives=negatives, num_train=8000)
    inputs, targets, _ = config.build(1).train
    targets = targets[:, 0]
    tokens = inputs[targets == 0, 1:]
    shares = torch.bincount(tokens.flatten(), minlength=8) / tokens.numel()
    spread = 4 * (1 / 8 / tokens.numel()) ** 0.5
    assert abs(shares[2].item() - share) <= (spread if share else 0)
    others = shares[[0, 1, 3, 4, 5, 6, 7]]
    assert (others - (1 - share) / 7).abs().max() < 1.2 * spread


def joint_distribution(config: key_presence.Config) -> dict[tuple[int, ...], list[Fraction]]:
    """P(sequence, label), by running through every draw that the task as published can make."""
    length, where = config.sequence_length, config.interface()["cls_position"]
    words = list(itertools.product(range(config.vocabulary), repeat=length))
    joint: dict[tuple[int, ...], list[Fraction]] = defaultdict(lambda: [Fraction(0), Fraction(0)])
    for word in words:
        for position in range(length):
            for label in (0, 1):
                drawn = list(word)
                if label:
                    drawn[position] = config.key
                drawn[where] = key_presence.CLS
                joint[tuple(drawn)][label] += Fraction(1, 2 * length * len(words))
    return joint


@pytest.mark.parametrize("cls", ["first", "last"])
@pytest.mark.parametrize(("length", "vocabulary"), [(2, 3), (3, 4), (4, 3), (5, 3), (4, 5), (7, 3)])
def test_the_ceilings_equal_an_enumeration_of_every_draw(length: int, vocabulary: int, cls: str) -> None:
    config = key_presence.Config(sequence_length=length, vocabulary=vocabulary, key=2, cls=cls)
    joint = joint_distribution(config)
    best = sum(max(labels) for labels in joint.values())
    assert key_presence.ceiling(config) == pytest.approx(float(best), abs=1e-12)
    answers = key_presence.best_guess(config, torch.tensor(list(joint)))[:, 0].tolist()
    assert sum(labels[answer] for labels, answer in zip(joint.values(), answers, strict=True)) == best
    present = sum(labels[config.key in sequence] for sequence, labels in joint.items())
    assert key_presence.accuracy_of_presence(config) == pytest.approx(float(present), abs=1e-12)


@given(st.integers(2, 4096), st.integers(3, 1000))
def test_the_ceiling_equals_the_sum_over_numbers_of_keys(length: int, vocabulary: int) -> None:
    config = key_presence.Config(sequence_length=length, vocabulary=vocabulary, key=0)
    number = range(length)
    not_put = stats.binom(length - 1, 1 / vocabulary).pmf(number)
    others = stats.binom(length - 2, 1 / vocabulary).pmf([count - 1 for count in number])
    put = not_put / length + others * (length - 1) / length
    expected = sum(max(a, b) for a, b in zip(not_put, put, strict=True)) / 2
    assert key_presence.ceiling(config) == pytest.approx(expected, abs=1e-9)
    assert key_presence.accuracy_of_presence(config) <= key_presence.ceiling(config) + 1e-12


@given(st.integers(2, 4096), st.integers(3, 1000))
def test_the_threshold_is_the_fewest_keys_that_speak_for_the_key_having_been_put(length: int, vocabulary: int) -> None:
    config = key_presence.Config(sequence_length=length, vocabulary=vocabulary, key=0)
    odds = (Fraction(1 + count * vocabulary, length) for count in itertools.count())
    assert key_presence.threshold(config) == next(count for count, ratio in enumerate(odds) if ratio > 1)


@pytest.mark.parametrize(
    ("sizes", "threshold", "ceiling", "presence"), [({}, 1, 0.8018, 0.8018), (LRA, 2, 0.6352, 0.5676)]
)
def test_the_published_ceilings_and_simulation_agree(
    sizes: dict[str, int], threshold: int, ceiling: float, presence: float
) -> None:
    config = key_presence.Config(**sizes, num_train=10_000)
    inputs, targets, _ = config.build(5).train
    targets = targets[:, 0]
    simulated = (key_presence.best_guess(config, inputs)[:, 0] == targets).double().mean().item()
    with_a_key = ((inputs == 42).any(1) == targets).double().mean().item()
    assert key_presence.threshold(config) == threshold
    assert key_presence.ceiling(config) == pytest.approx(ceiling, abs=5e-5)
    assert key_presence.accuracy_of_presence(config) == pytest.approx(presence, abs=5e-5)
    assert simulated == pytest.approx(ceiling, abs=4 * (0.25 / 10_000) ** 0.5)
    assert with_a_key == pytest.approx(presence, abs=4 * (0.25 / 10_000) ** 0.5)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"sequence_length": 1}, "sequence_length"),
        ({"vocabulary": 2}, "vocabulary"),
        ({"vocabulary": 42}, "key 42 is outside the vocabulary; allowed: below 42"),
        ({"key": 1}, "key 1 is CLS; allowed: any other token below 256"),
        ({"key": -1}, "key"),
        ({"negatives": "none"}, "negatives"),
        ({"cls": "middle"}, "cls"),
        ({"num_test": 0}, "num_test"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        checked(key_presence.Config, content, "file")
    assert "\n" not in str(caught.value)
