"""Key presence: was the key put into this sequence? The toy task and the "LRA" task of source 001's code.

Tokens are uniform over the vocabulary; with probability 1/2 the key (42) is put at a uniformly drawn position, and
the label is 1 if it was; then CLS (token 1) replaces one token. ``negatives: chance`` with ``cls: first`` is the task
as published. The key comes by chance as well (here at position 2), and CLS may overwrite it::

    position   0    1   2   3  …  57  …  126  127
    token      CLS  77  42  9  …  42  …  200   13     target: 1, for the key was put at position 57
    token      CLS  8   31  5  …  90  …  42   171     target: 0, the key came by chance
    token      CLS  16  3   7  …  61  …  112   29     target: 1, CLS stands where the key was put

``negatives: without`` repairs that: no other token is the key, and it is never put on CLS; ``cls: last`` lets the
question come after everything::

    token      77   8   42  9  …  57  …  200  CLS     target: 1, for the key was put at position 2

:func:`ceiling` is 1 for the repaired task, .802 for the toy (T 128, vocabulary 256) and .635 for the "LRA" task
(T 1024, vocabulary 512), where the best rule asks for two keys: answering whether there is one at all is right in .568
of the sequences (:func:`accuracy_of_presence`).
"""

from __future__ import annotations

from math import comb
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from palimpsest.tasks import Examples, Splits, TaskConfig, drawn
from palimpsest.tasks.shared import classes

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score_once, classes.record, classes.picture
CLS = 1
"""The source's token for CLS; elsewhere in a sequence it is a token like any other."""


class Config(TaskConfig):
    """Parameters of the task; the defaults are the toy as published, and the source draws 8000 examples in all."""

    extras: ClassVar[tuple[str, ...]] = ("answer_position",)

    sequence_length: int = Field(128, ge=2, le=4096, description="tokens T, CLS included")
    vocabulary: int = Field(256, ge=3, le=2**20, description="size V of the alphabet, key and CLS included")
    key: int = Field(42, ge=0, description="the token that is looked for; below the vocabulary and not 1, which is CLS")
    negatives: Literal["chance", "without"] = Field(
        "chance", description="whether other tokens may be the key by chance and CLS may overwrite it"
    )
    cls: Literal["first", "last"] = Field("first", description="where CLS stands")
    num_train: int = Field(8000, ge=2, description="training examples")
    num_validation: int = Field(1000, ge=2, description="examples on which choices are made")
    num_test: int = Field(1000, ge=2, description="examples that are looked at once, at the end")

    @model_validator(mode="after")
    def _key_is_a_token_of_its_own(self) -> Config:
        if self.key >= self.vocabulary:
            raise ValueError(f"key {self.key} is outside the vocabulary; allowed: below {self.vocabulary}")
        if self.key == CLS:
            raise ValueError(f"key {self.key} is CLS; allowed: any other token below {self.vocabulary}")
        return self

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: sizes of its input and output, and where CLS stands."""
        return {
            "num_tokens": self.vocabulary,
            "num_outputs": 2,
            "sequence_length": self.sequence_length,
            "asked": [self.sequence_length - 1],
            "cls_position": 0 if self.cls == "first" else self.sequence_length - 1,
        }

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine.

        ``answer_position`` is where the key was put, −1 where it was not or CLS
        overwrote it; a key that came by chance answers nothing.
        """
        return drawn(self, seed, _draw)


def _draw(config: Config, size: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    by_chance = config.negatives == "chance"
    length, first = config.sequence_length, config.cls == "first"
    cls_position = 0 if first else length - 1
    inputs = torch.randint(config.vocabulary - (not by_chance), (size, length), generator=generator)
    put = torch.randint(2, (size,), generator=generator)
    position = torch.randint(length - (not by_chance), (size,), generator=generator)
    if not by_chance:
        inputs += inputs >= config.key  # uniform over all tokens but the key
        position += first  # uniform over all positions but that of CLS
    rows = torch.arange(size)
    inputs[rows, position] = torch.where(put == 1, config.key, inputs[rows, position])
    inputs[:, cls_position] = CLS
    answers = (put == 1) & (position != cls_position)
    return Examples(inputs, put[:, None], {"answer_position": position.where(answers, -1)})


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one half, as the key is put into every other sequence."""
    return 0.5


def threshold(config: Config) -> int:
    """Fewest keys in a sequence at which a best predictor answers that the key was put.

    With ``negatives: without`` that is 1. By chance, n = T − 1 tokens beside CLS are the key with probability 1/V
    each. Putting the key on CLS (probability 1/T) changes nothing; putting it on one of the others (1/T each) takes
    that token's probability from 1/V to 1. A sequence with c keys is therefore

        P(x | put) / P(x | not put) = 1/T + c · (1/T) · V = (1 + cV) / T

    times as likely when the key was put. More than once as likely means c > (T − 1)/V: the threshold is
    ⌊(T − 1)/V⌋ + 1, which is 1 for the toy and 2 for the "LRA" task. Where c = (T − 1)/V, both answers are as good.
    """
    return 1 if config.negatives == "without" else (config.sequence_length - 1) // config.vocabulary + 1


def informed_guess(config: Config, inputs: Tensor) -> None:
    """``None``: without a search for the key only the share of a class is left, so the floor is chance."""
    del config, inputs


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: 1 with ``negatives: without``, else that of Bayes' rule.

    The label depends on a sequence through its number of keys c alone (:func:`threshold`), and c is binomial
    (n = T − 1, q = 1/V) when the key was not put. With m the threshold, Bayes' rule is right with probability

        1/2 + 1/2 Σ_{c<m} b(c; n, q) (1 − (1 + cV)/T)  =  1/2 + V/(2T) Σ_{c<m} (nq − c) b(c; n, q)
                                                       =  1/2 + m (V − 1)/(2T) · b(m; n, q)

    The last step is De Moivre's sum for the binomial's mean absolute deviation, Σ_{c<m} (nq − c) b(c) = m (1 − q) b(m).
    """
    if config.negatives == "without":
        return 1.0
    length, vocabulary, fewest = config.sequence_length, config.vocabulary, threshold(config)
    others = length - 1
    sequences = comb(others, fewest) * (vocabulary - 1) ** (others - fewest)  # with exactly so many keys
    return 0.5 + fewest * (vocabulary - 1) * sequences / (2 * length * vocabulary**others)


def accuracy_of_presence(config: Config) -> float:
    """Accuracy of the rule that the task seems to ask for: 1 where the key occurs, whether put or by chance.

    The rule errs on a sequence without the key when it was put on CLS, and on one with it when it came by chance:

        1/2 + 1/2 (1 − 1/T) (1 − 1/V)^(T−1)

    Equal to :func:`ceiling` where the threshold is 1, below it elsewhere.
    """
    if config.negatives == "without":
        return 1.0
    length, vocabulary = config.sequence_length, config.vocabulary
    return 0.5 + 0.5 * (1 - 1 / length) * (1 - 1 / vocabulary) ** (length - 1)


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Answers of a best predictor, (examples, 1): 1 from :func:`threshold` keys on. CLS is never the key."""
    return ((inputs == config.key).sum(1, keepdim=True) >= threshold(config)).long()
