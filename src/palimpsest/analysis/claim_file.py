"""What a file of claims may hold: claims as data, each a conjunction of tests on groups of runs.

A group is a set of cells of one model: ``where`` fixes axes, ``having`` limits a mean over seeds, ``choose`` ranks the
cells that are left (later keys break ties). Only metrics of the validation split may choose; what is reported is
measured on the test split. A claim holds on a track if all its ``tests`` hold there. What is listed under ``also`` is
reported beside it and decides nothing. ``on_track`` has the differences of one track, ``tracks`` the only tracks of a
test, and ``experiment`` the experiment of a test whose runs are not in the claim's own.

A test is decided only where its ``conditions`` are met and those of its claim; else its verdict is ``untested``. What
is true by construction names the test that proves it under ``property`` and has no verdict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from palimpsest import models
from palimpsest.foundation.sections import Scalar, Section, checked, read_yaml
from palimpsest.planning.manifest_files import check_claims
from palimpsest.planning.parameters import TrackName
from palimpsest.planning.presets import read_parts

PROOF = r"^tests/[a-z0-9_/]+\.py::test_[a-z0-9_]+$"
"""A test of the project that proves something."""
MOST_WORDS = 4
"""Of a reason why runs are the same, so that the verdict's reason has eight."""
Kind = Literal["value", "difference", "reduction", "spearman", "count", "success_rate"]


class Limits(Section):
    """Conditions on a cell's mean over seeds; all that are given must be met."""

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _something_is_limited(self) -> Limits:
        if not self.model_fields_set:
            raise ValueError("no limit; allowed: min, max, above or below")
        return self

    def met_by(self, mean: float) -> bool:
        """Whether a mean meets all conditions; NaN meets none."""
        return (
            mean == mean
            and (self.min is None or mean >= self.min)
            and (self.max is None or mean <= self.max)
            and (self.above is None or mean > self.above)
            and (self.below is None or mean < self.below)
        )


class Learnt(Section):
    """One of these groups has learnt: its mean lies above floor + share · (ceiling - floor), the informed floor."""

    groups: tuple[str, ...] = Field(min_length=1, description="one of which must have learnt")
    metric: str = Field("test_accuracy_on", description="by which metric")
    share: float = Field(0.5, ge=0, le=1, description="how far between the informed floor and the ceiling")
    tracks: tuple[TrackName, ...] | None = Field(None, description="where it is asked; everywhere if not given")


class Capacity(Section):
    """The memory of a group has at least as many slots as there are items, or fewer."""

    group: str
    items: int | str | None = Field(None, description="at least so many slots; a name: a parameter of the task")
    fewer_than: int | str | None = Field(None, description="fewer slots than this; a name: a parameter of the task")
    tracks: tuple[TrackName, ...] | None = Field(None, description="where it is asked; everywhere if not given")

    @model_validator(mode="after")
    def _exactly_one(self) -> Capacity:
        if (self.items is None) == (self.fewer_than is None):
            raise ValueError("not one limit; allowed: one of items, fewer_than")
        return self


class Size(Section):
    """A parameter of the task lies within limits; of several values, the largest."""

    parameter: str = Field(description="a parameter of the task")
    limits: Limits
    tracks: tuple[TrackName, ...] | None = Field(None, description="where it is asked; everywhere if not given")


class Identical(Section):
    """The runs that are compared are the same by construction: never met, and the test that proves it is named."""

    proof: str = Field(pattern=PROOF, description="the test that proves it")
    why: str = Field(min_length=1, description="in four words at most, e.g. 'no gradient reaches it'")
    tracks: tuple[TrackName, ...] | None = Field(None, description="where it is so; everywhere if not given")

    @field_validator("why")
    @classmethod
    def _few_words(cls, why: str) -> str:
        if len(why.split()) > MOST_WORDS:
            raise ValueError(f"{len(why.split())} words; allowed: {MOST_WORDS} at most")
        return why


