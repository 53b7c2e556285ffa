"""How figures look: size, colours, markers and names; those of models and metrics come from the manifests."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from tueplots import axes as tue_axes
from tueplots import fontsizes

from palimpsest import sources
from palimpsest.foundation.files import write_bytes
from palimpsest.foundation.sections import Scalar, format_value
from palimpsest.sources.shared.looks import Look

TEXT_WIDTH = 5.5
"""Inches: the text width of NeurIPS and of the project's paper."""
PIXELS_PER_INCH = 200


# Okabe and Ito's colours (without yellow, which vanishes on white), each with a marker of its own, and with gaps of its
# own in its line, so that runs that coincide are all seen.
SERIES = (
    Look("#0072B2", "o"),
    Look("#E69F00", "s", (0, (5, 3))),
    Look("#009E73", "^", (0, (2, 4))),
    Look("#CC79A7", "D", (0, (6, 2, 1, 5))),
    Look("#D55E00", "v", (0, (1, 3))),
    Look("#56B4E9", "P", (0, (8, 6))),
    Look("#000000", "X", (0, (1, 6))),
)
_ORDERED_MARKERS = "osD^v<>hpPXd"

OPERATIONS = {
    "free": "#FFFFFF",
    "retain": "#C9D3DB",
    "update": "#0072B2",
    "write": "#009E73",
    "forget": "#E69F00",
    "replace": "#CC4778",
}
"""What can happen to a slot in a memory step, with its colour: light where nothing happens."""

_SPLITS = ("train_", "validation_", "test_")


def label(name: str) -> str:
    """What a reader sees for a metric, an axis or a model; an unknown name is shown without underscores.

    >>> label("test_accuracy_on"), label("test_age_steps"), label("forget_rate")
    ('test accuracy', 'age (memory steps)', 'forget rate')
    """
    of_any_split = next((name.removeprefix(split) for split in _SPLITS if name.startswith(split)), name)
    labels = sources.words().labels
    return labels.get(name) or labels.get(of_any_split, of_any_split.replace("_", " "))


def symbol(axis: str) -> str:
    """The short form of an axis."""
    return sources.words().symbols.get(axis, label(axis))


def value_label(axis: str, value: Scalar) -> str:
    """What a reader sees for a cell's value of an axis.

    >>> value_label("ablation", "write"), value_label("slot_dim", 64.0)
    ('no write loss', 'slot dim = 64')
    """
    text = format_value(value)
    return sources.words().values.get(axis, {}).get(text, f"{symbol(axis)} = {text}")


def rank(axis: str, value: Scalar) -> tuple[int, float, str]:
    """What values of an axis are sorted by: known words as they are listed, then numbers, then other words."""
    known = list(sources.words().values.get(axis, {}))
    text = format_value(value)
    number = float(value) if isinstance(value, int | float) else math.inf
    return (known.index(text) if text in known else len(known), number, text)


def position(model: str) -> int:
    """What models are sorted by in figures of all models of an experiment: baselines last, as they are listed."""
    known = list(sources.looks().models)
    return known.index(model) if model in known else -1


def has_own_look(model: str) -> bool:
    """Whether a manifest gives the model a look; others take those of the series."""
    return model in sources.looks().models


def ordered(count: int) -> list[Look]:
    """Looks for values that have an order: from dark to light in a map made for colour-blind readers."""
    colours = mpl.colormaps["viridis"]
    return [
        Look(colours(0.92 * index / max(count - 1, 1)), _ORDERED_MARKERS[index % len(_ORDERED_MARKERS)])
        for index in range(count)
    ]


def cell_look(cell: Mapping[str, Scalar]) -> Look | None:
    """The look of a cell that has one of its own, whatever its model."""
    cells = sources.looks().cells
    return next((look for axis, value in cell.items() if (look := cells.get((axis, format_value(value))))), None)


def names_itself(cell: Mapping[str, Scalar]) -> bool:
    """Whether the words of a cell name it without its model, as the kind of memory does."""
    cells = sources.looks().cells
    return any(axis == "memory" and (axis, format_value(value)) in cells for axis, value in cell.items())


def model_look(model: str, position: int = 0, beside: Collection[str] = ()) -> Look:
    """The look of a baseline; a model that is not listed takes one of the series' looks.

    Args:
        model: whose look.
        position: number of the series among those that are not of a baseline.
        beside: models in the same figure: colours of the baselines among them are not taken again while others last.
    """
    known = sources.looks().models
    taken = {known[other].color for other in beside if other in known}
    free = [look for look in SERIES if look.color not in taken] or SERIES
    return known.get(model, free[position % len(free)])


@contextmanager
def sized_for_print() -> Iterator[None]:
    """Matplotlib's settings for a figure of :data:`TEXT_WIDTH`, whatever the user's own are."""
    settings = {
        **fontsizes.neurips2024(default_smaller=2),
        **tue_axes.lines(),
        "font.family": "STIXGeneral",
        "mathtext.fontset": "stix",
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "savefig.dpi": PIXELS_PER_INCH,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)  # pyright: ignore[reportCallIssue, reportArgumentType]
        yield


def panels(
    rows: int, columns: int, height: float | Sequence[float], **options: Any
) -> tuple[Figure, Sequence[Sequence[Any]]]:
    """A figure as wide as the text with rows × columns panels, without pyplot and so without a window.

    Args:
        rows: panels below each other.
        columns: panels side by side.
        height: of one row, or of each row, in inches.
        options: of Matplotlib's ``subplots``.
    """
    heights = [height] * rows if isinstance(height, int | float) else list(height)
    figure = Figure(figsize=(TEXT_WIDTH, sum(heights) + 0.45), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.03)  # type: ignore[union-attr]
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights, **options).tolist()


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PDF and PNG; the same figure gives the same bytes.

    Args:
        figure: drawn within :func:`sized_for_print`.
        path: without a suffix.

    Returns:
        The two files.
    """
    written = []
    for suffix, metadata in (
        (".pdf", {"CreationDate": None, "Producer": None, "Creator": None}),
        (".png", {"Software": None}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        write_bytes(path.with_name(path.name + suffix), buffer.getvalue())
        written.append(path.with_name(path.name + suffix))
    return written
