"""How figures look: size, colours, markers and names; one place for all of them."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from tueplots import axes as tue_axes
from tueplots import fontsizes

from palimpsest.foundation.files import write_bytes
from palimpsest.foundation.sections import Scalar, format_value

TEXT_WIDTH = 5.5
"""Inches: the text width of NeurIPS and of the project's paper."""
PIXELS_PER_INCH = 200


class Look(NamedTuple):
    """How one series is drawn, so that it is told apart without its colour."""

    color: Any
    marker: str
    line: Any = "-"


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
MODELS = {
    "ntm": Look("#0072B2", "o"),
    "dnc": Look("#D55E00", "s", (0, (5, 3))),
    "mann": Look("#8C510A", "*", (0, (2, 2, 6, 2))),
    "memory_transformer": Look("#882255", "h", (0, (8, 6))),
    "lstm": Look("#000000", "v", (0, (4, 2, 1, 2))),
    "causal_transformer": Look("#777777", ">", (0, (6, 1, 1, 1, 1, 1))),
    "write_all": Look("#D55E00", "P", (0, (5, 1.5))),
    "write_none": Look("#000000", "X", (0, (1, 1))),
    "random_writer": Look("#CC79A7", "d", (0, (3, 1, 1, 1))),
    "oracle_writer": Look("#56B4E9", "H", (0, (8, 2))),
    "fifo": Look("#E69F00", "s", (0, (5, 1.5))),
    "lru": Look("#009E73", "^", (0, (3, 1, 1, 1))),
    "least_used": Look("#CC79A7", "D", (0, (8, 2))),
    "random_replacement": Look("#56B4E9", "P", (0, (2, 1))),
    "oracle_replacement": Look("#D55E00", "H", (0, (6, 1, 1, 1))),
    "no_memory": Look("#000000", "v", (0, (4, 2, 1, 2))),
    "window_only": Look("#999999", "<", (0, (1, 2))),
    "full_attention": Look("#4D4D4D", ">", (0, (6, 1, 1, 1, 1, 1))),
}
"""Models with a look of their own, mostly baselines, in the order in which figures show them, after all others."""
CELLS = {
    ("memory", "cell"): Look("#999933", "d", (0, (1, 2))),
    ("memory", "dynamic"): Look("#D55E00", "s", (0, (5, 3))),
    ("memory", "associative"): Look("#E69F00", "p", (0, (6, 2, 1, 5))),
    ("memory", "least_recently_used"): Look("#009E73", "^", (0, (2, 4))),
    ("memory", "attention"): Look("#0072B2", "o"),
    ("memory", "sparse"): Look("#56B4E9", "P", (0, (8, 6))),
    ("memory", "hierarchical"): Look("#CC79A7", "D", (0, (1, 3))),
    ("memory", "adaptive"): Look("#332288", "X", (0, (1, 6))),
    ("memory", "gated"): Look("#44AA99", "<", (0, (3, 1, 1, 1))),
    ("softmax_over", "slots"): Look("#56B4E9", "D", (0, (6, 2, 1, 5))),
}
"""Axis and value of a cell with a look of its own, whatever its model."""
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

