"""Key–value stream: more pairs than slots, keys that are rewritten, and only tagged keys are asked (source 001).

A pair is two tokens, a key and its value. Each key stands for itself, so a key that comes again overwrites its value.
Some keys are tagged in every sequence anew, and a tag is part of the key's own token; one of the tagged keys is asked
at the end, for its latest value. With 8 keys and 8 values (plain keys 0 … 7, tagged 8 … 15, asked 16 … 23, values
24 … 31, CLS 32)::

    pair        0      1      2      3      4      …  31     question
    token       5 26   9 31   3 24   9 28   12 25  …  0 25   17 32      target: 4, the latest value of key 1

A memory that keeps what may be asked needs a slot for each tagged key and has to rewrite it; one that keeps the newest
pairs loses the answer (:func:`fifo_ceiling`), less often if it writes tagged ones alone (:func:`tagged_ceiling`).
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


class Config(TaskConfig):
    """Parameters of the task; a sequence has 2 (num_pairs + 1) tokens, the question included."""

    extras: ClassVar[tuple[str, ...]] = ("answer_position", "tagged")

    num_pairs: int = Field(32, ge=1, le=2047, description="pairs P of a key and its value, before the question")
    num_keys: int = Field(8, ge=1, le=256, description="keys K; each pair's key is drawn uniformly from them")
    num_tagged: int = Field(3, ge=1, description="keys of a sequence that carry the tag and may be asked; at most K")
    num_values: int = Field(8, ge=2, le=256, description="values V, the classes; each pair's is drawn uniformly")
    num_train: int = Field(5000, ge=2, description="training examples")
    num_validation: int = Field(1000, ge=2, description="examples on which choices are made")
    num_test: int = Field(1000, ge=2, description="examples that are looked at once, at the end")

    @model_validator(mode="after")
    def _tagged_keys_are_keys(self) -> Config:
        if self.num_tagged > self.num_keys:
            raise ValueError(f"num_tagged {self.num_tagged} is above num_keys; allowed: at most {self.num_keys}")
        return self

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: sizes of its input and output, and where CLS stands."""
        length = 2 * (self.num_pairs + 1)
        return {
            "num_tokens": 3 * self.num_keys + self.num_values + 1,
            "num_outputs": self.num_values,
            "sequence_length": length,
            "asked": [length - 1],
            "cls_position": length - 1,
        }

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return drawn(self, seed, _draw)


def _draw(config: Config, size: int, seed: int) -> Examples:
    """Draw the stream first, then who is asked, then who else is tagged.

    The asked key is uniform among the keys that occurred, and the other tagged keys are uniform among the rest, so a
    tagged key always occurs without a pair being forced: keys and values stay independent and uniform. Given stream
    and tags, the asked key is uniform among the tagged keys that occurred: nothing before the question shows which.
    """
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randint(config.num_keys, (size, config.num_pairs), generator=generator)
    values = torch.randint(config.num_values, (size, config.num_pairs), generator=generator)
    lots = torch.rand(2, size, config.num_keys, generator=generator, dtype=torch.float64)
    occurred = torch.zeros(size, config.num_keys, dtype=torch.bool).scatter(1, keys, value=True)
    asked = lots[0].where(occurred, -1.0).argmax(1)
    tagged = _asked_and_others(lots[1], asked, config.num_tagged)

    rows = torch.arange(size)
    is_asked = keys == asked[:, None]
    latest = _last(is_asked)
    inputs = torch.empty(size, config.num_pairs + 1, 2, dtype=torch.int64)
    inputs[:, :-1, 0] = keys + config.num_keys * tagged.gather(1, keys)
    inputs[:, :-1, 1] = values + 3 * config.num_keys
    inputs[:, -1, 0] = asked + 2 * config.num_keys
    inputs[:, -1, 1] = 3 * config.num_keys + config.num_values
    with_tag = torch.zeros_like(inputs)
    with_tag[:, :-1, 0] = tagged.gather(1, keys)
    extras = {
        "answer_position": 2 * latest + 1,
        "num_rewrites": is_asked.sum(1) - 1,
        "tagged": with_tag.flatten(1),  # of each token; the question carries no tag
    }
    return Examples(inputs.flatten(1), values[rows, latest, None], extras)


def _asked_and_others(lots: Tensor, asked: Tensor, number: int) -> Tensor:
    """(examples, keys), int64: 1 for the asked key and for the ``number`` − 1 other keys with the highest lots."""
    first = lots.scatter(1, asked[:, None], 2.0)  # above every lot, so that the asked key is among the highest
    return torch.zeros_like(lots, dtype=torch.int64).scatter(1, first.topk(number, dim=1).indices, 1)


def _last(where: Tensor) -> Tensor:
    """Last position of each row at which ``where`` is true."""
    return where.shape[1] - 1 - where.int().flip(1).argmax(1)


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: one over the number of values."""
    return 1 / config.num_values


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """The value with most weight of the pairs that show it, (examples, 1); it looks at no key and at no tag.

    A pair with j pairs behind it is the latest of its key with probability (1 − 1/K)^j: that is its weight. With the
    default sizes, this value is the answer in .279 of the examples, the last value in .238 of them, and the value that
    is shown most often in .220.
    """
    values = inputs[:, 1:-2:2] - 3 * config.num_keys
    behind = torch.arange(config.num_pairs, dtype=torch.float64).flip(0)
    return classes.most_frequent(values, (1 - 1 / config.num_keys) ** behind, config.num_values)


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: the answer is in the input, so 1."""
    return 1.0