class Conditions(Section):
    """What must be met before anything is decided."""

    identical: tuple[Identical, ...] = Field((), description="what is compared is the same by construction")

    learnt: tuple[Learnt, ...] = Field((), description="groups that must have learnt the task")
    capacity: tuple[Capacity, ...] = Field((), description="what the memory must be able to hold")
    sizes: tuple[Size, ...] = Field((), description="the sizes that the claim speaks of")

    def on(self, track: str) -> Conditions:
        """The conditions that are asked on a track."""
        parts = {name: getattr(self, name) for name in Conditions.model_fields}
        return Conditions(
            **{name: tuple(one for one in found if track in (one.tracks or (track,))) for name, found in parts.items()}
        )

    def groups(self) -> Iterator[str]:
        """Names of the groups that they refer to."""
        for one in self.learnt:
            yield from one.groups
        yield from (one.group for one in self.capacity)


class Order(Section):
    """One key by which cells are ranked."""

    by: str
    order: Literal["max", "min"]


def _not_on_test(metric: str) -> str:
    if not metric.startswith("validation_"):
        raise ValueError(f"{metric!r} may not choose a cell; allowed: a metric of the validation split")
    return metric


class GroupChange(Section):
    """What is different about a group on one track; what is given replaces the group's own."""

    model: str | None = None
    where: dict[str, Scalar | None] | None = None
    having: dict[str, Limits] | None = None
    choose: tuple[Order, ...] | None = None


class Group(Section):
    """Cells of one model."""

    model: str = Field(description="a file of src/palimpsest/models, without .py")
    where: dict[str, Scalar | None] = Field(default_factory=dict, description="axis: value; null: cells without it")
    having: dict[str, Limits] = Field(default_factory=dict, description="validation metric: limits on its mean")
    choose: tuple[Order, ...] = Field((), description="how the cell is chosen among several; later keys break ties")
    on_track: dict[TrackName, GroupChange] = Field(default_factory=dict, description="what a track does differently")

    @field_validator("having")
    @classmethod
    def _having_spares_the_test(cls, having: dict[str, Limits]) -> dict[str, Limits]:
        return {_not_on_test(metric): limits for metric, limits in having.items()}

    @field_validator("choose")
    @classmethod
    def _choice_spares_the_test(cls, choose: tuple[Order, ...]) -> tuple[Order, ...]:
        for order in choose:
            _not_on_test(order.by)
        return choose

    @model_validator(mode="after")
    def _changes_fit_and_models_exist(self) -> Group:
        for track in self.on_track:
            self.on(track)
        if self.model not in models.names():
            raise ValueError(f"model {self.model!r} is unknown; allowed: {', '.join(models.names())}")
        return self

    def on(self, track: str) -> Group:
        """The group as it is on a track."""
        change = self.on_track.get(track)  # type: ignore[call-overload]
        own = {name: getattr(self, name) for name in ("model", "where", "having", "choose")}
        if change is not None:
            own |= {name: value for name in own if (value := getattr(change, name)) is not None}
        return Group.model_validate(own)


class Bound(Section):
    """What the number is claimed to be; exactly one."""

    at_least: float | None = None
    more_than: float | None = None
    at_most: float | None = None
    less_than: float | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Bound:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("not one bound; allowed: one of at_least, more_than, at_most, less_than")
        return self

    @property
    def value(self) -> float:
        """The number claimed."""
        return next(iter(self.model_dump(exclude_none=True).values()))

    @property
    def above(self) -> bool:
        """Whether the claim is to lie above it."""
        return self.at_least is not None or self.more_than is not None

    @property
    def inclusive(self) -> bool:
        """Whether the bound itself will do."""
        return self.at_least is not None or self.at_most is not None

    def met_by(self, number: float) -> bool:
        """Whether a number is as claimed; NaN is not."""
        return (number > self.value if self.above else number < self.value) or (self.inclusive and number == self.value)

    def __str__(self) -> str:
        name, value = next(iter(self.model_dump(exclude_none=True).items()))
        return f"{name.replace('_', ' ')} {value:g}"


class Minus(Section):
    """What is subtracted or compared with, seed by seed; what is not given is as in the test."""

    group: str | None = Field(None, description="another group")
    metric: str | None = Field(None, description="another metric")
    each: str | None = Field(None, description="an axis of that group: one test for each of its values")


