"""From runs to verdicts: one function decides all claims of all sources."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pandas import DataFrame

from palimpsest.analysis.claim_file import Claims
from palimpsest.analysis.claim_file import about as about
from palimpsest.analysis.claim_file import read_claims as read_claims
from palimpsest.analysis.conditions import Checked, check
from palimpsest.analysis.frames import COUNT, NAME, NUMBER, TEXT, Layout, axes_of, one_of, read_frame, records, tidy
from palimpsest.analysis.measure import Cell, Choice, Measured, Resolved, TrackRuns, measure
from palimpsest.analysis.runs import run_directory
from palimpsest.analysis.statistics import Interval, PValues, holm_steps
from palimpsest.foundation.errors import ParameterError

Verdict = Literal["holds", "fails", "undecided", "untested", "by construction"]
WORDS: tuple[Verdict, ...] = ("holds", "fails", "undecided", "untested", "by construction")
"""All verdicts. By construction: what code and sizes imply whatever is learnt, which a property test proves."""
PROMISING = 0.05
"""The p value, corrected within its claim, up to which an undecided claim gets the next look."""
VERDICTS = Layout(
    {
        "claim": NAME,
        "track": one_of("published", "repaired"),
        "verdict": one_of(*WORDS),
        "estimate": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "n": COUNT,
        "unit": TEXT,
        "reason": TEXT,
        "in_short": TEXT,
        "test": TEXT,
        "bound": TEXT,
        "look": COUNT,
        "p": NUMBER,
        "threshold": NUMBER,
        "corrected_low": NUMBER,
        "corrected_high": NUMBER,
        "conditions": TEXT,
        "property": TEXT,
        "uncorrected": one_of(*WORDS),
        "half_of_seeds": one_of(*WORDS),
        "same_seeds_choose": one_of(*WORDS),
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
    first: list[Ruling]
    """The verdicts after the first look."""


@dataclass(frozen=True)
class Test:
    """What was measured for one test, and whether it may be decided."""

    measured: Measured
    conditions: tuple[Checked, ...] = ()
    decides: bool = True

    @property
    def by_construction(self) -> bool:
        """Whether a property test proves it."""
        return self.measured.criterion.property is not None

    @property
    def unmet(self) -> str:
        """The first condition that is not met, in words; empty if all are."""
        return next((one.found for one in self.conditions if not one.met), "")

    @functools.cached_property
    def p(self) -> PValues:
        """The p values of its numbers, as if nothing else were tested."""
        return self.measured.p_values()

    @property
    def p_holds(self) -> float:
        """How probable such numbers are if it is not as claimed; 1 if it cannot hold."""
        cannot = self.unmet or self.measured.failed or self.measured.missing or math.isnan(self.p.beyond)
        return 1.0 if cannot else self.p.beyond

    @property
    def p_fails(self) -> float:
        """How probable such numbers are if it is as claimed; 1 if it cannot fail, 0 if no cell is as claimed."""
        if self.measured.missing:
            return 0.0 if self.measured.missing_fails else 1.0
        return 1.0 if self.unmet or math.isnan(self.p.opposite) else self.p.opposite


@dataclass(frozen=True)
class Ruling:
    """A claim on a track with its verdict, and the level at which its tests were decided."""

    claim: str
    track: str
    tests: tuple[Test, ...]
    verdict: Verdict
    decisive: Test
    threshold: float
    """The level that p was compared with; NaN where nothing was decided."""
    p: float
    look: int = 1
    """Which look at the seeds this is, from 1 on."""
    beside: tuple[Test, ...] = ()
    """What was measured beside the claim and decides nothing."""

    @property
    def promising(self) -> bool:
        """Whether more seeds may decide it: it is undecided, but one direction is near, corrected within the claim."""
        tests = _decided(self.tests)
        near = min(max(test.p_holds for test in tests), _bonferroni(tests, corrected=True)) if tests else 1.0
        return self.verdict == "undecided" and near <= PROMISING


Tests = Mapping[tuple[str, str], Sequence[Test]]
"""The tests of every claim on each of its tracks, and what is measured beside them."""


def decide(
    runs: DataFrame,
    claims: Claims,
    confidence: float,
    file: Path | str = "params/claims",
    resolved: Resolved | None = None,
    looks: Sequence[int] = (),
) -> Decisions:
    """Decide every claim on each of its tracks.

    A test is decided only if its conditions are met. A claim holds if all its tests do: the largest of their p values
    counts, uncorrected within the claim (an intersection-union test). It fails if one of its tests does: the smallest
    p value of the opposite counts, times the number of its tests (Bonferroni). Either is corrected by Holm's method
    over all claims of a source on all tracks, and compared with (1 - confidence) / 2, divided by the number of looks.
    Else it is untested if a test of it has an unmet condition, and otherwise undecided. A claim never holds if one of
    its runs is missing, diverged or lacks a number; in a success rate, a diverged run counts as a failure. What is true
    by construction is not decided.

    A later look takes more seeds of each cell, where there are more, and rules on what no look before has decided; what
    holds or fails is not looked at again. The level is shared out among the looks in equal parts (Bonferroni), so that
    all of them together err no more often than one at the whole level.

    Its row has the numbers of the decisive test: the one with the largest p value, or, where the claim fails, that with
    the smallest p value of the opposite, or, where it is untested, the first that is.

    Args:
        runs: from ``collect`` or ``read_runs``.
        claims: from ``read_claims``.
        confidence: level of the intervals and of the verdicts.
        file: file of the claims, for messages.
        resolved: what each run resolves to, for sizes, capacities and numbers of examples; directory of the run →
            ``task`` and ``config`` → parameters.
        looks: how many seeds of each cell a look takes at most, ascending; none: one look at all seeds.

    Raises:
        ParameterError: a claim names a metric or an axis that the runs do not have, or leaves several cells where one
            is needed.
    """
    known = resolved or {}
    ask = functools.partial(measure_by_look, claims=claims, file=file, looks=looks)
    measured = ask(runs, known)
    rulings = rule_by_look(measured, claims, confidence)
    variants = {
        "uncorrected": rule_by_look(measured, claims, confidence, corrected=False),
        "half_of_seeds": rule_by_look(ask(*first_seeds(runs, known, _larger_half)), claims, confidence),
        "same_seeds_choose": rule_by_look(ask(runs, known, choice="same_seeds"), claims, confidence),
    }
    rows = [
        _row(ruling, confidence) | {name: others[index].verdict for name, others in variants.items()}
        for index, ruling in enumerate(rulings)
    ]
    axes = axes_of(runs)
    evidence = [
        _evidence(test, axes, confidence, ruling) for ruling in rulings for test in (*ruling.tests, *ruling.beside)
    ]
    first = rule_by_look(measured[:1], claims, confidence, looks=len(measured))
    return Decisions(tidy(DataFrame(rows, columns=list(VERDICTS.head))), evidence, first)


def measure_by_look(
    runs: DataFrame,
    resolved: Resolved,
    claims: Claims,
    file: Path | str,
    looks: Sequence[int],
    choice: Choice = "other_seeds",
) -> list[Tests]:
    """Return the tests of every claim as each look sees them; without looks, there is one, at all seeds."""
    seen = [first_seeds(runs, resolved, functools.partial(min, look)) for look in looks] or [(runs, resolved)]
    return [measure_all(part, claims, file, known, choice) for part, known in seen]


def _larger_half(seeds: int) -> int:
    return math.ceil(seeds / 2)


def first_seeds(runs: DataFrame, resolved: Resolved, kept: Callable[[int], int]) -> tuple[DataFrame, Resolved]:
    """Return the smallest seeds of each cell, as many as ``kept`` makes of their number, and what is known."""
    axes = axes_of(runs)
    directories = [run_directory(run, axes) for run in records(runs)]
    seeds: dict[str, list[int]] = {}
    for directory in sorted({*directories, *resolved}):
        cell, _, seed = directory.rpartition("/seed=")
        seeds.setdefault(cell, []).append(int(seed))
    left = {f"{cell}/seed={seed}" for cell, own in seeds.items() for seed in sorted(own)[: kept(len(own))]}
    chosen = [directory in left for directory in directories]
    return runs.loc[chosen], {directory: parts for directory, parts in resolved.items() if directory in left}


def rule_by_look(
    seen: Sequence[Tests], claims: Claims, confidence: float, *, corrected: bool = True, looks: int | None = None
) -> list[Ruling]:
    """Return the verdict of every claim on each track: that of the first look which decides it, or of the last.

    Args:
        seen: from :func:`measure_by_look`.
        claims: from ``read_claims``.
        confidence: the level of the verdicts.
        corrected: whether more than one claim of a family, and more than one test of a claim, is.
        looks: how many share the level; those that are seen if not given.
    """
    level = (1 - confidence) / 2 / (looks or len(seen))
    found: dict[tuple[str, str], Ruling] = {}
    for number, measured in enumerate(seen, 1):
        for ruling in rule(measured, claims, level, corrected=corrected):
            key = (ruling.claim, ruling.track)
            if key not in found or found[key].verdict in ("undecided", "untested"):
                found[key] = replace(ruling, look=number)
    return list(found.values())


def measure_all(
    runs: DataFrame, claims: Claims, file: Path | str, resolved: Resolved, choice: Choice = "other_seeds"
) -> dict[tuple[str, str], list[Test]]:
    """Return the tests of every claim on each track, with their numbers and conditions; then what is beside them."""

    @functools.cache
    def picked(experiment: str, track: str) -> TrackRuns:
        return replace(TrackRuns.of(runs, experiment, track, claims.groups, resolved), choice=choice)

    found: dict[tuple[str, str], list[Test]] = {}
    for name, claim in sorted(claims.claims.items()):
        for track in sorted(claim.tracks):
            tests = found.setdefault((name, track), [])
            try:
                for one in (*claim.tests, *claim.also):
                    of_track, decides = picked(one.experiment or claim.experiment, track), one in claim.tests
                    left_out = not decides and not of_track.rows  # beside it stands only what the preset has
                    if track in claim.asked_on(one) and not left_out:
                        for measured in measure(name, one.on(track), of_track):
                            asked = decides and measured.criterion.property is None
                            conditions = check(claim, measured, of_track) if asked else []
                            tests.append(Test(measured, tuple(conditions), decides))
            except ParameterError as error:
                raise ParameterError(f"{file}: claims.{name}: {error}") from None
    return found


def rule(measured: Tests, claims: Claims, level: float, *, corrected: bool = True) -> list[Ruling]:
    """Return the verdict of every claim on each track; each direction is corrected over the claims of a family.

    A family has the claims of one file, which are those of a source, or of a part of it with a manifest of its own: so
    whoever adds a part changes no verdict of another.

    Args:
        measured: from :func:`measure_all`.
        claims: from ``read_claims``.
        level: the largest p value of either direction that decides, where nothing is to be corrected.
        corrected: whether more than one claim of a family, and more than one test of a claim, is.
    """
    rulings = {}
    families = {name: claim.family or claim.source for name, claim in claims.claims.items()}
    for one in sorted(set(families.values())):
        tests = {
            key: tuple(test for test in found if test.decides)
            for key, found in measured.items()
            if families[key[0]] == one
        }
        family = [key for key, found in tests.items() if not all(test.by_construction for test in found)]
        holds = [max(test.p_holds for test in _decided(tests[key])) for key in family]
        fails = [_bonferroni(_decided(tests[key]), corrected) for key in family]
        steps = zip(*(holm_steps(p, level) if corrected else [1] * len(p) for p in (holds, fails)), strict=True)
        for key, *decided in zip(family, holds, fails, steps, strict=True):
            rulings[key] = _ruling(key, tests[key], decided, level, corrected=corrected)
        for key in tests.keys() - set(family):
            rulings[key] = Ruling(*key, tests[key], "by construction", tests[key][0], math.nan, math.nan)
    return [
        replace(rulings[key], beside=tuple(test for test in found if not test.decides))
        for key, found in measured.items()
    ]


def _decided(tests: Sequence[Test]) -> list[Test]:
    return [test for test in tests if not test.by_construction]


def _bonferroni(tests: Sequence[Test], corrected: bool) -> float:
    return min(1.0, min(test.p_fails for test in tests) * (len(tests) if corrected else 1))


def _ruling(
    key: tuple[str, str], tests: tuple[Test, ...], decided: Sequence[Any], level: float, *, corrected: bool
) -> Ruling:
    """Return the verdict from the p values of holding and of failing, and how many tests each is corrected for."""
    holds, fails, (steps_holds, steps_fails) = decided
    own = _decided(tests)
    for_all, for_one = level / steps_holds, level / steps_fails / (len(own) if corrected else 1)
    by_holding: Callable[[Test], float] = lambda test: test.p_holds  # noqa: E731
    by_failing: Callable[[Test], float] = lambda test: test.p_fails  # noqa: E731
    if holds <= for_all:
        return Ruling(*key, tests, "holds", max(own, key=by_holding), for_all, holds)
    if fails * steps_fails <= level:
        decisive = min(own, key=by_failing)
        return Ruling(*key, tests, "fails", decisive, for_one, decisive.p_fails)
    untested = [test for test in own if test.unmet]
    if untested:
        return Ruling(*key, tests, "untested", untested[0], math.nan, math.nan)
    decisive = max(own, key=by_holding)
    return Ruling(*key, tests, "undecided", decisive, for_all, decisive.p_holds)


def _row(ruling: Ruling, confidence: float) -> dict[str, Any]:
    """Return a row of the table: the verdict, and the numbers of the decisive test."""
    measured, interval = ruling.decisive.measured, ruling.decisive.measured.interval(confidence)
    criterion, corrected = measured.criterion, _corrected(ruling.decisive, ruling.threshold)
    return {
        "claim": ruling.claim,
        "track": ruling.track,
        "verdict": ruling.verdict,
        "estimate": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "unit": criterion.unit,
        "reason": sentence(ruling, confidence),
        "in_short": in_short(ruling, interval),
        "test": criterion.name,
        "bound": str(criterion.bound),
        "look": ruling.look,
        "p": ruling.p,
        "threshold": ruling.threshold,
        "corrected_low": corrected.low,
        "corrected_high": corrected.high,
        "conditions": _conditions_in_words(ruling.tests),
        "property": criterion.property or "",
    }


def _corrected(test: Test, threshold: float) -> Interval:
    """Return the interval whose limits are compared with the bound: its level is the corrected one."""
    if math.isnan(threshold) or test.measured.missing:
        return Interval(0, math.nan, math.nan, math.nan, math.nan)
    return test.measured.interval(1 - 2 * threshold)


def _conditions_in_words(tests: Sequence[Test]) -> str:
    found = list(dict.fromkeys(one for test in tests for one in test.conditions))
    if not found:
        return "none asked"
    unmet = list(dict.fromkeys(one.found for one in found if not one.met))
    met = f"{sum(one.met for one in found)} of {len(found)} met"
    return f"{met}; not met: {'; '.join(unmet)}" if unmet else met


def in_short(ruling: Ruling, interval: Interval) -> str:
    """Return the reason in eight words at most."""
    test, measured = ruling.decisive, ruling.decisive.measured
    if ruling.verdict == "by construction":
        return "true by construction, which a property test proves"
    if ruling.verdict == "untested":
        return next(one.short for one in test.conditions if not one.met)
    if measured.missing:
        return "no cell is as the claim says"
    if interval.n == 0:
        return "no seed has a number"
    return f"{interval.mean:.3g}, claimed {measured.criterion.bound}"


def sentence(ruling: Ruling, confidence: float) -> str:
    """Describe in words what decided: the number, the claimed bound, the level, the cells, and what went wrong."""
    test, measured = ruling.decisive, ruling.decisive.measured
    criterion, interval = measured.criterion, measured.interval(confidence)
    if ruling.verdict == "by construction":
        return f"{criterion.name} follows by construction: {criterion.property} proves it"
    if measured.missing:
        return f"{criterion.name}: {test.unmet or measured.missing}"
    text = f"{criterion.name} is {_spread(interval, confidence)}, claimed {criterion.bound}"
    if ruling.verdict == "untested":
        return f"not tested: {test.unmet}; {text}; {_cells_in_words(measured.cells)}"
    text += _level_in_words(ruling)
    text += f"; {_cells_in_words(measured.cells)}"
    if measured.failed:
        affected = sum(1 for value in measured.values.values() if math.isnan(value))
        text += f"; {affected} of {len(measured.values)} seeds failed ({', '.join(measured.failed)}): so it cannot hold"
    own = [_verdict_of(one, ruling) for one in _decided(ruling.tests)]
    return f"{text}; {own.count('holds')} of {len(own)} tests hold" if len(own) > 1 else text


def _level_in_words(ruling: Ruling) -> str:
    """Describe the corrected interval and the threshold that decided, or that these seeds did not reach."""
    interval = _corrected(ruling.decisive, ruling.threshold)
    if interval.n < 2:
        return ""
    p, needed = ruling.p, f"{ruling.threshold:.2g} needed"
    shown = f"p = {p:.2g}" if p > 1e-8 else "p < 1e-8"
    if not math.isnan(interval.low):
        shown += f", corrected interval {interval.low:.4g} to {interval.high:.4g}"
    words = ", which these seeds do not decide" if ruling.verdict == "undecided" else ""
    return f"{words} ({shown}; {needed})"


def _spread(interval: Interval, confidence: float) -> str:
    if interval.n == 0:
        return "not known from any seed"
    if interval.n == 1:
        return f"{interval.mean:.4g} in the only seed"
    if math.isnan(interval.low):
        return f"{interval.mean:.4g} in each of {interval.n} seeds"
    level = f"{100 * confidence:g} % interval"
    return f"{interval.mean:.4g} ({level} {interval.low:.4g} to {interval.high:.4g}, n = {interval.n})"


def _cells_in_words(cells: Sequence[Cell]) -> str:
    if len(cells) <= 2:
        return " against ".join(str(cell) for cell in cells)
    return f"{cells[0]} to {cells[-1]}, {len(cells)} cells"


def _verdict_of(test: Test, ruling: Ruling) -> Verdict | None:
    """Return the verdict of one test at the level of its claim; none for what only stands beside a claim."""
    if not test.decides:
        return None
    if test.by_construction:
        return "by construction"
    if ruling.verdict == "holds":
        return "holds"
    if ruling.verdict == "fails" and test.p_fails <= ruling.threshold:
        return "fails"
    if test.unmet:
        return "untested"
    return "holds" if test.p_holds <= ruling.threshold else "undecided"


def _evidence(test: Test, axes: list[str], confidence: float, ruling: Ruling) -> dict[str, Any]:
    measured = test.measured
    criterion, interval, p = measured.criterion, measured.interval(confidence), test.p
    corrected = _corrected(test, ruling.threshold) if test.decides else _corrected(test, math.nan)
    return {
        "claim": measured.claim,
        "track": measured.track,
        "experiment": measured.experiment,
        "test": criterion.name,
        "decides": test.decides,
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
        "p": p.beyond,
        "p_opposite": p.opposite,
        "threshold": ruling.threshold if test.decides else math.nan,
        "corrected_low": corrected.low,
        "corrected_high": corrected.high,
        "examples": measured.sample.examples,
        "verdict": _verdict_of(test, ruling),
        "conditions": [{"name": one.name, "met": one.met, "found": one.found} for one in test.conditions],
        "property": criterion.property,
        "missing": measured.missing or None,
        "failed": list(measured.failed),
        "cells": [
            {"model": cell.model, "cell": cell.point, "candidates": cell.candidates, "chosen_by": cell.chosen_by}
            | ({} if cell.seeds is None else {"seeds": cell.seeds})
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
