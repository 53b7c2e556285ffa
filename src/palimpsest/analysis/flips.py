"""Verdicts from two blocks of seeds beside each other: which of them flip."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pandas import DataFrame

from palimpsest.analysis.claims import WORDS
from palimpsest.analysis.frames import COUNT, NAME, NUMBER, Layout, one_of, read_frame, records, tidy
from palimpsest.foundation.errors import DataError

FLIPS = Path("tables/flips.csv")
COUNTED = tuple(word for word in WORDS if word != "by construction")
"""Verdicts that can flip; what follows by construction depends on no seed."""
OPPOSITE = {("holds", "fails"), ("fails", "holds")}
NUMBERS = ("verdict", "estimate", "low", "high", "n")
_YES = one_of("yes", "no")
LAYOUT = Layout(
    {
        "claim": NAME,
        "track": one_of("published", "repaired"),
        **{
            f"{start}{name}": column
            for start in ("", "fresh_")
            for name, column in zip(NUMBERS, (one_of(*WORDS), NUMBER, NUMBER, NUMBER, COUNT), strict=True)
        },
        "flips": _YES,
        "opposite": _YES,
    },
    {},
    axes=False,
    metrics=False,
)
"""Columns of ``tables/flips.csv``: a row a claim and track."""


class Counts(NamedTuple):
    """How many verdicts flip."""

    verdicts: int
    """Pairs of verdicts of which none is by construction."""
    flips: int
    """Pairs that differ, from holds to undecided, too."""
    opposite: int
    """Flips from holds to fails or from fails to holds."""

    @property
    def share(self) -> float:
        """Flips as a share of the verdicts; 0 without any."""
        return self.flips / self.verdicts if self.verdicts else 0.0


def compare(verdicts: DataFrame, fresh: DataFrame, file: Path) -> DataFrame:
    """Return the verdicts of two blocks of seeds beside each other, with the columns of ``LAYOUT``.

    Args:
        verdicts: as :func:`palimpsest.analysis.claims.read_verdicts` returns them.
        fresh: the same from other seeds.
        file: where ``fresh`` was read, for messages.

    Raises:
        DataError: one of them has a claim on a track that the other does not have, or one twice.
    """
    keys = ["claim", "track"]
    before, after = (list(zip(table["claim"], table["track"], strict=True)) for table in (verdicts, fresh))
    for claim, track in sorted(set(before) ^ set(after)):
        raise DataError(f"{file}: claim {claim} on the {track} track is in one table only; allowed: the same claims")
    if len(set(before)) < len(before) or len(set(after)) < len(after):
        raise DataError(f"{file}: a claim is listed twice on a track; allowed: once")
    joined = verdicts[[*keys, *NUMBERS]].merge(fresh[[*keys, *NUMBERS]], on=keys, suffixes=("", "_fresh"))
    joined = joined.rename(columns={f"{name}_fresh": f"fresh_{name}" for name in NUMBERS})
    pairs = list(zip(joined["verdict"], joined["fresh_verdict"], strict=True))
    joined["flips"] = ["yes" if _flips(*pair) else "no" for pair in pairs]
    joined["opposite"] = ["yes" if pair in OPPOSITE else "no" for pair in pairs]
    return tidy(joined.loc[:, list(LAYOUT.head)])


def _flips(one: str, other: str) -> bool:
    return one != other and one in COUNTED and other in COUNTED


def read_flips(path: Path) -> DataFrame:
    """Read ``tables/flips.csv``.

    Raises:
        DataError: file, column, row, value and what is allowed; or ``flips`` contradicts the verdicts.
    """
    table = read_frame(path, LAYOUT)
    for line, row in enumerate(records(table), 2):
        right = "yes" if _flips(row["verdict"], row["fresh_verdict"]) else "no"
        if row["flips"] != right:
            raise DataError(
                f"{path}: column 'flips', row {line}: {row['flips']!r}; allowed: {right!r}, as the verdicts say"
            )
    return table


def count(table: DataFrame) -> Counts:
    """Count what flips.

    Args:
        table: as :func:`compare` or :func:`read_flips` returns it.
    """
    rows: list[dict[str, Any]] = records(table)
    counted = [row for row in rows if row["verdict"] in COUNTED and row["fresh_verdict"] in COUNTED]
    return Counts(
        len(counted),
        sum(row["flips"] == "yes" for row in counted),
        sum(row["opposite"] == "yes" for row in counted),
    )
