"""Fact recall: facts in the first segment of a text, distractors, and questions at its end (source 003).

A text is sentences of four words: ``S V O .`` of a small grammar, facts ``FACT k v .`` and questions ``ASK k . .``.
Facts stand in the first segment of W words, questions in the last of S; the text ends with ``ASK k``, and what is asked
is v::

    … FACT k3 v7 . | s1 v4 o2 . | FACT k0 v2 . | …            first segment
    … s6 v1 o5 . | s2 v2 o0 . | s1 v7 o3 . …                  S − 2 segments of distractors
    … s4 v0 o1 . | ASK k3 . . | s3 v5 o5 . | ASK k0           last segment: v7 is asked at k3, v2 at k0

The size of a text is its number of segments. Who sees W words, or fewer than those between, cannot see a fact when
it is asked for. Some pairs (k, v) are held out of training, and validation and test have no others, so that the answer
is never one that training has shown with its key.

With ``text: true`` the same words make a text to train a language model on: windows of W words, and the next word as
the target at every step. Half of them are sentences, with facts and, in the same window, questions that show their
answer, ``ASK k v .``. The other half are random words that repeat with a random period, without which a small model
does not learn to look back [Olsson et al. 2022, In-context Learning and Induction Heads: repeated random sequences].
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from palimpsest.tasks import Examples, Metric, Scores, Splits
from palimpsest.tasks.shared import classes
from palimpsest.tasks.shared.sequences import Part, StreamConfig, check_sizes, distinct, parts

METRIC = Metric("accuracy", "exact match")
RECORD, record, picture = classes.RECORD, classes.record, classes.picture

SENTENCE = 4
"""Words of a sentence."""
SHIFT = 2
"""A text begins in the middle of a sentence, so that it ends with the two words of the question."""
RANGES = {"confidence": (0, 1), "answer_probability": (0, 1), "brier": (0, 2)}
Segments = Annotated[int, Field(ge=2, le=4096)]
Sentences = Int[Tensor, "examples sentences four"]


class Config(StreamConfig):
    """Parameters of the task; the source has one fact and several hundred distracting tokens."""

    num_keys: int = Field(16, ge=2, le=256, description="keys, of which facts are about")
    num_values: int = Field(16, ge=2, le=256, description="values V")
    held_out: int = Field(2, ge=1, le=255, description="values that go with each key in validation and test alone")
    num_words: int = Field(8, ge=1, le=1024, description="subjects, and as many verbs and objects")
    num_facts: int = Field(2, ge=1, le=64, description="facts in the first segment, about different keys")
    num_questions: int = Field(1, ge=1, le=64, description="questions in the last segment; none shows its answer")
    window: int = Field(32, ge=8, le=4096, description="words W of a segment, a multiple of four")
    min_segments: Segments = Field(2, description="fewest segments S in training")
    max_segments: Segments = Field(8, description="most segments S in training, at the end of the curriculum")
    test_segments: tuple[Segments, ...] = Field((2, 4, 8, 32), description="segments S in the test split")
    text: bool = Field(False, description="windows of text and their next words, instead of questions at the end")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Config:
        check_sizes(self, "segments", self.min_segments, self.max_segments, self.test_segments)
        if self.window % SENTENCE:
            raise ValueError(f"window {self.window}; allowed: a multiple of {SENTENCE}, the words of a sentence")
        if self.held_out >= self.num_values:
            raise ValueError(
                f"held_out {self.held_out} of {self.num_values} values; allowed: 1 to {self.num_values - 1}"
            )
        most = min(self.window // SENTENCE - 1, self.num_keys)
        if self.num_facts > most:
            raise ValueError(
                f"num_facts {self.num_facts} in a window of {self.window} words about {self.num_keys} keys; "
                f"allowed: 1 to {most}"
            )
        if self.num_questions > self.window // SENTENCE:
            raise ValueError(
                f"num_questions {self.num_questions} in a window of {self.window} words; "
                f"allowed: 1 to {self.window // SENTENCE}"
            )
        return self

    @property
    def first_word(self) -> int:
        """Token of the first subject; keys and then values come before it."""
        return self.num_keys + self.num_values

    @property
    def stop(self) -> int:
        """Token of the full stop; FACT and ASK are the next two."""
        return self.first_word + 3 * self.num_words

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: an output for every word."""
        return {
            "num_tokens": self.stop + 3,
            "num_outputs": self.stop + 3,
            "sequence_length": self.window * max(self.max_segments, *self.test_segments),
            "code": "learned",
            "code_bits": 0,
            "code_levels": 0,
        }

    def trained(self, size: int) -> bool | None:
        """Whether training, at its end, has texts of so many segments."""
        return None if self.text else self.min_segments <= size <= self.max_segments

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        draw = _text if self.text else _episodes
        return Splits(*(draw(self, part, index == 0) for index, part in enumerate(parts(self, seed))))


