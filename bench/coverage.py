"""How often each interval of a claim holds what it estimates, at five and at ten seeds: `python -m bench.coverage`.

No measurement of a machine: the numbers follow from the seed of the generator. Runs are drawn many times, of seeds that
are alike or of which a fifth fail, and on test examples that all seeds share; some examples are harder for all.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.special

from palimpsest.analysis.estimates import Sample, interval, share_variance
from palimpsest.foundation.files import write_text

RESULT = Path("bench/results/coverage.csv")
SEED, CONFIDENCE, EXAMPLES, POINTS = 20, 0.95, 250, 8
"""Seed of the generator, level of the intervals, test examples, pairs behind a correlation."""
FAILING = 0.2
"""Share of seeds that fail, where some do."""
HARD = 1.0
"""Deviation of the difficulty of examples, on the scale on which an answer's noise has 1."""
Draw = Callable[[np.random.Generator, int], Sample]


class Case(NamedTuple):
    """One quantity, how its seeds are, its true value, and how runs are drawn."""

    quantity: str
    seeds: str
    truth: float
    draw: Draw


class Net(NamedTuple):
    """A model: the share of answers that are right, how much seeds differ, and whether a fifth of them fail."""

    share: float
    deviation: float = 0.1
    fails: bool = False

    @property
    def mean(self) -> float:
        """The share over all seeds and all examples."""
        return (1 - FAILING) * self.share + FAILING * 0.5 if self.fails else self.share

    def answers(self, generator: np.random.Generator, seeds: int, easy: np.ndarray) -> np.ndarray:
        """Return the share of right answers of each seed, on examples that are as easy as given."""
        spread = math.sqrt(1 + HARD**2 + self.deviation**2)
        shares = np.full(seeds, self.share)
        if self.fails:
            shares[generator.random(seeds) < FAILING] = 0.5
        skill = scipy.special.ndtri(shares) * spread + self.deviation * generator.standard_normal(seeds)
        right = skill[:, None] + easy + generator.standard_normal((seeds, len(easy))) > 0
        return right.mean(1)


def share(net: Net) -> Draw:
    """Return runs of one model."""

    def draw(generator: np.random.Generator, seeds: int) -> Sample:
        values = net.answers(generator, seeds, HARD * generator.standard_normal(EXAMPLES))
        variance = share_variance(float(values.mean()), EXAMPLES)
        return Sample(tuple(values), "share", EXAMPLES, variance, 0.0, 1.0)

    return draw


def success(net: Net) -> Draw:
    """Return which seeds of one model are right in more than three quarters of the answers."""

    def draw(generator: np.random.Generator, seeds: int) -> Sample:
        values = net.answers(generator, seeds, HARD * generator.standard_normal(EXAMPLES)) > 0.75
        return Sample(tuple(values.astype(float)), "success", low=0.0, high=1.0)

    return draw


def difference(net: Net, other: Net) -> Draw:
    """Return runs of two models on the same examples."""

    def draw(generator: np.random.Generator, seeds: int) -> Sample:
        easy = HARD * generator.standard_normal(EXAMPLES)
        one, two = net.answers(generator, seeds, easy), other.answers(generator, seeds, easy)
        variance = sum(share_variance(float(values.mean()), EXAMPLES) for values in (one, two))
        return Sample(tuple(one - two), "difference", EXAMPLES, variance, -1.0, 1.0)

    return draw


def reduction(mean: float, failing: bool) -> Draw:
    """Return logarithms of ratios; of seeds that fail nothing is lowered."""

    def draw(generator: np.random.Generator, seeds: int) -> Sample:
        logs = mean + 0.3 * generator.standard_normal(seeds)
        if failing:
            logs[generator.random(seeds) < FAILING] = 0.0
        return Sample(tuple(logs), "reduction")

    return draw


def correlation(noise: float) -> Draw:
    """Return rank correlations of a falling line with noise."""

    def draw(generator: np.random.Generator, seeds: int) -> Sample:
        heights = -np.arange(POINTS) + noise * generator.standard_normal((seeds, POINTS))
        ranks = heights.argsort(1).argsort(1)
        wrong = (ranks - np.arange(POINTS)) ** 2
        return Sample(tuple(1 - 6 * wrong.sum(1) / (POINTS * (POINTS**2 - 1))), "correlation", points=POINTS)

    return draw


def cases() -> Iterator[Case]:
    """Yield every quantity; the truth of a correlation is the mean on Fisher's scale over many seeds."""
    alike, some = "alike", "a fifth fail"
    for level in (0.9, 0.99):
        yield Case(f"share {level}", alike, level, share(Net(level)))
        failing = Net(level, fails=True)
        yield Case(f"share {level}", some, failing.mean, share(failing))
    yield Case("share that succeeds", some, 1 - FAILING, success(Net(0.99, fails=True)))
    yield Case("difference", alike, 0.05, difference(Net(0.9), Net(0.85)))
    failing = Net(0.9, fails=True)
    yield Case("difference", some, failing.mean - 0.85, difference(failing, Net(0.85)))
    yield Case("reduction", alike, 0.5, reduction(math.log(0.5), failing=False))
    yield Case("reduction", some, 1 - 0.5 ** (1 - FAILING), reduction(math.log(0.5), failing=True))
    for noise in (1.0, 3.0):
        many = interval(correlation(noise)(np.random.default_rng(SEED), 100_000), CONFIDENCE).mean
        yield Case(f"rank correlation {many:.2f}", alike, many, correlation(noise))


def simulate(repetitions: int) -> pd.DataFrame:
    """Return, for each quantity and number of seeds, how often its interval and Student's hold the truth."""
    rows = []
    for index, case in enumerate(cases()):
        for seeds in (5, 10):
            generator = np.random.default_rng([SEED, index, seeds])
            rows.append(
                {
                    "quantity": case.quantity,
                    "seeds": case.seeds,
                    "n": seeds,
                    **_row(case, generator, seeds, repetitions),
                }
            )
    return pd.DataFrame(rows)


def _row(case: Case, generator: np.random.Generator, seeds: int, repetitions: int) -> dict[str, float]:
    inside, by_student, points, widths = 0, 0, 0, []
    for _ in range(repetitions):
        sample = case.draw(generator, seeds)
        own = interval(sample, CONFIDENCE)
        low, high = students(_back(sample))
        inside += own.low <= case.truth <= own.high
        by_student += low <= case.truth <= high
        points += low == high
        widths.append(own.high - own.low)
    return {
        "truth": round(case.truth, 4),
        "coverage": inside / repetitions,
        "median_width": round(float(np.median(widths)), 4),
        "coverage_student": by_student / repetitions,
        "zero_width_student": points / repetitions,
    }


def students(values: Sequence[float]) -> tuple[float, float]:
    """Return Student's interval of a mean; that of equal values is a point, as its formula says."""
    found = interval(Sample(tuple(values)), CONFIDENCE)
    return (found.mean, found.mean) if math.isnan(found.low) else (found.low, found.high)


def _back(sample: Sample) -> Sequence[float]:
    return [1 - math.exp(value) for value in sample.values] if sample.kind == "reduction" else sample.values


def main(arguments: Sequence[str]) -> int:
    """Simulate and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000, help="draws of each case (2000)")
    parser.add_argument("--result", type=Path, default=RESULT, help="the table (bench/results/coverage.csv)")
    options = parser.parse_args(arguments)
    write_text(options.result, simulate(options.repetitions).to_csv(index=False, lineterminator="\n"))
    sys.stdout.write(f"{options.result}\n{options.result.read_text(encoding='utf-8')}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
