"""Entailment: does a propositional formula A entail a formula B? Nothing short of their structure helps.

A formula has n binary operators and n + 1 literals, in reverse Polish notation, in which a stack evaluates it from left
to right. A sequence is A, a turnstile, B and a question mark, with blanks before it, so that the question always stands
at the last step. With two variables p and q, whose literals are p, ¬p, q and ¬q, and n = 2::

    step      0  1  2   3  4   5  6  7  8   9  10  11
    token     p  q  ¬p  ∨  ∧   ⊢  q  p  ¬q  ∧  ∨   ?
    target                                         1

A = p ∧ (q ∨ ¬p) entails B = q ∨ (p ∧ ¬q); the answer 1 says so. A entails B if every assignment that makes A true makes
B true, which a truth table decides.

Examples come in fours: two premises and two conclusions with A₁ ⊨ B₁, A₂ ⊨ B₂, A₁ ⊭ B₂ and A₂ ⊭ B₁
[Evans et al. 2018, Section 2]. So half of the answers are 1, whatever the premise alone or the conclusion alone. In
training, formulas are drawn by themselves (``train_balance: fours``), and which literals the two formulas of an example
share still tells something. In validation and test, A₂ has the tokens of A₁ in another order, and B₂ those of B₁. Every
predictor that sees only which tokens the premise and the conclusion have is then right in exactly half of a four:
nothing that it learnt in training helps it. With ``train_balance: bags`` training is like the test.

The size of an example is n, the operators of each of its formulas. No example of the test split stands in another
split, and none of validation in training.

Deviates: in [Evans et al. 2018] formulas are in infix notation and negation is an operator; A₂ and B₂ share no tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Generator, Tensor
from torch.nn import functional as F

from palimpsest.tasks import Examples, Splits, TaskConfig
from palimpsest.tasks.shared import classes
from palimpsest.tasks.shared.sequences import Size

METRIC, RECORD = classes.METRIC, classes.RECORD
score, picture = classes.score_once, classes.picture
BLANK = 0
OPERATORS = ("and", "or", "implies")
"""In the order of their tokens, which follow the literals."""
FOUR = ((0, 0, 1), (1, 1, 1), (0, 1, 0), (1, 0, 0))
"""The examples of a four: number of the premise, number of the conclusion, answer."""
LONGEST = 4 * 20 + 4
"""Steps of the longest example that any parameters have."""
CANDIDATES = 1 << 10
"""Draws of formulas at a time; of most sizes one draw in two or three has a four."""
DRAWN = 6
"""Premises of a draw, and conclusions."""
Formulas = Int[Tensor, "count tokens"]


class Config(TaskConfig):
    """Parameters of the task; tokens: blank, literals (each variable, then its negation), operators, ⊢ and ?."""

    extras: ClassVar[tuple[str, ...]] = ("answer_position", "slice", "length")

    num_variables: int = Field(2, ge=2, le=5, description="variables of the formulas")
    min_operators: int = Field(1, ge=1, le=20, description="fewest operators of a formula in training")
    max_operators: int = Field(3, ge=1, le=20, description="most operators of a formula in training")
    test_operators: tuple[Size, ...] = Field(
        (2, 3, 4, 5), description="operators of a formula in the test split; in validation those that are trained"
    )
    train_balance: Literal["fours", "bags"] = Field(
        "fours", description="whether formulas of a training four are drawn by themselves, or have the same tokens"
    )
    num_train: int = Field(20000, ge=2, description="training examples")
    num_validation: int = Field(1000, ge=2, description="examples on which choices are made, like the test")
    num_test: int = Field(1000, ge=2, description="examples looked at once, at the end; as many of each tested size")

    @model_validator(mode="after")
    def _sizes_are_in_order(self) -> Config:
        if self.min_operators > self.max_operators:
            raise ValueError(
                f"min_operators {self.min_operators} is above max_operators; allowed: 1 to {self.max_operators}"
            )
        repeated = [size for size in self.test_operators if self.test_operators.count(size) > 1]
        if not self.test_operators or repeated:
            raise ValueError(f"test_operators {list(self.test_operators)}; allowed: at least one size, each once")
        if self.num_test < len(self.test_operators):
            raise ValueError(f"num_test {self.num_test}; allowed: as many as tested sizes or more")
        if max(self.test_operators) > 20 or min(self.test_operators) < 2:
            raise ValueError(f"test_operators {list(self.test_operators)}; allowed: 2 to 20")
        if not self.validated:
            raise ValueError(
                f"test_operators {list(self.test_operators)} are all untrained; "
                f"allowed: at least one of {self.min_operators} to {self.max_operators}"
            )
        return self

    @property
    def validated(self) -> list[int]:
        """Operators of a formula in the validation split: those of the test that are trained."""
        return [size for size in self.test_operators if self.trained(size)]

    @property
    def turnstile(self) -> int:
        """The token between premise and conclusion; the question mark is the next one."""
        return 1 + 2 * self.num_variables + len(OPERATORS)

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: its alphabet, and that the question stands at the end."""
        length = 4 * max(self.max_operators, *self.test_operators) + 4
        return {
            "num_tokens": self.turnstile + 2,
            "num_outputs": 2,
            "sequence_length": length,
            "asked": [length - 1],
            "cls_position": length - 1,
        }

    def trained(self, size: int) -> bool:
        """Whether training has formulas of so many operators."""
        return self.min_operators <= size <= self.max_operators

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine.

        Each split has a generator of its own (seeds 3·seed, 3·seed+1, 3·seed+2), so that a longer training split leaves
        the others as they are: their examples are left out of it.
        """
        test = _tested(self, self.test_operators, self.num_test, 3 * seed + 2, [])
        validation = _tested(self, self.validated, self.num_validation, 3 * seed + 1, [test.inputs])
        return Splits(_trained(self, 3 * seed, [test.inputs, validation.inputs]), validation, test)


def _tested(config: Config, tested: Sequence[int], count: int, seed: int, taken: Sequence[Tensor]) -> Examples:
    """Examples of each size in turn, as many of each but for one; of each, the last four may be cut off."""
    generator = Generator().manual_seed(seed)
    per_size = [count // len(tested) + (place < count % len(tested)) for place in range(len(tested))]
    fours = torch.tensor([-(-share // 4) for share in per_size])
    sizes = torch.tensor(tested).repeat_interleave(fours)
    kept = torch.cat([torch.arange(4 * all_of) < share for all_of, share in zip(fours.tolist(), per_size, strict=True)])
    return _draw(config, sizes, generator, taken, bags=True).rows(kept.nonzero()[:, 0])


def _trained(config: Config, seed: int, taken: Sequence[Tensor]) -> Examples:
    """Examples whose sizes are drawn, four after four; the last four may be cut off."""
    generator = Generator().manual_seed(seed)
    spread = config.max_operators - config.min_operators + 1
    sizes = config.min_operators + torch.randint(spread, (-(-config.num_train // 4),), generator=generator)
    bags = config.train_balance == "bags"
    return _draw(config, sizes, generator, taken, bags=bags).rows(slice(config.num_train))


def _draw(
    config: Config, sizes: Int[Tensor, " fours"], generator: Generator, taken: Sequence[Tensor], *, bags: bool
) -> Examples:
    """Fours of these sizes, none of whose examples is in ``taken``."""
    forbidden = np.concatenate([_rows(part) for part in taken]) if taken else np.empty(0)
    inputs = torch.full((len(sizes), 4, config.interface()["sequence_length"]), BLANK)
    for operators in sizes.unique().tolist():
        place = (sizes == operators).nonzero()[:, 0]
        inputs[place] = _fours(config, operators, len(place), generator, forbidden, bags=bags)
    answers = torch.tensor([answer for _, _, answer in FOUR]).repeat(len(sizes))
    extras = {
        "answer_position": torch.full_like(answers, -1),
        "slice": sizes.repeat_interleave(4),
        "length": torch.full_like(answers, inputs.shape[2]),
    }
    return Examples(inputs.flatten(0, 1), answers[:, None], extras)


def _rows(inputs: Int[Tensor, "examples time"]) -> Any:
    """Each example as one value that can be compared."""
    tokens = np.ascontiguousarray(inputs.to(torch.uint8).numpy())
    return tokens.view(f"S{tokens.shape[1]}")[:, 0]


def _fours(
    config: Config, operators: int, count: int, generator: Generator, forbidden: Any, *, bags: bool
) -> Int[Tensor, "count four time"]:
    """Draw so many fours of one size, none of whose examples is forbidden."""
    found: list[Tensor] = []
    while sum(map(len, found)) < count:
        premises, conclusions = (_formulas(config, operators, generator, bags=bags) for _ in range(2))
        tables = [truth_table(config, one.flatten(0, 1)).view(-1, DRAWN) for one in (premises, conclusions)]
        entails = (tables[0][:, :, None] & ~tables[1][:, None, :]) == 0
        rows, first, second = _first_four(entails)
        examples = torch.stack(
            [_sequence(config, premises[rows, first[a]], conclusions[rows, second[b]]) for a, b, _ in FOUR], 1
        )
        if len(forbidden) and len(rows):
            new = ~np.isin(_rows(examples.flatten(0, 1)), forbidden).reshape(-1, 4).any(1)
            examples = examples[torch.from_numpy(new)]
        found.append(examples)
    return torch.cat(found)[:count]


def _first_four(entails: Bool[Tensor, "count premises conclusions"]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The first two premises and two conclusions of each draw that make a four.

    Formulas of a draw are in no order, so that the first ones are as good as any.

    Returns:
        The draws that have a four; of each, the numbers of its premises and of its conclusions.
    """
    known = (entails * 2 ** torch.arange(DRAWN)).sum(2)  # of each premise, what it entails, as the bits of a number
    first, second = torch.tensor(list(itertools.combinations(range(DRAWN), 2))).T
    only_first, only_second = known[:, first] & ~known[:, second], known[:, second] & ~known[:, first]
    good = (only_first > 0) & (only_second > 0)
    rows = good.any(1).nonzero()[:, 0]
    chosen = good[rows].int().argmax(1)  # argmax: the first of equal ones
    conclusions = [_lowest_bit(only[rows, chosen]) for only in (only_first, only_second)]
    return rows, [first[chosen], second[chosen]], conclusions


