"""The proxy of LRA Retrieval: words of topics, labels that follow them, a ceiling that enumeration confirms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import document_matching
from palimpsest.tasks.document_matching import Config

SMALL = {"num_train": 50, "num_validation": 20, "num_test": 20}


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(2, 9), st.integers(2, 6), st.integers(1, 5))
def test_documents_are_words_and_the_last_chunk_asks(
    seed: int, length: int, question: int, topics: int, words: int
) -> None:
    config = Config(document_length=length, question_length=question, num_topics=topics, words_per_topic=words, **SMALL)
    interface = config.interface()
    for split, size in zip(config.build(seed), (50, 20, 20), strict=True):
        assert split.inputs.shape == (size, interface["sequence_length"]) == (size, 2 * length + question)
        documents, chunk = split.inputs[:, : 2 * length], split.inputs[:, 2 * length :]
        assert documents.min() >= 0
        assert documents.max() < topics * words
        assert chunk.unique(dim=0).tolist() == [[topics * words] * (question - 1) + [topics * words + 1]]
        assert interface["num_tokens"] == topics * words + 2
        assert interface["cls_position"] == 2 * length + question - 1
        assert set(split.targets.flatten().tolist()) <= {0, 1}
        assert torch.equal(split.extras["answer_position"], torch.full((size,), -1))


def test_the_default_sequence_is_whole_chunks_of_eight() -> None:
    assert Config().interface()["sequence_length"] == 136
    assert 136 % 8 == 0


def test_when_nearly_every_word_is_its_topics_own_the_label_is_whether_the_topics_agree() -> None:
    config = Config(topic_share=0.999, num_train=500)
    inputs, targets, _ = config.build(2).train
    targets = targets[:, 0]
    first, second = ((part // config.words_per_topic).mode(1).values for part in inputs[:, :128].split(64, 1))
    assert torch.equal((first == second).long(), targets)
    assert torch.equal(first.unique(), torch.arange(config.num_topics))
    assert torch.equal(second[targets == 0].unique(), torch.arange(config.num_topics))


def test_words_have_the_frequencies_that_the_topics_give_them() -> None:
    config = Config(num_topics=4, words_per_topic=3, topic_share=0.4, num_train=4000)
    inputs, targets, _ = config.build(5).train
    targets = targets[:, 0]
    words = inputs[:, :128]
    frequency = torch.bincount(words.flatten(), minlength=12) / words.numel()
    assert frequency == pytest.approx(torch.full((12,), 1 / 12), abs=0.004)
    assert targets.double().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)
    # two words of one document are of one topic with probability s² + (1 − s²)/K, two of different topics' documents
    # with probability (1 − s²)/K
    topics = words // 3
    for rows, expected in ((targets == 1, 0.16 + 0.84 / 4), (targets == 0, 0.84 / 4)):
        together = (topics[rows, :64] == topics[rows, 64:]).double().mean().item()
        assert together == pytest.approx(expected, abs=5 * 0.5 / (2000 * 64) ** 0.5)


def test_same_seed_same_data_and_a_longer_training_split_leaves_the_others_as_they_are() -> None:
    first, again, longer = (Config(**{**SMALL, "num_train": n}).build(3) for n in (50, 50, 60))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, again, strict=True))
    assert torch.equal(first.test.inputs, longer.test.inputs)
    assert torch.equal(first.validation.targets, longer.validation.targets)
    assert len({tuple(row) for split in first for row in split.inputs.tolist()}) == 90
    assert not torch.equal(first.train.inputs, Config(**SMALL).build(4).train.inputs)


def documents(config: Config) -> Iterator[tuple[int, ...]]:
    """Every document, as words."""
    return itertools.product(range(config.num_words), repeat=config.document_length)


def probability(config: Config, document: tuple[int, ...], topic: int) -> float:
    """Of a document about a topic, word by word."""
    product = 1.0
    for word in document:
        own = config.topic_share / config.words_per_topic if word // config.words_per_topic == topic else 0.0
        product *= own + (1 - config.topic_share) / config.num_words
    return product


def joint(config: Config, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[float, float]:
    """Probability of two documents with different topics, and with the same one."""
    topics = range(config.num_topics)
    a = [probability(config, first, topic) for topic in topics]
    b = [probability(config, second, topic) for topic in topics]
    same = sum(a[t] * b[t] for t in topics) / config.num_topics / 2
    pairs = [(t, u) for t in topics for u in topics if t != u]
    return sum(a[t] * b[u] for t, u in pairs) / len(pairs) / 2, same


ENUMERABLE = [
    Config(document_length=3, num_topics=2, words_per_topic=1, topic_share=0.5),
    Config(document_length=2, num_topics=2, words_per_topic=2, topic_share=0.7),
    Config(document_length=2, num_topics=3, words_per_topic=1, topic_share=0.6),
    Config(document_length=1, num_topics=4, words_per_topic=2, topic_share=0.3),
]


@pytest.mark.parametrize("config", ENUMERABLE, ids=str)
def test_the_ceiling_equals_an_enumeration_of_all_pairs_of_documents(config: Config) -> None:
    pairs = [joint(config, first, second) for first in documents(config) for second in documents(config)]
    assert sum(map(sum, pairs)) == pytest.approx(1)
    assert document_matching.ceiling(config) == pytest.approx(sum(map(max, pairs)), abs=4 * 0.25 / 200_000**0.5)


@pytest.mark.parametrize("config", ENUMERABLE, ids=str)
def test_the_best_guess_is_the_more_probable_label_of_every_pair(config: Config) -> None:
    pairs = list(itertools.product(documents(config), documents(config)))
    inputs = torch.tensor([[*first, *second, *[0] * config.question_length] for first, second in pairs])
    for guess, (first, second) in zip(document_matching.best_guess(config, inputs)[:, 0].tolist(), pairs, strict=True):
        probabilities = joint(config, first, second)
        assert probabilities[guess] == pytest.approx(max(probabilities))


def test_the_best_guess_reaches_the_ceiling_on_drawn_examples() -> None:
    config = Config(topic_share=0.15, num_train=20_000)
    inputs, targets, _ = config.build(9).train
    targets = targets[:, 0]
    right = (document_matching.best_guess(config, inputs)[:, 0] == targets).double().mean().item()
    assert 0.9 < document_matching.ceiling(config) < 0.95
    assert right == pytest.approx(document_matching.ceiling(config), abs=4 * (0.07 / 20_000) ** 0.5)


def test_the_default_is_nearly_but_not_wholly_decidable_and_chance_is_a_half() -> None:
    config = Config()
    assert 0.95 < document_matching.ceiling(config) < 1
    assert document_matching.chance(config) == 0.5


def test_the_ceiling_depends_on_documents_alone_and_is_always_the_same() -> None:
    one, other = Config(num_topics=3, document_length=5), Config(num_topics=3, document_length=5, num_train=7)
    value = document_matching.ceiling(one)
    assert document_matching.ceiling(other) == value
    document_matching._simulated.cache_clear()
    assert document_matching.ceiling(one) == value


def test_long_documents_do_not_overflow() -> None:
    config = Config(document_length=4096, topic_share=0.9, num_train=4)
    inputs, targets, _ = config.build(0).train
    targets = targets[:, 0]
    assert torch.equal(document_matching.best_guess(config, inputs)[:, 0], targets)


def test_one_document_alone_tells_nothing() -> None:
    config = Config(num_train=4000, topic_share=0.9)
    inputs, targets, _ = config.build(6).train
    targets = targets[:, 0]
    for part in inputs[:, :128].split(64, 1):
        topic = (part // config.words_per_topic).mode(1).values
        shares = torch.stack([targets[topic == t].double().mean() for t in range(8)])
        assert (shares - 0.5).abs().max() < 5 * 0.5 / 500**0.5


@pytest.mark.parametrize(
    "content",
    [{"num_topics": 1}, {"topic_share": 1.0}, {"topic_share": 0.0}, {"document_length": 0}, {"question_length": 1}],
)
def test_bad_parameters_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=f"file: {next(iter(content))}: .*(greater|less) than"):
        checked(Config, content, "file")


def test_it_is_labelled_a_proxy_wherever_it_is_described() -> None:
    assert "PROXY of LRA Retrieval" in (document_matching.__doc__ or "")
    assert "proxy of LRA Retrieval" in (Config.__doc__ or "")
    assert "proxy of LRA Retrieval" in str(Config.model_fields["num_topics"].description)