def fifo_ceiling(config: Config, num_slots: int) -> float:
    """Best accuracy from the newest ``num_slots`` pairs alone: what writing every pair, first in first out, allows.

    The asked key is uniform among the keys that occurred, so its latest pair is among the newest N of P pairs with
    probability r = E[D_N / D_P], where D_n is the number of different keys in n pairs; otherwise the values that are
    kept are independent of the answer, and a guess is left:

        r + (1 − r) / V,    P(D_{n+1} = j | D_n = i) = i/K for j = i, 1 − i/K for j = i + 1

    The tags do not enter: this memory wastes slots on keys that are never asked (:func:`tagged_ceiling`).

    Args:
        config: parameters of the task.
        num_slots: pairs N that are kept, at least 0.

    Raises:
        ParameterError: ``num_slots`` is negative.
    """
    _check_slots(num_slots)
    if num_slots >= config.num_pairs:
        return ceiling(config)
    probability = _after_pairs([1.0] + [0.0] * config.num_keys, num_slots)  # [i]: P(D_N = i)
    # carried on to P pairs, the products i P(D_N = i) become [j]: E[D_N; D_P = j]
    expectation = _after_pairs([i * p for i, p in enumerate(probability)], config.num_pairs - num_slots)
    retained = sum(value / j for j, value in enumerate(expectation) if j > 0)
    return retained + (1 - retained) * chance(config)


def _after_pairs(weights: list[float], pairs: int) -> list[float]:
    """Weights over the number of different keys, 0 … K, after so many more ``pairs``."""
    keys = len(weights) - 1
    for _ in range(pairs):
        repeated = [i / keys * weight for i, weight in enumerate(weights)]
        new = [0.0] + [(1 - i / keys) * weight for i, weight in enumerate(weights[:-1])]
        weights = [a + b for a, b in zip(repeated, new, strict=True)]
    return weights


def tagged_ceiling(config: Config, num_slots: int) -> float:
    """Best accuracy from the newest ``num_slots`` tagged pairs alone: what a queue of tagged pairs allows.

    The latest pair of the asked key is kept if fewer than N tagged pairs come after it. With g pairs after it, each of
    another key, of which D were seen and m were tagged, and P − g − 1 pairs before it,

        r = Σ_g E[1(m < N) · E[1 / D_P | D after g]],

    as each of the K keys is asked with probability 1 / D_P where it occurs, and its latest pair stands at any place
    with probability 1/K if it does not come again. Which other keys are tagged does not depend on the stream, so T − 1
    fixed ones stand for all. Else a guess is left: r + (1 − r) / V.

    Args:
        config: parameters of the task.
        num_slots: pairs N that are kept, at least 0.

    Raises:
        ParameterError: ``num_slots`` is negative.
    """
    _check_slots(num_slots)
    pairs = config.num_pairs
    inverse = _inverse_of_different_keys(config)
    retained, after = 0.0, {(0, 0, 0): 1.0} if num_slots else {}
    for gap in range(pairs):
        retained += sum(p * inverse[pairs - gap - 1][tagged + plain] for (tagged, plain, _), p in after.items())
        after = _one_more_after(config, after, num_slots)
    return retained + (1 - retained) * chance(config)


def _one_more_after(
    config: Config, weights: dict[tuple[int, int, int], float], num_slots: int
) -> dict[tuple[int, int, int], float]:
    """Weights after one more pair of another key than the asked one, without those where the queue has lost the latter.

    Keyed by the other tagged keys and the plain ones that were seen, and the tagged pairs.
    """
    found: dict[tuple[int, int, int], float] = {}
    others = config.num_tagged - 1
    for (tagged, plain, pairs), weight in weights.items():
        for state, ways in (
            ((tagged, plain, pairs + 1), tagged),
            ((tagged + 1, plain, pairs + 1), others - tagged),
            ((tagged, plain, pairs), plain),
            ((tagged, plain + 1, pairs), config.num_keys - 1 - others - plain),
        ):
            if ways and state[2] < num_slots:
                found[state] = found.get(state, 0.0) + weight * ways / config.num_keys
    return found


def _inverse_of_different_keys(config: Config) -> list[list[float]]:
    """[n][d]: E[1 / D] for D keys in all, where d others and the asked one were seen and n more pairs come."""
    keys = config.num_keys
    rows = [[1 / (others + 1) for others in range(keys)]]
    for _ in range(config.num_pairs - 1):
        last = [*rows[-1], 0.0]
        rows.append([((d + 1) * last[d] + (keys - 1 - d) * last[d + 1]) / keys for d in range(keys)])
    return rows


def _check_slots(num_slots: int) -> None:
    if num_slots < 0:
        raise ParameterError(f"num_slots: {num_slots} is negative; allowed: 0 and above")


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Answers of a best predictor, (examples, 1): the value after the last token that is the asked key with its tag."""
    asked = inputs[:, -2] - config.num_keys
    place = _last(inputs[:, :-2:2] == asked[:, None])
    return inputs[torch.arange(len(inputs)), 2 * place + 1, None] - 3 * config.num_keys