def _lowest_bit(numbers: Int[Tensor, " count"]) -> Int[Tensor, " count"]:
    """The place of the lowest bit that is set; there is one."""
    return (numbers[:, None] >> torch.arange(DRAWN) & 1).argmax(1)


def _formulas(config: Config, operators: int, generator: Generator, *, bags: bool) -> Int[Tensor, "count drawn tokens"]:
    """Some formulas a draw: with the same tokens, or with tokens of their own."""
    if bags:
        tokens = _tokens(config, operators, CANDIDATES, generator).repeat_interleave(DRAWN, 0)
    else:
        tokens = _tokens(config, operators, CANDIDATES * DRAWN, generator)
    return _arranged(config, tokens, generator).unflatten(0, (CANDIDATES, DRAWN))


def _tokens(config: Config, operators: int, count: int, generator: Generator) -> Formulas:
    """Literals and operators of formulas, uniform, in no order."""
    first = 1 + 2 * config.num_variables
    literals = torch.randint(1, first, (count, operators + 1), generator=generator)
    chosen = torch.randint(first, first + len(OPERATORS), (count, operators), generator=generator)
    return torch.cat([literals, chosen], 1)


def _arranged(config: Config, tokens: Formulas, generator: Generator) -> Formulas:
    """The same tokens as a formula in reverse Polish notation, uniform over all orders that are one.

    A formula read backwards is in prefix notation. Of the rotations of a sequence with one literal more than operators
    exactly one is so: the one that starts behind the first minimum of the sums of +1 for an operator and −1 for a
    literal [the cycle lemma, Dvoretzky and Motzkin 1947].
    """
    order = torch.rand(tokens.shape, generator=generator, dtype=torch.float64).argsort(1)
    shuffled = tokens.gather(1, order)
    sums = torch.where(is_operator(config, shuffled), 1, -1).cumsum(1)
    start = (sums == sums.amin(1, keepdim=True)).int().argmax(1) + 1  # argmax: the first of equal ones
    place = (start[:, None] + torch.arange(tokens.shape[1])) % tokens.shape[1]
    return shuffled.gather(1, place).flip(1)


