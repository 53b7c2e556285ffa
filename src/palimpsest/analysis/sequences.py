"""Outputs of sequence tasks: scores by the size of sequences, and from a trace what a model did with one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pandas import DataFrame

from palimpsest import tasks
from palimpsest.analysis.frames import (
    COUNT,
    FLOOR_AT,
    IDENTITY,
    NUMBER,
    SHARE,
    Layout,
    axes_of,
    metrics_of,
    one_of,
    read_frame,
    records,
)
from palimpsest.analysis.runs import axes, collect, key_of, read_final, run_frame
from palimpsest.analysis.statistics import proportion_interval
from palimpsest.analysis.summary import metric_interval
from palimpsest.analysis.traces import Array, Trace, read_trace, traces
from palimpsest.foundation.errors import DataError
from palimpsest.planning.parameters import Params
from palimpsest.planning.specs import RunSpec, task_config
from palimpsest.tasks import Task, TaskConfig

TRAINED = one_of("yes", "no", "unknown")
"""Whether sequences of a size stood in the training stream; unknown where the task does not determine it."""
SCORES = ("accuracy", "sequence_accuracy", "loss")
GENERALISATION = Layout(
    IDENTITY,
    {
        "seed": COUNT,
        "status": one_of("completed", "diverged"),
        "slice": COUNT,
        "trained": TRAINED,
        "floor": SHARE,
        **dict.fromkeys(SCORES, NUMBER),
    },
    metrics=False,
)
RATES = Layout(
    IDENTITY,
    {
        "n": COUNT,
        "diverged": COUNT,
        "runs": COUNT,
        "slice": COUNT,
        "trained": TRAINED,
        "floor": SHARE,
        **{f"{name}_{part}": NUMBER for name in SCORES[:2] for part in ("mean", "low", "high")},
        "succeeded": COUNT,
        **dict.fromkeys(("success_rate", "success_low", "success_high"), NUMBER),
    },
    metrics=False,
)
LINES = ("level", "input", "target", "output")
"""Lines of a step: a number that comes with a vector, the input, the target, and the output of a model."""
OUTPUTS = Layout(
    IDENTITY,
    {"seed": COUNT, "slice": COUNT, "line": one_of(*LINES), "step": COUNT, "channel": COUNT, "value": NUMBER},
    metrics=False,
)
KINDS = ("write", "read", "usage", "link")
WEIGHTINGS = Layout(IDENTITY, {"seed": COUNT, "slice": COUNT, "kind": one_of(*KINDS), "head": COUNT, "step": COUNT})

SUCCESS = 0.99
"""Accuracy from which on a run has learnt what it was asked."""
LONGEST = 128
"""Steps of an example that is shown, where the trace has one that is no longer: what fits into a figure."""
MOST_SLOTS = 256
"""Slots that are shown of a memory at most: the first ones."""
DECIMALS = 4

_SCORE = re.compile(r"test_(accuracy|loss|sequence_accuracy)_at_(\d+)")


def is_score_of_a_size(metric: str) -> bool:
    """Whether a metric of a run is its score on the test sequences of one size.

    >>> is_score_of_a_size("test_accuracy_at_20"), is_score_of_a_size("test_accuracy_on")
    (True, False)
    """
    return _SCORE.fullmatch(metric) is not None


def trained(config: TaskConfig, size: int) -> str:
    """Whether a size stood in the training stream: a word of ``TRAINED``."""
    known = config.trained(size)
    return "unknown" if known is None else "yes" if known else "no"


# --- by size ----------------------------------------------------------------------------------------------------------


def generalisation(params: Params, root: Path, experiment: str) -> DataFrame:
    """Test scores of every run by the size of the sequences: one row a run and size.

    ``accuracy``, ``sequence_accuracy`` and ``floor``, the informed floor of the accuracy, lie in [0, 1], ``loss`` is in
    nats; ``slice`` is the size as the task counts it. A diverged run has a row for each size of its track, too, without
    scores.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; one whose examples do not differ in size gives no rows.

    Raises:
        DataError: a run is missing or corrupt, or is another than the one asked for.
        ParameterError: the preset has no such experiment.
    """
    return by_size(params, collect(params, root, experiment))


def by_size(params: Params, runs: DataFrame) -> DataFrame:
    """:func:`generalisation` of a table of runs, of whatever experiments.

    Args:
        params: the preset.
        runs: as ``collect`` or ``read_runs`` give it.
    """
    found = [(name, match[1], int(match[2])) for name in metrics_of(runs) if (match := _SCORE.fullmatch(name))]
    axis_names, rows = axes_of(runs), []
    everything = records(runs)
    for experiment, track in sorted({(run["experiment"], run["track"]) for run in everything}):
        own = [run for run in everything if (run["experiment"], run["track"]) == (experiment, track)]
        sizes = sorted({size for name, _, size in found if any(run[name] is not None for run in own)})
        if not sizes:
            continue
        section = params.experiments[experiment].tracks[track]
        config = task_config(section, "params", f"experiments.{experiment}.tracks.{track}")
        for run in own:
            key = {name: run[name] for name in ("experiment", "track", "model", *axis_names, "seed", "status")}
            for size in sizes:
                scores = {metric: _number(run[name]) for name, metric, of_size in found if of_size == size}
                floor = run.get(f"{FLOOR_AT}{size}")
                levels = {"trained": trained(config, size), "floor": run["floor"] if floor is None else floor}
                rows.append({**key, "slice": size, **levels, **dict.fromkeys(SCORES, np.nan), **scores})
    return run_frame(rows, axis_names, list(GENERALISATION.middle))


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def rates(by_run: DataFrame, confidence: float) -> DataFrame:
    """Every cell's scores by size, and how many of its runs reached ``SUCCESS``: one row a cell and size.

    ``n`` counts the completed runs, over which the means go. A run that diverged has not succeeded: ``success_rate`` is
    the share of ``succeeded`` among all ``runs``, with an exact binomial interval.

    Args:
        by_run: as :func:`by_size` or :func:`read_generalisation` give it.
        confidence: level of the intervals.
    """
    axis_names = axes_of(by_run)
    keys = ("experiment", "track", "model", *axis_names, "slice", "trained", "floor")
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in records(by_run):
        point = tuple(row[name] for name in keys)
        cells.setdefault(point, []).append(row)
    rows = []
    for point, runs in cells.items():
        completed = [run for run in runs if run["status"] == "completed"]
        reached = sum(run["accuracy"] is not None and run["accuracy"] >= SUCCESS for run in completed)
        row = dict(zip(keys, point, strict=True))
        row |= {"n": len(completed), "diverged": len(runs) - len(completed), "runs": len(runs), "succeeded": reached}
        for metric in SCORES[:2]:
            interval = metric_interval(metric, [_number(run[metric]) for run in completed], confidence)
            row |= {f"{metric}_{part}": getattr(interval, part) for part in ("mean", "low", "high")}
        share = proportion_interval(reached, len(runs), confidence)
        rows.append({**row, "success_rate": share.mean, "success_low": share.low, "success_high": share.high})
    return run_frame(rows, axis_names, list(RATES.middle))


# --- one example ------------------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """The run of a cell that is shown, and the example, without its padding."""

    key: dict[str, Any]
    """Experiment, track, model, axes, seed, and ``slice``: the size of the example."""
    path: Path
    trace: Trace
    """Every field of the trace, of this example alone."""
    task: Task
    config: Any
    """Parameters of the task."""
    length: int
    """Steps T of the example."""


def shown(params: Params, root: Path, experiment: str) -> Iterator[Shown]:
    """Of each cell the run of median test accuracy, and the largest example of a size that was trained.

    Of an even number of runs the lower of the two in the middle; a run that diverged is not shown. Among the examples
    of the trace those of trained sizes go first, and among these the ones of at most ``LONGEST`` steps.

    Raises:
        DataError: a run or its trace is missing, corrupt or of another shape.
        ParameterError: the preset has no such experiment.
    """
    cells: dict[Path, list[tuple[float, int, Path, RunSpec]]] = {}
    for path, spec in traces(params, root, experiment):
        final = read_final(path.with_name("final.json"), spec)
        accuracy = final.metrics.get("test_accuracy_on")
        if final.status == "completed" and accuracy is not None:
            cells.setdefault(path.parents[1], []).append((accuracy, spec.seed, path, spec))
    for runs in cells.values():
        _, _, path, spec = sorted(runs, key=lambda run: run[:2])[(len(runs) - 1) // 2]
        trace = read_trace(path)
        if "slice" in trace:
            yield _example(path, spec, trace)


def _example(path: Path, spec: RunSpec, trace: Trace) -> Shown:
    task = tasks.load(spec.task["name"])
    config = task.Config.model_validate({key: value for key, value in spec.task.items() if key not in ("name", "seed")})
    sizes, lengths, inputs = (_field(path, trace, name) for name in ("slice", "length", "inputs"))
    count = sizes.size
    if not count or sizes.shape != (count,) or lengths.shape != (count,) or inputs.ndim != 2 or len(inputs) != count:
        raise DataError(
            f"{path}: slice {sizes.shape}, length {lengths.shape}, inputs {inputs.shape}; "
            "allowed: (examples,), (examples,), (examples, tokens)"
        )
    if lengths.min() < 1 or lengths.max() > inputs.shape[1]:
        worst = int(lengths.min() if lengths.min() < 1 else lengths.max())
        raise DataError(f"{path}: length {worst}; allowed: 1 to {inputs.shape[1]}, the tokens of the trace")
    places = range(len(sizes))
    known = [at for at in places if trained(config, int(sizes[at])) == "yes"] or list(places)
    short = [at for at in known if lengths[at] <= LONGEST]
    chosen = max(short, key=lambda at: (lengths[at], -at)) if short else min(known, key=lambda at: (lengths[at], at))
    own = {name: value[chosen] for name, value in trace.items() if value.ndim > 1 and len(value) == len(sizes)}
    return Shown({**key_of(spec), "slice": int(sizes[chosen])}, path, own, task, config, int(lengths[chosen]))


def _field(path: Path, trace: Trace, name: str) -> Array:
    if name not in trace:
        raise DataError(f"{path}: {name}: missing; allowed: what a model of sequences records")
    return trace[name]


def outputs(params: Params, root: Path, experiment: str) -> DataFrame:
    """Collect targets and outputs of one example: one row for each step and channel; see :func:`shown`.

    Of bits, ``value`` is 0 or 1 for ``input``, whose channels are the vector's bits and the flags, and for ``target``;
    in [−1, 1] for ``level``; and a probability for ``output``. Of classes, there is one channel, and ``value`` is a
    token. The target is the answer of a best predictor, which in these tasks is certain; steps at which
    nothing is asked have neither ``target`` nor ``output``.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; runs with one answer for a sequence give no rows.

    Raises:
        DataError: a run or its trace is missing, corrupt or of another shape.
        ParameterError: the preset has no such experiment.
    """
    rows = [{**one.key, **row} for one in shown(params, root, experiment) for row in _lines(one)]
    return run_frame(rows, axes(params, experiment), list(OUTPUTS.middle))


def _lines(one: Shown) -> Iterator[dict[str, Any]]:
    inputs = one.trace["inputs"][: one.length].astype(np.int64)
    guess = one.task.best_guess(one.config, torch.from_numpy(inputs[None]))
    if guess is None:
        return
    answers = guess.numpy()[0]
    asked = np.flatnonzero(answers >= 0)
    lines = one.task.picture(one.config, inputs, answers[asked])
    target = lines.pop("target")
    for line, channels in lines.items():
        yield from _matrix(line, range(one.length), channels)
    yield from _matrix("target", asked, target)
    yield from _matrix("output", asked, _outputs(one, target.shape[1])[asked])


def _matrix(line: str, steps: Sequence[int] | Array, values: Array) -> Iterator[dict[str, Any]]:
    for step, row in zip(steps, values.astype(np.float64).round(DECIMALS).tolist(), strict=True):
        for channel, value in enumerate(row):
            yield {"line": line, "step": int(step), "channel": channel, "value": value}


def _outputs(one: Shown, channels: int) -> Array:
    """What the trace keeps of the outputs at every step, (T, channels)."""
    name = one.task.RECORD
    values = _field(one.path, one.trace, name)
    by_channel = values if values.ndim > 1 else values[:, None]
    if by_channel.ndim != 2 or len(values) < one.length or by_channel.shape[1] != channels:
        wanted = ", ".join(["examples", "tokens", *[str(channels)] * (channels > 1)])
        raise DataError(f"{one.path}: {name}: {values.shape} of an example; allowed: ({wanted}) of all")
    return by_channel[: one.length]


def weightings(params: Params, root: Path, experiment: str) -> DataFrame:
    """Where one example was written and read: one row a head and step, one column a slot; see :func:`shown`.

    ``write`` and ``read`` are weightings, ``usage`` is that of every slot at the step, all in [0, 1]; the DNC's counts
    the writes of the steps before, as its step looks for a free slot by it. Of ``link``,
    ``step`` counts slots: entry (i, j) is the degree to which slot i was written right after slot j, at the end of the
    example's own steps (:func:`link_after`). Of a memory with more than ``MOST_SLOTS`` slots the first ones are given.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; runs without a memory, or whose memory records none, give no rows.

    Raises:
        DataError: a run or its trace is missing, corrupt or of another shape.
        ParameterError: the preset has no such experiment.
    """
    rows = [{**one.key, **row} for one in shown(params, root, experiment) for row in _weights(one)]
    return run_frame(rows, axes(params, experiment), list(WEIGHTINGS.middle))


def _weights(one: Shown) -> Iterator[dict[str, Any]]:
    for kind in ("write", "read"):
        if f"{kind}_weighting" in one.trace:
            for head, weights in enumerate(_heads(one, f"{kind}_weighting")):
                yield from _by_slot(kind, head, weights)
    if "usage_steps" in one.trace:
        usage = one.trace["usage_steps"]
        if usage.ndim != 2 or len(usage) < one.length:
            raise DataError(f"{one.path}: usage_steps {usage.shape} of an example; allowed: (tokens, slots)")
        yield from _by_slot("usage", 0, usage[: one.length])
    if "link" in one.trace and "write_weighting" in one.trace:
        yield from _by_slot("link", 0, link_after(_heads(one, "write_weighting")[0].astype(np.float64)))


def _heads(one: Shown, name: str) -> Array:
    """A weighting by head, (H, T, N)."""
    weights = one.trace[name]
    if weights.ndim != 3 or len(weights) < one.length:
        raise DataError(f"{one.path}: {name} {weights.shape} of an example; allowed: (tokens, heads, slots)")
    return weights[: one.length].swapaxes(0, 1)


def _by_slot(kind: str, head: int, weights: Array) -> Iterator[dict[str, Any]]:
    kept = weights[:MOST_SLOTS] if kind == "link" else weights
    for step, row in enumerate(kept[:, :MOST_SLOTS].astype(np.float64).round(DECIMALS).tolist()):
        slots = {f"slot_{slot:03d}": value for slot, value in enumerate(row)}
        yield {"kind": kind, "head": head, "step": step, **slots}


def link_after(write_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The temporal links that a series of writes leaves: (N, N), zero on the diagonal.

        L_t(i, j) = (1 − w_t(i) − w_t(j)) L_{t−1}(i, j) + w_t(i) p_{t−1}(j)
        p_t = (1 − Σ_i w_t(i)) p_{t−1} + w_t        [Graves et al. 2016, Methods]

    The link of a trace is that of the padded example; this one is of the steps that are given.

    Args:
        write_weights: (T, N), in [0, 1], each row with a sum of at most 1.
    """
    slots = write_weights.shape[1]
    link, precedence = np.zeros((slots, slots)), np.zeros(slots)
    for weights in write_weights:
        link = (1 - weights[:, None] - weights[None, :]) * link + weights[:, None] * precedence[None, :]
        np.fill_diagonal(link, 0)
        precedence = (1 - weights.sum()) * precedence + weights
    return link


def read_generalisation(path: Path) -> DataFrame:
    """Read ``generalisation.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, GENERALISATION)


def read_rates(path: Path) -> DataFrame:
    """Read ``tables/generalisation.csv``.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, RATES)


def read_outputs(path: Path) -> DataFrame:
    """Read ``outputs.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, OUTPUTS)


def read_weightings(path: Path) -> DataFrame:
    """Read ``weightings.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, WEIGHTINGS)