def _pairs(config: Config, training: bool) -> Int[Tensor, "keys values"]:
    """The values that go with each key in training, or elsewhere; the same for every data set."""
    shuffled = distinct(config.num_keys, config.num_values, config.num_values, Generator().manual_seed(0))
    return shuffled[:, config.held_out :] if training else shuffled[:, : config.held_out]


def _distractors(config: Config, examples: int, count: int, generator: Generator) -> Sentences:
    """Sentences ``S V O .``."""
    words = torch.randint(config.num_words, (examples, count, 3), generator=generator)
    words = words + config.first_word + config.num_words * torch.arange(3)
    return torch.nn.functional.pad(words, (0, 1), value=config.stop)


def _statement(mark: int, keys: Tensor, values: Tensor, config: Config) -> Tensor:
    """Sentences ``FACT k v .`` or ``ASK k v .``, (…, 4)."""
    return torch.stack([torch.full_like(keys, mark), keys, values, torch.full_like(keys, config.stop)], -1)


def _facts(
    config: Config, examples: int, count: int, training: bool, generator: Generator
) -> tuple[Int[Tensor, "examples facts"], Int[Tensor, "examples facts"]]:
    """Keys, each once in an example, and a value for each, as tokens."""
    keys = distinct(examples, count, config.num_keys, generator)
    pairs = _pairs(config, training)
    choice = torch.randint(pairs.shape[1], keys.shape, generator=generator)
    return keys, pairs[keys, choice] + config.num_keys


def _episodes(config: Config, part: Part, training: bool) -> Examples:
    segments = part.sizes(config.min_segments, config.max_segments, config.test_segments)
    examples, per_window = len(segments), config.window // SENTENCE
    longest = part.longest(config.max_segments, config.test_segments)
    sentences = _distractors(config, examples, longest * per_window + 1, part.generator)
    keys, values = _facts(config, examples, config.num_facts, training, part.generator)
    place = distinct(examples, config.num_facts, per_window - 1, part.generator) + 1  # the first is cut in two
    rows = torch.arange(examples)
    sentences[rows[:, None], place] = _statement(config.stop + 1, keys, values, config)
    asked = torch.randint(config.num_facts, (examples, config.num_questions), generator=part.generator)
    back = distinct(examples, config.num_questions - 1, per_window - 1, part.generator) + 1
    last = segments[:, None] * per_window - torch.nn.functional.pad(back, (1, 0))
    stop = torch.full_like(asked, config.stop)
    sentences[rows[:, None], last] = _statement(config.stop + 2, keys.gather(1, asked), stop, config)
    answers = torch.full((examples, sentences.shape[1] * SENTENCE), -1)
    answers.scatter_(1, last * SENTENCE + 1, values.gather(1, asked))
    length = segments * config.window
    step = torch.arange(longest * config.window)
    inputs, targets = sentences.flatten(1)[:, SHIFT : SHIFT + len(step)], answers[:, SHIFT : SHIFT + len(step)]
    inputs = inputs.where(step < length[:, None], config.stop)
    return Examples(inputs, targets, {"length": length, "group": part.group, "slice": segments})


