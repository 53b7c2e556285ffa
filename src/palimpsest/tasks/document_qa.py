"""Document question answering: a question about one of several sentences of a generated document (source 001).

A sentence is subject, relation, object, STOP; no two of a document have the same subject and relation. The question
comes last: subject and relation of one of them, ASK, CLS. The answer is that sentence's object. With two sentences::

    position   0   1   2   3      4   5   6   7      8   9   10   11
    token      s3  r1  o5  STOP   s0  r1  o2  STOP   s3  r1  ASK  CLS      target: 5, the object of s3 r1
               sentence 1         sentence 2         question              answer_position: 2

Which sentence is asked is not known before the question, so a memory that holds fewer sentences than the document has
misses some: :func:`slots_ceiling`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.tasks import Examples, Splits, TaskConfig, drawn
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score_once, classes.record, classes.picture
SENTENCE = 4
"""Tokens of a sentence, and of the question."""
OBJECT = 2
"""Where the object stands in its sentence."""


class Config(TaskConfig):
    """Parameters of the task; the tokens are subjects, relations, objects, STOP, ASK, CLS, in this order."""

    extras: ClassVar[tuple[str, ...]] = ("answer_position",)

    num_sentences: int = Field(16, ge=1, le=1024, description="sentences S of a document; any of them may be asked")
    num_subjects: int = Field(16, ge=1, le=1000, description="alphabet of subjects")
    num_relations: int = Field(4, ge=1, le=100, description="alphabet of relations")
    num_objects: int = Field(8, ge=2, le=1000, description="alphabet of objects, the answers")
    num_train: int = Field(5000, ge=2, description="training examples")
    num_validation: int = Field(1000, ge=2, description="examples on which choices are made")
    num_test: int = Field(1000, ge=2, description="examples that are looked at once, at the end")

    @model_validator(mode="after")
    def _sentences_are_distinct(self) -> Config:
        pairs = self.num_subjects * self.num_relations
        if self.num_sentences > pairs:
            raise ValueError(
                f"num_sentences {self.num_sentences} is more than there are pairs of subject and relation; "
                f"allowed: at most num_subjects * num_relations = {pairs}"
            )
        return self

    @property
    def first_object(self) -> int:
        """Token of object 0."""
        return self.num_subjects + self.num_relations

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: sizes of its input and output, and where CLS stands."""
        length = SENTENCE * (self.num_sentences + 1)
        return {
            "num_tokens": self.first_object + self.num_objects + 3,
            "num_outputs": self.num_objects,
            "sequence_length": length,
            "asked": [length - 1],
            "cls_position": length - 1,
        }

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return drawn(self, seed, _draw)


def _draw(config: Config, size: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    shape = (size, config.num_sentences)
    pairs = torch.rand(size, config.num_subjects * config.num_relations, generator=generator)
    pairs = pairs.argsort(1)[:, : config.num_sentences]  # drawn without replacement
    subjects = pairs // config.num_relations
    relations = config.num_subjects + pairs % config.num_relations
    objects = torch.randint(config.num_objects, shape, generator=generator)
    asked = torch.randint(config.num_sentences, (size,), generator=generator)
    stop, ask, cls = (config.first_object + config.num_objects + extra for extra in range(3))
    sentences = torch.stack([subjects, relations, config.first_object + objects, torch.full(shape, stop)], 2)
    rows = torch.arange(size)
    question = torch.tensor([0, 0, ask, cls]).repeat(size, 1)
    question[:, :OBJECT] = sentences[rows, asked, :OBJECT]
    inputs = torch.cat([sentences.flatten(1), question], 1)
    return Examples(inputs, objects[rows, asked, None], {"answer_position": SENTENCE * asked + OBJECT})


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: objects are uniform."""
    return 1 / config.num_objects


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """The object that most sentences have, (E, 1): it does not know which sentence is asked."""
    objects = inputs[:, OBJECT:-SENTENCE:SENTENCE] - config.first_object
    return classes.most_frequent(objects, torch.ones(objects.shape[1]), config.num_objects)


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: the answer is in the input."""
    del config
    return 1.0


def slots_ceiling(config: Config, num_slots: int) -> float:
    """Best accuracy of a predictor that keeps ``num_slots`` sentences, whole, and forgets the others.

    Sentences are asked uniformly and nothing before the question shows which, so N of S sentences hold the answer with
    probability N/S whichever they are; else the objects are equally likely:

        N/S + (1 − N/S) / num_objects        (1 for N ≥ S)

    It is no bound for a slot that holds more than one sentence.

    Raises:
        ParameterError: ``num_slots`` is negative.
    """
    if num_slots < 0:
        raise ParameterError(f"num_slots: {num_slots}: negative; allowed: 0 or more")
    kept = min(1.0, num_slots / config.num_sentences)
    return kept + (1 - kept) / config.num_objects


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Answers of a best predictor, (E, 1): the object of the sentence with the question's subject and relation."""
    sentences = inputs[:, :-SENTENCE].unflatten(1, (config.num_sentences, SENTENCE))
    question = inputs[:, None, -SENTENCE : -SENTENCE + OBJECT]
    place = (sentences[:, :, :OBJECT] == question).all(2).int().argmax(1)
    return sentences[torch.arange(len(inputs)), place, OBJECT, None] - config.first_object