def is_operator(config: Config, tokens: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Which tokens of formulas are operators; the others are literals."""
    return tokens > 2 * config.num_variables


def _sequence(config: Config, premise: Formulas, conclusion: Formulas) -> Int[Tensor, "count time"]:
    """⊢ between two formulas, ? behind them, blanks before them."""
    mark = torch.full_like(premise[:, :1], config.turnstile)
    tokens = torch.cat([premise, mark, conclusion, mark + 1], 1)
    return F.pad(tokens, (config.interface()["sequence_length"] - tokens.shape[1], 0), value=BLANK)


def truth_table(config: Config, formulas: Formulas) -> Int[Tensor, " count"]:
    """The assignments that make each formula true, as the bits of a number; bit v of an assignment is variable v.

    A literal goes onto a stack, an operator takes two values off it.
    """
    every = 2**config.num_variables
    values = torch.zeros(2 * config.num_variables + 1, dtype=torch.int64)
    for literal in range(1, len(values)):
        variable, negated = divmod(literal - 1, 2)
        values[literal] = sum(1 << one for one in range(every) if bool(one >> variable & 1) != bool(negated))
    stack = torch.zeros(len(formulas), formulas.shape[1] + 2, dtype=torch.int64)
    top = torch.full((len(formulas), 1), 1)  # values on the stack and one below it, so that none is ever missing
    for token in formulas.T[..., None]:
        right, left = stack.gather(1, top), stack.gather(1, (top - 1).clamp_min(0))
        kind = token - 1 - 2 * config.num_variables
        joined = torch.where(kind == 0, left & right, torch.where(kind == 1, left | right, ~left | right))
        leaf = kind < 0
        top = torch.where(leaf, top + 1, top - 1)
        stack = stack.scatter(1, top, torch.where(leaf, values[token.clamp_max(len(values) - 1)], joined))
    return stack.gather(1, top)[:, 0] & (2**every - 1)


def record(logits: Float[Tensor, "runs batch 1 classes"]) -> dict[str, Tensor]:
    """The class of the largest logit, (R, B, steps), once for every step: tables of tasks with sizes have all steps."""
    return {name: value.expand(*value.shape[:2], LONGEST) for name, value in classes.record(logits).items()}


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: half of every four is entailed."""
    del config
    return 0.5


def informed_guess(config: Config, inputs: Tensor) -> None:
    """``None``: what the tokens of premise and conclusion say without their order is right in half of every four."""
    del config, inputs


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: 1, as a truth table decides."""
    del config
    return 1.0


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Answers from truth tables, (examples, 1)."""
    answers = torch.empty(len(inputs), 1, dtype=torch.int64)
    length = (inputs != BLANK).sum(1)
    for tokens in length.unique().tolist():
        rows, half = length == tokens, (tokens - 2) // 2
        known = inputs[rows][:, -tokens:]
        premise, conclusion = known[:, :half], known[:, half + 1 : -1]
        answers[rows, 0] = ((truth_table(config, premise) & ~truth_table(config, conclusion)) == 0).long()
    return answers