def _text(config: Config, part: Part, training: bool) -> Examples:
    examples, window = len(part.group), config.window
    words = _sentences(config, examples, training, part.generator)
    begin = torch.randint(SENTENCE, (examples, 1), generator=part.generator)
    step = torch.arange(window + 1)
    grammar = words.gather(1, begin + step)
    period = torch.randint(SENTENCE, window // 2 + 1, (examples, 1), generator=part.generator)
    random = torch.randint(config.stop + 3, (examples, window), generator=part.generator)
    repeated = random.gather(1, step.expand(examples, -1) % period)
    is_random = torch.randint(2, (examples, 1), generator=part.generator) == 1
    text = repeated.where(is_random, grammar)
    one = torch.ones(examples, dtype=torch.int64)
    return Examples(text[:, :-1], text[:, 1:], {"length": one * window, "group": part.group, "slice": one})


def _sentences(config: Config, examples: int, training: bool, generator: Generator) -> Int[Tensor, "examples words"]:
    """Two windows' worth of sentences: half of them distractors, then facts and questions about facts before them."""
    count = config.window // SENTENCE + 2
    sentences = _distractors(config, examples, count, generator)
    known = min(config.num_keys, 4)
    keys, values = _facts(config, examples, known, training, generator)
    kind = torch.randint(4, (examples, count), generator=generator)  # 0, 1: distractor
    which = torch.randint(known, (examples, count), generator=generator)
    told = torch.zeros(examples, known, dtype=torch.bool)
    rows = torch.arange(examples)
    for index in range(count):
        fact = which[:, index]
        key, value = keys[rows, fact], values[rows, fact]
        asks = (kind[:, index] == 3) & told[rows, fact]
        tells = (kind[:, index] >= 2) & ~asks
        told[rows, fact] |= tells
        sentence = _statement(config.stop + 1, key, value, config)
        sentence[:, 0] += asks
        sentences[:, index] = sentence.where((tells | asks)[:, None], sentences[:, index])
    return sentences.flatten(1)


def score(logits: Float[Tensor, "runs batch steps words"], examples: Examples) -> Scores:
    """Scores of the asked steps: those of :func:`palimpsest.tasks.shared.classes.score`, and how sure a model is.

    ``confidence``: the largest probability; ``answer_probability``: that of the right answer; ``brier``:
    Σ_c (p_c − [c is right])², in [0, 2] [Brier 1950].
    """
    found = classes.score(logits, examples)
    asked, known = examples.targets >= 0, examples.targets.clamp_min(0)
    p = logits.detach().softmax(-1)
    right = p.gather(-1, known[..., None]).squeeze(-1)
    sure = {"confidence": p.amax(-1), "answer_probability": right, "brier": (p * p).sum(-1) - 2 * right + 1}
    count = asked.sum(-1).clamp_min(1)
    return found | {name: (value * asked).sum(-1) / count for name, value in sure.items()}


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one over the number of values."""
    return 1 / config.num_values


def _is_value(config: Config, tokens: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    return (tokens >= config.num_keys) & (tokens < config.first_word)


def informed_guess(config: Config, inputs: Int[Tensor, "examples steps"]) -> Int[Tensor, "examples steps"] | None:
    """The value of the first fact: who does not know which key is asked can do no better than one of the facts.

    ``None`` for text, where words are no answers, and where there is one fact, which leaves nothing to choose.
    """
    if config.text or config.num_facts == 1:
        return None
    first = _is_value(config, inputs).int().argmax(1, keepdim=True)
    return inputs.gather(1, first).expand(inputs.shape)


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: 1 for questions; of text it is not known, and 1 is a bound."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Int[Tensor, "examples steps"]) -> Int[Tensor, "examples steps"] | None:
    """Return the value of the key that is asked at ASK's next word; −1 at other steps. ``None`` for text."""
    if config.text:
        return None
    ask, fact = config.stop + 2, config.stop + 1
    after_ask = torch.nn.functional.pad(inputs[:, :-1] == ask, (1, 0))
    key = inputs.where(after_ask, -1).amax(1, keepdim=True)
    tells = torch.nn.functional.pad((inputs[:, :-1] == fact) & (inputs[:, 1:] == key), (2, 0))[:, : inputs.shape[1]]
    value = inputs.where(tells & _is_value(config, inputs), -1).amax(1, keepdim=True)
    return value.where(after_ask, -1)