class CriterionChange(Section):
    """What is different about a test on one track; what is given replaces the test's own."""

    group: str | None = None
    metric: str | None = None
    unit: str | None = None
    minus: Minus | None = None
    bound: Bound | None = None
    property: str | None = None


_NEEDS: dict[Kind, frozenset[str]] = {
    "value": frozenset(),
    "difference": frozenset({"minus"}),
    "reduction": frozenset({"minus"}),
    "spearman": frozenset({"axis"}),
    "count": frozenset({"axis", "between"}),
    "success_rate": frozenset({"success"}),
}


class Criterion(Section):
    """One number, and what it is claimed to be.

    ``value``: a metric of a cell, as a share of the column ``relative_to`` if that is given; ``difference``: that minus
    another metric or cell, paired by seed; ``reduction``: by how much a metric lies below another metric or cell, as a
    share of the latter, 1 − a / b, paired by seed; ``spearman``: rank correlation of a metric with ``axis``, for every
    seed; ``count``: values of ``axis`` at which the metric lies strictly ``between`` two numbers, for every seed;
    ``success_rate``: the share of seeds whose metric is as ``success`` asks, with an exact binomial interval and test.
    A run that diverged has not succeeded.

    Where b of a reduction is 0 or less there is nothing to lower: the seed has no number, and counts as failed, so that
    the test cannot hold, whatever the bound.

    ``scale`` is what a value can be, on which intervals depend: a ``share`` of test examples lies from 0 to 1, and
    which examples were drawn is part of its interval; a ``rate`` lies there too, but has so many steps in each example
    that the examples drawn matter little beside the seeds; ``plain`` is any number.

    ``absolute`` takes a value or a difference without its sign in every seed, for a number that is claimed to be small
    either way. The mean of |x| is at least |the mean of x|, so that a bound from above is tested conservatively; noise
    would help a bound from below, which is refused.
    """

    name: str = Field(min_length=1, description="the number in words")
    kind: Kind
    group: str
    metric: str
    unit: str
    experiment: str | None = Field(None, description="where the runs are; the claim's own if not given")
    tracks: tuple[TrackName, ...] | None = Field(None, description="where it is asked; all of the claim's if not given")
    relative_to: str | None = None
    absolute: bool = False
    scale: Literal["share", "rate", "plain"] = Field(
        "share", description="share: of test examples; rate: of many steps of each example; plain: any number"
    )
    minus: Minus | None = None
    axis: str | None = None
    between: tuple[float, float] | None = None
    success: Bound | None = None
    bound: Bound | None = None
    property: str | None = Field(
        None,
        pattern=PROOF,
        description="true by construction: the test that proves it",
    )
    conditions: Conditions = Field(
        default_factory=lambda: Conditions.model_validate({}),
        description="what must be met, beside the claim's conditions",
    )
    on_track: dict[TrackName, CriterionChange] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _kind_has_what_it_needs(self) -> Criterion:
        given = {name for name in ("minus", "axis", "between", "success") if getattr(self, name) is not None}
        if given != _NEEDS[self.kind]:
            found, needed = (", ".join(sorted(names)) or "none" for names in (given, _NEEDS[self.kind]))
            raise ValueError(f"kind {self.kind!r} has, of minus, axis, between and success: {found}; allowed: {needed}")
        if self.relative_to is not None and self.kind not in ("value", "difference"):
            raise ValueError(f"kind {self.kind!r} with relative_to; allowed: value, difference")
        return self

    @model_validator(mode="after")
    def _a_rate_is_bounded_by_a_share(self) -> Criterion:
        for bound in (part.bound for part in (self, *self.on_track.values())):
            if self.kind == "success_rate" and bound is not None and not 0 < bound.value < 1:
                raise ValueError(f"kind 'success_rate', claimed {bound}; allowed: above 0 and below 1")
        return self

    @model_validator(mode="after")
    def _small_either_way_is_bounded_from_above(self) -> Criterion:
        if not self.absolute:
            return self
        if self.kind not in ("value", "difference"):
            raise ValueError(f"kind {self.kind!r} with absolute; allowed: value, difference")
        for bound in (part.bound for part in (self, *self.on_track.values())):
            if bound is not None and bound.above:
                raise ValueError(f"absolute, claimed {bound}; allowed: at_most, less_than")
        return self

    def on(self, track: str) -> Criterion:
        """The criterion as it is on a track."""
        change = self.on_track.get(track)  # type: ignore[call-overload]
        if change is None:
            return self
        given = {name: value for name in change.model_fields_set if (value := getattr(change, name)) is not None}
        return self.model_copy(update=given)

    def groups(self) -> Iterator[str]:
        """Names of the groups that it refers to, on any track."""
        for part in (self, *self.on_track.values()):
            yield from (name for name in (part.group, part.minus and part.minus.group) if name)
        yield from self.conditions.groups()


