"""How figures look: size, colours, markers and names; one place for all of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from tueplots import axes as tue_axes
from tueplots import fontsizes

from palimpsest.files import write_bytes

TEXT_WIDTH = 5.5
"""Inches: the text width of NeurIPS and of the project's paper."""
PIXELS_PER_INCH = 200


class Look(NamedTuple):
    """How one series is drawn, so that it is told apart without its colour."""

    color: Any
    marker: str
    line: Any = "-"


# Okabe and Ito's colours (without yellow, which vanishes on white), each with a marker of its own.
SERIES = (
    Look("#0072B2", "o"),
    Look("#E69F00", "s"),
    Look("#009E73", "^"),
    Look("#CC79A7", "D"),
    Look("#D55E00", "v"),
    Look("#56B4E9", "P"),
    Look("#000000", "X"),
)
MODELS = {
    "write_all": Look("#D55E00", "P", (0, (5, 1.5))),
    "write_none": Look("#000000", "X", (0, (1, 1))),
    "random_writer": Look("#CC79A7", "d", (0, (3, 1, 1, 1))),
    "oracle_writer": Look("#56B4E9", "H", (0, (8, 2))),
    "no_memory": Look("#000000", "v", (0, (4, 2, 1, 2))),
    "window_only": Look("#999999", "<", (0, (1, 2))),
    "full_attention": Look("#4D4D4D", ">", (0, (6, 1, 1, 1, 1, 1))),
}
_ORDERED_MARKERS = "osD^v<>hpPXd"

LABELS = {
    "mem_lambda": r"penalty weight $\lambda$",
    "write_threshold": r"threshold $\tau$",
    "test_write_ratio": "write ratio",
    "test_accuracy_on": "test accuracy",
    "validation_accuracy_on": "validation accuracy",
    "validation_write_ratio": "write ratio (validation)",
    "gate_mean": "mean write gate",
    "epoch": "epoch",
    "write_all": "write all",
    "write_none": "write none",
    "random_writer": "random writer",
    "oracle_writer": "oracle writer",
    "no_memory": "no memory",
    "window_only": "window only",
    "full_attention": "full attention",
    "nema_lite": "NeMA-Lite",
}
SYMBOLS = {"mem_lambda": r"$\lambda$", "write_threshold": r"$\tau$", "write_probability": "$p$"}


def label(name: str) -> str:
    """What a reader sees for a metric, an axis or a model; an unknown name is shown without underscores."""
    return LABELS.get(name, name.replace("_", " "))


def symbol(axis: str) -> str:
    """The short form of an axis."""
    return SYMBOLS.get(axis, label(axis))


def ordered(count: int) -> list[Look]:
    """Looks for values that have an order: from dark to light in a map made for colour-blind readers."""
    colours = mpl.colormaps["viridis"]
    return [
        Look(colours(0.92 * index / max(count - 1, 1)), _ORDERED_MARKERS[index % len(_ORDERED_MARKERS)])
        for index in range(count)
    ]


def model_look(model: str, position: int = 0) -> Look:
    """The look of a baseline; a model that is not listed takes one of the series' looks."""
    return MODELS.get(model, SERIES[position % len(SERIES)])


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


def panels(rows: int, columns: int, height: float) -> tuple[Figure, Sequence[Sequence[Any]]]:
    """A figure as wide as the text with rows × columns panels, without pyplot and so without a window.

    Args:
        rows: panels below each other.
        columns: panels side by side.
        height: of one row, in inches.
    """
    figure = Figure(figsize=(TEXT_WIDTH, rows * height + 0.45), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.03)  # type: ignore[union-attr]
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


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
