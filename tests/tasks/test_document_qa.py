"""Document question answering: every document read as sentences, by hand, and what a few slots can know of it."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import document_qa
from palimpsest.tasks.document_qa import Config

SMALL = {"num_train": 30, "num_validation": 10, "num_test": 10}


def sentences(row: list[int]) -> list[list[int]]:
    """A sequence, four tokens at a time."""
    return [row[start : start + 4] for start in range(0, len(row), 4)]


@st.composite
def configs(draw: st.DrawFn) -> Config:
    subjects, relations = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    count = draw(st.integers(1, subjects * relations))
    return Config(
        num_sentences=count,
        num_subjects=subjects,
        num_relations=relations,
        num_objects=draw(st.integers(2, 5)),
        **SMALL,
    )


@given(configs(), st.integers(0, 1000))
def test_a_document_is_distinct_sentences_and_a_question_about_one_of_them(config: Config, seed: int) -> None:
    s, r, o = config.num_subjects, config.num_relations, config.num_objects
    interface = config.interface()
    assert interface == {
        "num_tokens": s + r + o + 3,
        "num_outputs": o,
        "sequence_length": 4 * config.num_sentences + 4,
        "asked": [4 * config.num_sentences + 3],
        "cls_position": 4 * config.num_sentences + 3,
    }
    for split in config.build(seed):
        position = split.extras["answer_position"].tolist()
        for row, target, place in zip(split.inputs.tolist(), split.targets[:, 0].tolist(), position, strict=True):
            *facts, question = sentences(row)
            assert len(facts) == config.num_sentences
            for subject, relation, obj, stop in facts:
                assert 0 <= subject < s <= relation < s + r <= obj < s + r + o == stop
            assert len({(subject, relation) for subject, relation, _, _ in facts}) == len(facts)
            assert question[2:] == [s + r + o + 1, s + r + o + 2]
            (answer,) = [sentence for sentence in facts if sentence[:2] == question[:2]]
            assert answer[2] == s + r + target
            assert place == 4 * facts.index(answer) + 2
            assert row[place] == s + r + target


@given(configs(), st.integers(0, 1000))
def test_the_best_guess_is_always_right(config: Config, seed: int) -> None:
    inputs, targets, _ = config.build(seed).train
    targets = targets[:, 0]
    assert torch.equal(document_qa.best_guess(config, inputs)[:, 0], targets)
    assert document_qa.ceiling(config) == 1


def test_pairs_objects_and_asked_sentences_are_uniform() -> None:
    config = Config(num_sentences=4, num_subjects=3, num_relations=2, num_objects=5, num_train=12_000)
    inputs, targets, extras = config.build(1).train
    targets = targets[:, 0]
    pairs = inputs[:, 0] * 2 + inputs[:, 1] - 3  # of the first sentence
    for values, count in ((pairs, 6), (targets, 5), (inputs[:, 6] - 5, 5), ((extras["answer_position"] - 2) // 4, 4)):
        share = torch.bincount(values, minlength=count) / 12_000
        assert share == pytest.approx(torch.full((count,), 1 / count), abs=5 * 0.5 / 12_000**0.5)


def test_without_the_asked_sentence_only_chance_is_left() -> None:
    config = Config(num_train=20_000)
    inputs, targets, extras = config.build(4).train
    targets = targets[:, 0]
    assert document_qa.chance(config) == 1 / 8
    limit = 5 * (0.11 / 18_000) ** 0.5
    for sentence in range(config.num_sentences):
        place = 4 * sentence + 2
        elsewhere = extras["answer_position"] != place
        share = (inputs[elsewhere, place] - config.first_object == targets[elsewhere]).double().mean().item()
        assert abs(share - document_qa.chance(config)) < limit


@pytest.mark.parametrize("num_slots", [0, 1, 4, 15, 16, 40])
@pytest.mark.parametrize("keep", ["first", "last", "random"])
def test_a_memory_of_few_slots_reaches_its_ceiling_whichever_sentences_it_keeps(num_slots: int, keep: str) -> None:
    config = Config(num_train=6000)
    generator, right = random.Random(num_slots), 0
    inputs, targets, _ = config.build(7).train
    targets = targets[:, 0]
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        *facts, question = sentences(row)
        if keep == "random":
            generator.shuffle(facts)
        held = facts[::-1][:num_slots] if keep == "last" else facts[:num_slots]
        known = {(subject, relation): obj - config.first_object for subject, relation, obj, _ in held}
        right += known.get((question[0], question[1]), generator.randrange(config.num_objects)) == target
    expected = document_qa.slots_ceiling(config, num_slots)
    assert right / 6000 == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 6000) ** 0.5)


def test_no_slot_is_chance_and_a_slot_for_every_sentence_is_the_ceiling() -> None:
    config = Config()
    values = [document_qa.slots_ceiling(config, slots) for slots in range(20)]
    assert values[0] == document_qa.chance(config)
    assert values[4] == pytest.approx(4 / 16 + 12 / 16 / 8)
    assert values[:17] == sorted(set(values[:17]))
    assert values[16:] == [document_qa.ceiling(config)] * 4


def test_a_negative_number_of_slots_is_refused() -> None:
    with pytest.raises(ParameterError, match="num_slots: -1: negative; allowed: 0 or more"):
        document_qa.slots_ceiling(Config(), -1)


def test_same_seed_same_data_and_a_longer_training_split_leaves_the_others_as_they_are() -> None:
    first, again, longer = (Config(**{**SMALL, "num_train": n}).build(3) for n in (30, 30, 60))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, again, strict=True))
    assert torch.equal(first.test.inputs, longer.test.inputs)
    assert torch.equal(first.validation.inputs, longer.validation.inputs)
    assert len({tuple(row) for split in first for row in split.inputs.tolist()}) == 50


def test_more_sentences_than_pairs_are_refused_with_the_number_that_is_allowed() -> None:
    with pytest.raises(ParameterError) as caught:
        checked(Config, {"num_sentences": 7, "num_subjects": 3, "num_relations": 2}, "file")
    assert "num_sentences 7 is more than there are pairs" in str(caught.value)
    assert "allowed: at most num_subjects * num_relations = 6" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [{"num_sentences": 0}, {"num_objects": 1}, {"num_subjects": 0}, {"num_train": 1}])
def test_bad_parameters_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=f"file: {next(iter(content))}: .*greater than"):
        checked(Config, content, "file")