class Claim(Section):
    """One claim of a source: a conjunction of tests on each track."""

    source: str = Field(pattern=r"^\d{3}$")
    family: str = Field("", description="claims that are corrected together; the name of the file, or the source")
    experiment: str
    statement: str = Field(min_length=1, description="the claim in our words")
    place: str = Field(min_length=1, description="where the source makes it")
    tracks: tuple[TrackName, ...] = ("published", "repaired")
    conditions: Conditions = Field(
        default_factory=lambda: Conditions.model_validate({}), description="what must be met before anything is decided"
    )
    tests: tuple[Criterion, ...] = Field(description="all must hold")
    also: tuple[Criterion, ...] = Field((), description="numbers beside it, which decide nothing")

    @model_validator(mode="after")
    def _tests_have_bounds(self) -> Claim:
        if not self.tests or not self.tracks:
            raise ValueError("no test or no track; allowed: at least one of each")
        for test in self.tests:
            if any(test.on(track).bound is None for track in self.asked_on(test)):
                raise ValueError(f"test {test.name!r} has no bound; allowed: one of {', '.join(Bound.model_fields)}")
        return self

    @model_validator(mode="after")
    def _every_track_has_a_test(self) -> Claim:
        for criterion in (*self.tests, *self.also):
            if not self.asked_on(criterion) or not {*(criterion.tracks or ())} <= {*self.tracks}:
                shown = ", ".join(criterion.tracks or ()) or "none"
                raise ValueError(f"{criterion.name!r} has tracks {shown}; allowed: {', '.join(self.tracks)}")
        for track in self.tracks:
            if not any(track in self.asked_on(test) for test in self.tests):
                raise ValueError(f"no test on track {track!r}; allowed: at least one on each of its tracks")
        return self

    def asked_on(self, criterion: Criterion) -> tuple[TrackName, ...]:
        """Tracks on which one of its tests is asked, or a number taken."""
        return self.tracks if criterion.tracks is None else criterion.tracks


class Claims(Section):
    """Content of the files of claims: groups and claims by name."""

    groups: dict[str, Group]
    claims: dict[str, Claim]

    @model_validator(mode="after")
    def _names_fit(self) -> Claims:
        for name, claim in self.claims.items():
            if not name.startswith(f"{claim.source}-"):
                raise ValueError(f"claim {name!r} of source {claim.source!r}; allowed: {claim.source}-a, …")
            criteria = (*claim.tests, *claim.also)
            for group in (*claim.conditions.groups(), *(group for one in criteria for group in one.groups())):
                if group not in self.groups:
                    known = ", ".join(sorted(self.groups))
                    raise ValueError(f"claim {name!r} refers to group {group!r}; allowed: {known}")
        return self


def about(claims: Claims, experiments: Collection[str]) -> Claims:
    """Return the claims about some experiments; of others a preset that leaves them out says nothing."""
    asked = {name: claim for name, claim in claims.claims.items() if claim.experiment in experiments}
    return claims.model_copy(update={"claims": asked})


def read_claims(path: Path) -> Claims:
    """Read the claims of all sources.

    Args:
        path: a folder with a file a source, as ``params/claims``; or one file with everything.

    Raises:
        ParameterError: one line a mistake: file, key, value, and what is allowed.
    """
    if not path.is_dir():
        return checked(Claims, read_yaml(path), path)
    content = read_parts(path, "groups", "claims")
    check_claims(path)
    for file in sorted(path.glob("*.yaml")):
        for name in read_yaml(file).get("claims", {}):
            content["claims"][name].setdefault("family", file.stem)
    return checked(Claims, content, path)
