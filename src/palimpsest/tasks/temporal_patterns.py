"""Temporal patterns: sequences whose next symbol follows from the present one and from one a lag before (source 004).

A sequence begins with a token that names its rule: a pattern and a lag L. Then come symbols 0 … V − 1. The first L of
them are random. Every later one follows from the symbol L places before it:

    periodic:  s_i = s_{i−L} + 1 mod V            a wave of L symbols that shifts by one from period to period
    driven:    s_i = s_{i−L} + s_{i−1} mod V      the present symbol drives what became of the old one

and with probability ``noise`` a symbol is drawn at random instead. At each symbol the next one is the target, once that
follows from a symbol of the sequence. With V = 4, the rule "periodic, lag 3" as token 4, and a noise at step 6::

    step      0   1   2   3   4   5   6   7   8
    token     4   2   0   3   3   1   2   0   2
    target    -   -   -   3   1   2*  0   2   3
              rule                (0 was due)

``slice`` is L. Every L symbols in a row are independent and uniform, so that whoever does not see the symbol L places
before the next one knows nothing of it: attention with a window shorter than L, an n-gram, or a guess that repeats the
last symbol are at chance. A whole number of periods of V L symbols would come back: sequences are shorter.

The source has no such task. Its public code predicts the last of a few random vectors plus a tenth of the first
(:mod:`palimpsest.faces.forecast`), which repeating the last one does nearly without an error.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from palimpsest.tasks import Examples, Splits
from palimpsest.tasks.shared import classes
from palimpsest.tasks.shared.sequences import Part, StreamConfig, check_tested, parts

METRIC, RECORD = classes.METRIC, classes.RECORD
score, record, picture = classes.score, classes.record, classes.picture
Pattern = Literal["periodic", "driven"]
Lag = Annotated[int, Field(ge=2, le=1000)]


class Rule(NamedTuple):
    """What a sequence follows."""

    pattern: Pattern
    lag: int
    """L, symbols."""


class Config(StreamConfig):
    """Parameters of the task. The size of a sequence is the number of its lag in ``lags``, from 1 on."""

    extras: ClassVar[tuple[str, ...]] = ("length", "group", "slice")

    num_symbols: int = Field(8, ge=2, le=1024, description="alphabet V of symbols, beside a token for each rule")
    lags: tuple[Lag, ...] = Field((2, 4, 8, 16), description="lags L, in curriculum order; each sequence has one")
    patterns: tuple[Pattern, ...] = Field(("periodic", "driven"), description="kinds of rules; each sequence has one")
    noise: float = Field(0.05, ge=0, lt=1, description="share of symbols that are drawn at random instead")
    num_asked: int = Field(24, ge=1, le=4096, description="symbols that follow from the rule, at the longest lag")

    @model_validator(mode="after")
    def _there_are_rules(self) -> Config:
        check_tested(self, self.lags)
        if not self.patterns or len(set(self.patterns)) < len(self.patterns):
            raise ValueError(f"patterns {list(self.patterns)}; allowed: one or more of periodic and driven, each once")
        if self.curriculum_start > len(self.lags):
            raise ValueError(f"curriculum_start {self.curriculum_start} counts lags; allowed: 1 to {len(self.lags)}")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules in the order of their tokens, which begin at V."""
        return tuple(Rule(pattern, lag) for lag in self.lags for pattern in self.patterns)

    def interface(self) -> dict[str, Any]:
        """Return what a model must know of the task: its alphabet, and that its outputs are symbols."""
        return {
            "num_tokens": self.num_symbols + len(self.rules),
            "num_outputs": self.num_symbols,
            "sequence_length": max(self.lags) + self.num_asked,
            "code": "learned",
            "code_bits": 0,
            "code_levels": 0,
        }

    def trained(self, size: int) -> bool:
        """Whether training has sequences of a lag, as ``slice`` counts sizes."""
        return size in self.lags

    def build(self, seed: int) -> Splits:
        """Draw the data set; the same seed gives the same examples on every machine."""
        return Splits(*(_draw(self, part) for part in parts(self, seed)))


