"""Two-document matching, made up offline: a labelled PROXY of LRA Retrieval, never the real thing (source 001).

Real papers that cite each other are read by :mod:`palimpsest.tasks.lra_retrieval`, if the user has them. Here both
documents are drawn: each has a topic, and every word is with probability ``topic_share`` one of its topic's own words,
else any word. The question is whether the topics are the same; it takes statistics over both documents, and no single
word answers. It stands in a last chunk of its own, CLS last. With 2 topics of 4 words and documents of 6::

    position   0 … 5               6 … 11              12 … 14
    token      0  2  7  1  3  2    3  0  5  1  6  2    SEP SEP CLS       target: 1, both are about topic 0
               document 1          document 2          question          (words 0–3 are its own, 4–7 of topic 1)
"""

from __future__ import annotations

from functools import lru_cache
from math import log, log1p
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor

from palimpsest.tasks import Examples, Splits, TaskConfig, drawn
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score_once, classes.record, classes.picture
SIMULATED_PAIRS = 200_000
"""Pairs behind :func:`ceiling`: its standard error is at most 0.25/√200000 < 0.0006, 0.00006 with the defaults."""
PAIRS_AT_ONCE = 20_000


class Config(TaskConfig):
    """Parameters of the proxy of LRA Retrieval; labels 1 (same topic) and 0 are equally likely."""

    extras: ClassVar[tuple[str, ...]] = ("answer_position",)

    document_length: int = Field(64, ge=1, le=4096, description="words of each of the proxy's two drawn documents")
    question_length: int = Field(8, ge=2, le=512, description="tokens after the documents: SEP, and CLS last")
    num_topics: int = Field(8, ge=2, le=256, description="topics of the proxy (proxy of LRA Retrieval, not the data)")
    words_per_topic: int = Field(
        16, ge=1, le=100, description="a topic's own words; the vocabulary is all topics' words"
    )
    topic_share: float = Field(0.25, gt=0, lt=1, description="probability that a word is drawn from its topic's own")
    num_train: int = Field(5000, ge=2, description="training examples, drawn")
    num_validation: int = Field(1000, ge=2, description="drawn examples on which choices are made")
    num_test: int = Field(1000, ge=2, description="drawn examples that are looked at once, at the end")

    @property
    def num_words(self) -> int:
        """Vocabulary of the documents; SEP and CLS come after it."""
        return self.num_topics * self.words_per_topic

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: sizes of its input and output, and where CLS stands."""
        length = 2 * self.document_length + self.question_length
        return {
            "num_tokens": self.num_words + 2,
            "num_outputs": 2,
            "sequence_length": length,
            "asked": [length - 1],
            "cls_position": length - 1,
        }

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return drawn(self, seed, _draw)


def _draw(config: Config, size: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(config.num_topics, (size,), generator=generator)
    targets = torch.randint(2, (size,), generator=generator)
    shift = torch.randint(1, config.num_topics, (size,), generator=generator)
    second = torch.where(targets == 1, first, (first + shift) % config.num_topics)
    question = torch.full((size, config.question_length), config.num_words)
    question[:, -1] += 1
    inputs = torch.cat([_document(config, first, generator), _document(config, second, generator), question], 1)
    return Examples(inputs, targets[:, None], {"answer_position": torch.full((size,), -1)})


def _document(config: Config, topic: Tensor, generator: Generator) -> Tensor:
    """One document for every topic, (examples, words); word w is one of topic w // words_per_topic."""
    shape = (len(topic), config.document_length)
    own = topic[:, None] * config.words_per_topic + torch.randint(config.words_per_topic, shape, generator=generator)
    other = torch.randint(config.num_words, shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < config.topic_share, own, other)


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing."""
    del config
    return 0.5


def informed_guess(config: Config, inputs: Tensor) -> None:
    """``None``: one document alone says nothing about whether the other is like it, so the floor is chance."""
    del config, inputs


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: E[max(p, 1 − p)], p the exact posterior of "same topic".

    The expectation is a mean over :data:`SIMULATED_PAIRS` pairs of documents, half of each label, always the same ones
    (a fixed seed). Only the counts of words by topic matter, and these are drawn directly, as multinomial counts.
    Averaging the posterior, not its hits, leaves a standard error of at most 0.25/√200000 < 0.0006.
    """
    return _simulated(config.num_topics, config.document_length, config.topic_share)


@lru_cache(maxsize=64)
def _simulated(num_topics: int, length: int, share: float) -> float:
    rng, total = np.random.default_rng(0), 0.0
    words_of = (1 - share) / num_topics + share * np.eye(2, num_topics)  # P(topic of a word | topic of the document)
    for topic in (0, 1):  # by symmetry the first document is about topic 0, and another topic is topic 1
        for _ in range(SIMULATED_PAIRS // 2 // PAIRS_AT_ONCE):
            first = rng.multinomial(length, words_of[0], size=PAIRS_AT_ONCE)
            second = rng.multinomial(length, words_of[topic], size=PAIRS_AT_ONCE)
            odds = _log_odds(torch.from_numpy(first), torch.from_numpy(second), share)
            total += torch.sigmoid(odds.abs()).sum().item()
    return total / SIMULATED_PAIRS


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Answers of a best predictor, (E, 1): 1 where "same topic" is at least as probable as "different topics"."""
    length = config.document_length
    documents = inputs[:, :length], inputs[:, length : 2 * length]
    first, second = (_counts(document // config.words_per_topic, config.num_topics) for document in documents)
    return (_log_odds(first, second, config.topic_share) >= 0).long()[:, None]


def _counts(topics: Tensor, num_topics: int) -> Tensor:
    """How many words of each topic a document has, (examples, topics)."""
    return torch.zeros(len(topics), num_topics, dtype=torch.int64).scatter_add_(1, topics, torch.ones_like(topics))


def _log_odds(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Posterior log odds of "same topic" against "different topics", (examples,), float64, from words by topic.

    A word of the document's topic is r = (s + (1−s)/K) / ((1−s)/K) times as likely as a word of any other. With counts
    a_t and b_t of the two documents, equal priors and K topics:

        P(same) ∝ 1/K · Σ_t r^(a_t + b_t)        P(different) ∝ 1/(K(K−1)) · Σ_{t≠u} r^(a_t + b_u)
    """
    topics = first.shape[1]
    log_ratio = log1p(share * topics / (1 - share))
    first, second = first.double() * log_ratio, second.double() * log_ratio
    same = (first + second).logsumexp(1)
    every = first.logsumexp(1) + second.logsumexp(1)  # all pairs (t, u), t = u among them
    apart = every + torch.log(-torch.expm1((same - every).clamp(max=0)))
    return log(topics - 1) + same - apart
