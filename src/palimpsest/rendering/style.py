"""Style of figures: size, colours, markers and labels; those of models and metrics come from the manifests."""

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
"""Text width of NeurIPS and of the project's paper, in inches."""
PIXELS_PER_INCH = 200


# Okabe and Ito's colours (without yellow, which is invisible on white), each with its own marker and its own dashes, so
# that lines that coincide are all visible.
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
"""Colours of the operations on a slot in a memory step; light colours where nothing happens."""

_SPLITS = ("train_", "validation_", "test_")


def label(name: str) -> str:
    """Return the label of a metric, an axis or a model; an unknown name is shown without underscores.

    >>> label("test_accuracy_on"), label("test_age_steps"), label("forget_rate")
    ('test accuracy', 'age (memory steps)', 'forget rate')
    """
    of_any_split = next((name.removeprefix(split) for split in _SPLITS if name.startswith(split)), name)
    labels = sources.words().labels
    return labels.get(name) or labels.get(of_any_split, of_any_split.replace("_", " "))


def symbol(axis: str) -> str:
    """Return the short form of an axis."""
    return sources.words().symbols.get(axis, label(axis))


def value_label(axis: str, value: Scalar) -> str:
    """Return the label of a value of an axis.

    >>> value_label("ablation", "write"), value_label("slot_dim", 64.0)
    ('no write loss', 'slot dim = 64')
    """
    text = format_value(value)
    return sources.words().values.get(axis, {}).get(text, f"{symbol(axis)} = {text}")


def rank(axis: str, value: Scalar) -> tuple[int, float, str]:
    """Return the sort key of a value of an axis: known words in their listed order, then numbers, then other words."""
    known = list(sources.words().values.get(axis, {}))
    text = format_value(value)
    number = float(value) if isinstance(value, int | float) else math.inf
    return (known.index(text) if text in known else len(known), number, text)


def position(model: str) -> int:
    """Return the sort key of a model in figures with all models of an experiment: baselines last, as listed."""
    known = list(sources.looks().models)
    return known.index(model) if model in known else -1


def has_own_look(model: str) -> bool:
    """Whether a manifest defines a look for the model; other models take the looks of the series."""
    return model in sources.looks().models


def ordered(count: int) -> list[Look]:
    """Return looks for ordered values, from dark to light, in a colour map for colour-blind readers."""
    colours = mpl.colormaps["viridis"]
    return [
        Look(colours(0.92 * index / max(count - 1, 1)), _ORDERED_MARKERS[index % len(_ORDERED_MARKERS)])
        for index in range(count)
    ]


def cell_look(cell: Mapping[str, Scalar]) -> Look | None:
    """Return the look that a manifest defines for a cell, for any model; None if there is none."""
    cells = sources.looks().cells
    return next((look for axis, value in cell.items() if (look := cells.get((axis, format_value(value))))), None)


def names_itself(cell: Mapping[str, Scalar]) -> bool:
    """Whether the label of a cell is enough without its model, as for the kind of memory."""
    cells = sources.looks().cells
    return any(axis == "memory" and (axis, format_value(value)) in cells for axis, value in cell.items())


def model_look(model: str, position: int = 0, beside: Collection[str] = ()) -> Look:
    """Return the look of a model: its own if a manifest defines one, else one of the series.

    Args:
        model: name of the model.
        position: index of the series among those without a look of their own.
        beside: other models of the figure, whose colours are avoided while there are others.
    """
    known = sources.looks().models
    taken = {known[other].color for other in beside if other in known}
    free = [look for look in SERIES if look.color not in taken] or SERIES
    return known.get(model, free[position % len(free)])


@contextmanager
def sized_for_print() -> Iterator[None]:
    """Set Matplotlib's settings for a figure of :data:`TEXT_WIDTH`, independent of the user's settings."""
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
    """Create a figure as wide as the text with rows × columns panels, without pyplot, which may open windows.

    Args:
        rows: number of rows.
        columns: number of columns.
        height: height of every row, or of each row, in inches.
        options: passed to Matplotlib's ``subplots``.
    """
    heights = [height] * rows if isinstance(height, int | float) else list(height)
    figure = Figure(figsize=(TEXT_WIDTH, sum(heights) + 0.45), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.03)  # type: ignore[union-attr]
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights, **options).tolist()


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PDF and PNG; the same figure gives the same bytes.

    Args:
        figure: a figure drawn within :func:`sized_for_print`.
        path: path without a suffix.

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