def _draw(config: Config, part: Part) -> Examples:
    count, patterns = len(config.lags), len(config.patterns)
    which = part.sizes(1, count, range(1, count + 1)) - 1
    kind = torch.randint(patterns, which.shape, generator=part.generator)
    lag = torch.tensor(config.lags)[which]
    driven = torch.tensor([pattern == "driven" for pattern in config.patterns])[kind]
    symbols = _symbols(config, lag, driven, part.generator)
    inputs = torch.cat([config.num_symbols + (which * patterns + kind)[:, None], symbols[:, :-1]], 1)
    targets = torch.cat([torch.full_like(lag, -1)[:, None], symbols[:, 1:]], 1)
    targets = targets.where(_asked(lag, inputs.shape[1]), -1)
    return Examples(
        inputs, targets, {"length": torch.full_like(lag, inputs.shape[1]), "group": part.group, "slice": lag}
    )


def _symbols(
    config: Config, lag: Int[Tensor, " examples"], driven: Bool[Tensor, " examples"], generator: Generator
) -> Int[Tensor, "examples time"]:
    """One symbol after the other; one more than a sequence has, the last target."""
    shape = (len(lag), max(config.lags) + config.num_asked)
    random = torch.randint(config.num_symbols, shape, generator=generator)
    drawn = torch.rand(shape, generator=generator) < config.noise
    symbols = random.clone()
    for place in range(1, shape[1]):
        step = torch.where(driven, symbols[:, place - 1], 1)
        due = (symbols.gather(1, (place - lag).clamp_min(0)[:, None])[:, 0] + step) % config.num_symbols
        symbols[:, place] = torch.where(drawn[:, place] | (place < lag), random[:, place], due)
    return symbols


def _asked(lag: Int[Tensor, " examples"], time: int) -> Bool[Tensor, "examples time"]:
    """Whether the symbol behind each step follows from one of the sequence: it is number ``step``, from 0."""
    return torch.arange(time) >= lag[:, None]


def chance(config: Config) -> float:
    """Accuracy of a guess that looks at nothing: 1/V."""
    return 1 / config.num_symbols


ORDER = 3
"""Symbols of the longest context that the informed guess looks up."""


def informed_guess(config: Config, inputs: Tensor) -> Tensor:
    """What followed most often on the last symbols, earlier in a sequence: an n-gram that backs off, (examples, time).

    It looks up the last ``ORDER`` symbols; where they did not stand together before, fewer of them, and at last none.
    Of symbols that followed equally often, the smallest counts. It counts what it saw and knows nothing of lags.
    """
    return torch.cat([_continued(config, rows) for rows in inputs.split(2000)])


def _continued(config: Config, inputs: Int[Tensor, "examples time"]) -> Int[Tensor, "examples time"]:
    """:func:`informed_guess` of a few examples."""
    time = inputs.shape[1]
    followers = torch.nn.functional.one_hot(inputs[:, 1:].clamp_max(config.num_symbols), config.num_symbols + 1)
    followers = followers[..., : config.num_symbols].float()  # of each step but the last, the token behind it
    earlier = torch.ones(time, time - 1, dtype=torch.bool).tril(-1)
    alike = earlier.expand(len(inputs), -1, -1)
    guess = (alike.float() @ followers).argmax(2)
    for order in range(ORDER):
        same = inputs[:, :, None] == inputs[:, None, :-1]
        shifted = torch.zeros_like(alike)
        shifted[:, order:, order:] = same[:, : time - order, : time - 1 - order]
        alike = alike & shifted
        counts = alike.float() @ followers
        guess = torch.where(counts.sum(2) > 0, counts.argmax(2), guess)
    return guess


def ceiling(config: Config) -> float:
    """Best accuracy that any predictor could reach: 1 − noise + noise / V, as a symbol drawn at random may be due."""
    return 1 - config.noise + config.noise / config.num_symbols


def best_guess(config: Config, inputs: Tensor) -> Tensor:
    """Return the outputs of a best predictor, (examples, time): the symbol that is due; −1 at steps not asked."""
    rule, symbols = inputs[:, 0] - config.num_symbols, inputs[:, 1:]
    lag = torch.tensor([each.lag for each in config.rules])[rule]
    driven = torch.tensor([each.pattern == "driven" for each in config.rules])[rule]
    step = torch.arange(inputs.shape[1])
    old = symbols.gather(1, (step - lag[:, None]).clamp_min(0))
    due = (old + inputs.where(driven[:, None], 1)) % config.num_symbols
    return due.where(_asked(lag, inputs.shape[1]), -1)
