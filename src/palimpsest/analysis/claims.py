"""From runs to verdicts: one function decides all claims of all sources."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pandas import DataFrame

from palimpsest.analysis.claim_file import Claims
from palimpsest.analysis.claim_file import read_claims as read_claims
from palimpsest.analysis.frames import COUNT, NAME, NUMBER, TEXT, Layout, axes_of, one_of, read_frame, tidy
from palimpsest.analysis.measure import Cell, Measured, TrackRuns, Verdict, measure
from palimpsest.analysis.runs import run_directory
from palimpsest.analysis.statistics import Interval, PValues, holm
from palimpsest.foundation.errors import ParameterError

VERDICTS = Layout(
    {
        "claim": NAME,
        "track": one_of("published", "repaired"),
        "verdict": one_of("holds", "fails", "undecided"),
        "estimate": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "n": COUNT,
        "unit": TEXT,
        "reason": TEXT,
    },
    {},
    axes=False,
    metrics=False,
)


class Decisions(NamedTuple):
    """The verdicts and their evidence."""

    table: DataFrame
    """One row for each claim and track, with the columns of ``tables/claims.csv``."""
    evidence: list[dict[str, Any]]
    """One entry for each test, as plain values: the content of ``tables/claims_evidence.json``."""


@dataclass(frozen=True)
class Judged:
    """A test with its verdict; a test that is reported beside a claim and decides nothing has none."""

    measured: Measured
    interval: Interval
    p: PValues
    adjusted: PValues
    verdict: Verdict | None


def decide(runs: DataFrame, claims: Claims, confidence: float, file: Path | str = "params/claims") -> Decisions:
    """Decide every claim on each of its tracks.

    A test holds if its one-sided p value, adjusted by Holm's method over all tests of all claims of its source on all
    tracks, is at most (1 − confidence) / 2. It fails if the same is true of the opposite side; else it is undecided. A
    test never holds if one of its runs is missing, diverged or lacks a number; in a success rate, a diverged run counts
    as a failure. A claim holds if all its tests hold, fails if one fails, and is undecided otherwise. Its row has the
    numbers of the decisive test: the first that fails, else the first that is undecided, else the first.

    Args:
        runs: from ``collect`` or ``read_runs``.
        claims: from ``read_claims``.
        confidence: level of the intervals and of the verdicts.
        file: file of the claims, for messages.

    Raises:
        ParameterError: a claim names a metric or an axis that the runs do not have, or leaves several cells where one
            is needed.
    """
    tests: list[Measured] = []
    beside: list[Measured] = []
    order = [(name, track) for name, claim in sorted(claims.claims.items()) for track in sorted(claim.tracks)]
    picked = functools.cache(lambda experiment, track: TrackRuns.of(runs, experiment, track, claims.groups))
    for name, track in order:
        claim = claims.claims[name]
        try:
            for criteria, found in ((claim.tests, tests), (claim.also, beside)):
                for one in criteria:
                    if track in claim.asked_on(one):
                        found += measure(name, one.on(track), picked(one.experiment or claim.experiment, track))
        except ParameterError as error:
            raise ParameterError(f"{file}: claims.{name}: {error}") from None
    judged = [
        one
        for source in sorted({claim.source for claim in claims.claims.values()})
        for one in judge([test for test in tests if claims.claims[test.claim].source == source], confidence)
    ]
    rows = [_row(name, track, [one for one in judged if _of(one, name, track)], confidence) for name, track in order]
    no_p = PValues(math.nan, math.nan)
    judged += [Judged(one, one.interval(confidence), one.p_values(), no_p, None) for one in beside]
    axes = axes_of(runs)
    evidence = [_evidence(one, axes) for name, track in order for one in judged if _of(one, name, track)]
    return Decisions(tidy(DataFrame(rows, columns=list(VERDICTS.head))), evidence)


def _of(one: Judged, claim: str, track: str) -> bool:
    return (one.measured.claim, one.measured.track) == (claim, track)


def judge(tests: Sequence[Measured], confidence: float) -> list[Judged]:
    """Decide a family of tests; each direction is corrected over the whole family."""
    p_values = [test.p_values() for test in tests]
    beyond, opposite = holm([p.beyond for p in p_values]), holm([p.opposite for p in p_values])
    level = (1 - confidence) / 2
    judged = []
    for test, p, *adjusted in zip(tests, p_values, beyond, opposite, strict=True):
        verdict: Verdict = "undecided"
        if test.missing:
            verdict = test.verdict_if_missing
        elif adjusted[0] <= level and not test.failed:
            verdict = "holds"
        elif adjusted[1] <= level:
            verdict = "fails"
        judged.append(Judged(test, test.interval(confidence), p, PValues(*adjusted), verdict))
    return judged


def _row(claim: str, track: str, tests: list[Judged], confidence: float) -> dict[str, Any]:
    """Return a row of the table: the verdict, and the numbers of the decisive test."""
    verdicts = [test.verdict for test in tests]
    verdict = next(word for word in ("fails", "undecided", "holds") if word in verdicts)
    decisive = tests[verdicts.index(verdict)]
    interval = decisive.interval
    reason = sentence(decisive, confidence)
    if len(tests) > 1:
        reason += f"; {verdicts.count('holds')} of {len(tests)} tests hold"
    return {
        "claim": claim,
        "track": track,
        "verdict": verdict,
        "estimate": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "unit": decisive.measured.criterion.unit,
        "reason": reason,
    }


def sentence(test: Judged, confidence: float) -> str:
    """Describe the result of a test in words: the number, the claimed bound, the cells, and what went wrong."""
    measured, interval = test.measured, test.interval
    criterion = measured.criterion
    if measured.missing:
        return f"{criterion.name}: {measured.missing}"
    text = f"{criterion.name} is {_spread(interval, confidence)}, claimed {criterion.bound}"
    if test.verdict == "undecided" and interval.n > 1 and not measured.failed:
        nearer = min(test.adjusted.beyond, test.adjusted.opposite)
        text += f", which these seeds do not decide (adjusted p = {nearer:.2g})"
    text += f"; {_cells_in_words(measured.cells)}"
    if measured.failed:
        affected = sum(1 for value in measured.values.values() if math.isnan(value))
        text += f"; {affected} of {len(measured.values)} seeds failed ({', '.join(measured.failed)}): so it cannot hold"
    return text


def _spread(interval: Interval, confidence: float) -> str:
    if interval.n == 0:
        return "not known from any seed"
    if interval.n == 1:
        return f"{interval.mean:.4g} in the only seed"
    if interval.sd == 0:
        return f"{interval.mean:.4g} in each of {interval.n} seeds"
    level = f"{100 * confidence:g} % interval"
    return f"{interval.mean:.4g} ({level} {interval.low:.4g} to {interval.high:.4g}, n = {interval.n})"


def _cells_in_words(cells: Sequence[Cell]) -> str:
    if len(cells) <= 2:
        return " against ".join(str(cell) for cell in cells)
    return f"{cells[0]} to {cells[-1]}, {len(cells)} cells"


def _evidence(test: Judged, axes: list[str]) -> dict[str, Any]:
    measured, interval = test.measured, test.interval
    criterion = measured.criterion
    return {
        "claim": measured.claim,
        "track": measured.track,
        "experiment": measured.experiment,
        "test": criterion.name,
        "decides": test.verdict is not None,
        "kind": criterion.kind,
        "metric": criterion.metric,
        "absolute": criterion.absolute,
        "unit": criterion.unit,
        "estimate": interval.mean,
        "sd": interval.sd,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "by_seed": {str(seed): value for seed, value in measured.values.items()},
        "bound": str(criterion.bound) if criterion.bound else None,
        "p": test.p.beyond,
        "p_holm": test.adjusted.beyond,
        "p_opposite": test.p.opposite,
        "p_opposite_holm": test.adjusted.opposite,
        "verdict": test.verdict,
        "missing": measured.missing or None,
        "failed": list(measured.failed),
        "cells": [
            {"model": cell.model, "cell": cell.point, "candidates": cell.candidates, "chosen_by": cell.chosen_by}
            for cell in measured.cells
        ],
        "runs": [run_directory(run, axes) for run in measured.runs],
        **({"success": str(criterion.success)} if criterion.success else {}),
    }


def read_verdicts(path: Path) -> DataFrame:
    """Read ``tables/claims.csv``.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, VERDICTS)