LABELS = {
    "mem_lambda": r"penalty weight $\lambda$",
    "write_threshold": r"threshold $\tau$",
    "accuracy": "accuracy",
    "accuracy_on": "accuracy",
    "accuracy_off": "accuracy, read zeroed",
    "accuracy_shuffled": "accuracy, swapped",
    "test_accuracy_on": "test accuracy",
    "validation_accuracy_on": "validation accuracy",
    "validation_write_ratio": "write ratio (validation)",
    "gate_mean": "mean write gate",
    "age_steps": "age (memory steps)",
    "utilisation": "utilisation",
    "operations_per_step": "operations a step",
    "answer_kept": "answers kept",
    "answer_written": "answers written",
    "objective": "objective",
    "loss": "task loss (nats)",
    "loss_write": "write loss",
    "loss_forget": "forget loss",
    "loss_stability": "stability loss",
    "write_all": "write all",
    "write_none": "write none",
    "random_writer": "random writer",
    "oracle_writer": "oracle writer",
    "fifo": "FIFO",
    "lru": "LRU",
    "least_used": "least used",
    "random_replacement": "random replacement",
    "oracle_replacement": "oracle replacement",
    "no_memory": "no memory",
    "window_only": "window only",
    "full_attention": "full attention",
    "nema_lite": "NeMA-Lite",
    "nema_lc": "NeMA-LC",
    "ntm": "NTM",
    "dnc": "DNC",
    "mann": "MANN",
    "lstm": "LSTM",
    "causal_transformer": "causal Transformer",
    "memory_rnn": "memory RNN",
    "memory_transformer": "memory Transformer",
    "sequence_accuracy": "sequences right",
    "slots_written": "slots written",
    "read_focus": "largest read weight",
    "train_loss": "training loss (nats)",
}
"""Metrics, axes and models; a metric of a split is shown as the metric unless it stands here itself."""
SYMBOLS = {
    "mem_lambda": r"$\lambda$",
    "write_threshold": r"$\tau$",
    "write_probability": "$p$",
    "num_slots": "$N$",
    "budget": "$B$",
}
VALUES: dict[str, dict[str, str]] = {
    "ablation": {
        "none": "all losses",
        "write": "no write loss",
        "forget": "no forget loss",
        "stability": "no stability loss",
    },
    "use_memory": {"true": "with memory", "false": "without memory"},
    "memory": {
        "persistent": "memory kept",
        "episodic": "memory emptied for each sequence",
        "cell": "memory cell",
        "dynamic": "dynamic memory",
        "associative": "associative memory",
        "least_recently_used": "least recently used",
        "attention": "attention memory",
        "sparse": "sparse memory",
        "hierarchical": "hierarchical memory",
        "adaptive": "adaptive memory",
        "gated": "gated memory",
    },
    "softmax_over": {"slots": "without the defect", "batch": "with the defect"},
}
"""Axes whose values are words, each value with what a reader sees, in the order in which figures show them."""
_SPLITS = ("train_", "validation_", "test_")


def label(name: str) -> str:
    """What a reader sees for a metric, an axis or a model; an unknown name is shown without underscores.

    >>> label("test_accuracy_on"), label("test_age_steps"), label("forget_rate")
    ('test accuracy', 'age (memory steps)', 'forget rate')
    """
    of_any_split = next((name.removeprefix(split) for split in _SPLITS if name.startswith(split)), name)
    return LABELS.get(name) or LABELS.get(of_any_split, of_any_split.replace("_", " "))


def symbol(axis: str) -> str:
    """The short form of an axis."""
    return SYMBOLS.get(axis, label(axis))


def value_label(axis: str, value: Scalar) -> str:
    """What a reader sees for a cell's value of an axis.

    >>> value_label("ablation", "write"), value_label("slot_dim", 64.0)
    ('no write loss', 'slot dim = 64')
    """
    text = format_value(value)
    return VALUES.get(axis, {}).get(text, f"{symbol(axis)} = {text}")


def rank(axis: str, value: Scalar) -> tuple[int, float, str]:
    """What values of an axis are sorted by: known words as they are listed, then numbers, then other words."""
    known = list(VALUES.get(axis, {}))
    text = format_value(value)
    number = float(value) if isinstance(value, int | float) else math.inf
    return (known.index(text) if text in known else len(known), number, text)


def position(model: str) -> int:
    """What models are sorted by in figures of all models of an experiment: baselines last, as they are listed."""
    return list(MODELS).index(model) if model in MODELS else -1


def ordered(count: int) -> list[Look]:
    """Looks for values that have an order: from dark to light in a map made for colour-blind readers."""
    colours = mpl.colormaps["viridis"]
    return [
        Look(colours(0.92 * index / max(count - 1, 1)), _ORDERED_MARKERS[index % len(_ORDERED_MARKERS)])
        for index in range(count)
    ]


def cell_look(cell: Mapping[str, Scalar]) -> Look | None:
    """The look of a cell that has one of its own, whatever its model."""
    return next((look for axis, value in cell.items() if (look := CELLS.get((axis, format_value(value))))), None)


def names_itself(cell: Mapping[str, Scalar]) -> bool:
    """Whether the words of a cell name it without its model, as the kind of memory does."""
    return any(axis == "memory" and (axis, format_value(value)) in CELLS for axis, value in cell.items())


def model_look(model: str, position: int = 0, beside: Collection[str] = ()) -> Look:
    """The look of a baseline; a model that is not listed takes one of the series' looks.

    Args:
        model: whose look.
        position: number of the series among those that are not of a baseline.
        beside: models in the same figure: colours of the baselines among them are not taken again while others last.
    """
    taken = {MODELS[other].color for other in beside if other in MODELS}
    free = [look for look in SERIES if look.color not in taken] or SERIES
    return MODELS.get(model, free[position % len(free)])


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
