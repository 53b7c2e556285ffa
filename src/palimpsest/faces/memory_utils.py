"""Figures and metrics of a memory, from the data of :meth:`palimpsest.faces.adapter.CellModule.record`.

The figures have the style of all figures of the project, and the metrics are the project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.addressing import cosine_similarity
from palimpsest.rendering import style

Values = Tensor | NDArray[Any] | Sequence[Any]
"""Numbers: a tensor, an array, or a sequence of tensors, arrays or numbers of equal shape."""
IN_USE = 0.5
"""A slot is in use if its usage is larger: if it is more likely written than not."""


class MemoryVisualizer:
    """Draws figures of a memory over one sequence."""

    def plot_memory_usage(self, memory_usage_history: Values, title: str = "Memory usage over time") -> Figure:
        """Draw the mean usage of the slots at each step, and below it the usage of every slot.

        Args:
            memory_usage_history: (time, slots), in [0, 1]; or (time,), usage of the whole memory.
            title: title above the figure.

        Raises:
            ParameterError: the history has another shape, is empty, or is not finite.
        """
        usage = _array("memory_usage_history", memory_usage_history, {1: "(time,)", 2: "(time, slots)"})
        with style.sized_for_print():
            figure, grid = style.panels(usage.ndim, 1, 1.5, sharex=True)
            mean = grid[0][0]
            mean.plot(usage.mean(1) if usage.ndim == 2 else usage, color=style.SERIES[0].color, linewidth=1.2)
            mean.set_ylabel("mean usage" if usage.ndim == 2 else "usage")
            mean.set_ylim(-0.05, max(1.05, float(usage.max())))
            if usage.ndim == 2:
                _map(figure, grid[1][0], usage, "usage")
            _finish(figure, grid, title)
        return figure

    def plot_attention_patterns(self, attention_weights: Values, title: str = "Memory attention patterns") -> Figure:
        """Draw the weight of every slot at each step, one panel for each head.

        Args:
            attention_weights: (time, slots), or (time, heads, slots): read or write weights of one sequence.
            title: title above the figure.

        Raises:
            ParameterError: the weights have another shape, are empty, or are not finite.
        """
        shapes = {2: "(time, slots)", 3: "(time, heads, slots)"}
        weights = _array("attention_weights", attention_weights, shapes)
        weights = weights[:, None] if weights.ndim == 2 else weights
        heads = weights.shape[1]
        with style.sized_for_print():
            figure, grid = style.panels(heads, 1, 1.5, sharex=True)
            for head in range(heads):
                _map(figure, grid[head][0], weights[:, head], "weight")
                if heads > 1:
                    grid[head][0].set_title(f"head {head}")
            _finish(figure, grid, title)
        return figure

    def save(self, figure: Figure, path: str | Path) -> list[Path]:
        """Write a figure as PDF and PNG; equal figures give equal bytes.

        Args:
            figure: a figure of this class.
            path: path without a suffix.

        Returns:
            The two files.

        Raises:
            DataError: a file cannot be written.
        """
        with style.sized_for_print():
            return style.save(figure, Path(path))


def _map(figure: Figure, panel: Any, values: NDArray[Any], name: str) -> None:
    """Draw values as a map of slot against step."""
    picture = panel.imshow(
        values.T, aspect="auto", origin="lower", interpolation="nearest", cmap="viridis", vmin=0, vmax=_top(values)
    )
    panel.set_ylabel("slot")
    panel.yaxis.get_major_locator().set_params(integer=True, nbins=6)
    figure.colorbar(picture, ax=panel, label=name)


def _top(values: NDArray[Any]) -> float:
    return max(1.0, float(values.max()))


def _finish(figure: Figure, grid: Sequence[Sequence[Any]], title: str) -> None:
    last = grid[-1][0]
    last.set_xlabel("step")
    last.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)


class MemoryAnalyzer:
    """Metrics of a memory: utilisation in two definitions, stability of contents, and retrieval accuracy.

    The source gives names and no definitions; those here are ours.
    """

    def compute_memory_efficiency(self, memory_usage: Values, threshold: float = IN_USE) -> float:
        """Return the share of slots with usage above a threshold, in [0, 1]: the mean over all steps and sequences.

        It says how many slots hold something. At ½ a slot counts if it is more likely written than not.

        Args:
            memory_usage: (…, slots), in [0, 1].
            threshold: in [0, 1).

        Raises:
            ParameterError: the usage is empty, not finite, or outside [0, 1], or the threshold is.
        """
        if not 0 <= threshold < 1:
            raise ParameterError(f"threshold: {threshold}; allowed: 0 to less than 1")
        return float((_usage(memory_usage) > threshold).mean())

    def compute_memory_utilisation(self, memory_usage: Values) -> float:
        """Return how many slots share the use, as a part of all: exp(H)/N, in [1/N, 1], and 0 where nothing is used.

            p(i) = ū(i) / Σ_j ū(j)        H = −Σ_i p(i) log p(i)

        ū(i) is the mean usage or weight of slot i over all steps and sequences. If k slots are used alike and no other
        is, it is k/N: 1 where all are used alike, 1/N where one has all. Unlike
        :meth:`compute_memory_efficiency` it has no threshold, and it does not change with the amount of use.

        Args:
            memory_usage: (…, slots), in [0, 1]: usage, or read or write weights.

        Raises:
            ParameterError: the usage is empty, not finite, or outside [0, 1].
        """
        usage = _usage(memory_usage)
        mean = usage.reshape(-1, usage.shape[-1]).mean(0)
        if not mean.any():
            return 0.0
        share = mean / mean.sum()
        used = share[share > 0]
        return float(np.exp(-(used * np.log(used)).sum()) / len(mean))

    def compute_memory_stability(self, memory_content: Values) -> float:
        """Return how much of the slots' content remains after one step, in [0, 1].

            S = 1 − Σ_{t,i} |M_t(i) − M_{t−1}(i)| / Σ_{t,i} (|M_t(i)| + |M_{t−1}(i)|)

        The sums go over slots that held something, M_{t−1}(i) ≠ 0, because a write to an empty slot loses nothing. S is
        1 if nothing changes, 0 if all contents reverse their direction, and 1 if there are no such slots.

        Args:
            memory_content: (time, slots, dim), or (batch, time, slots, dim).

        Raises:
            ParameterError: the content has another shape, is empty or not finite, or has a single step.
        """
        shapes = {3: "(time, slots, dim)", 4: "(batch, time, slots, dim)"}
        content = _array("memory_content", memory_content, shapes)
        if content.shape[-3] < 2:
            raise ParameterError("memory_content: a single step; allowed: 2 or more")
        before, after = content[..., :-1, :, :], content[..., 1:, :, :]
        size = np.linalg.norm(before, axis=-1)
        held = size > 0
        changed = (np.linalg.norm(after - before, axis=-1) * held).sum()
        most = ((size + np.linalg.norm(after, axis=-1)) * held).sum()
        return float(1 - changed / most) if most else 1.0

    def compute_retrieval_accuracy(self, queries: Values, memories: Values, targets: Values) -> float:
        """Return the share of queries whose most similar memory, by cosine, is the target, in [0, 1].

        Args:
            queries: (queries, dim).
            memories: (slots, dim).
            targets: (queries,), integers: number of the target memory of each query. Of equal memories the first
                counts.

        Raises:
            ParameterError: shapes do not match, a value is empty or not finite, or a target is not a slot.
        """
        keys = _array("queries", queries, {2: "(queries, dim)"})
        slots = _array("memories", memories, {2: "(slots, dim)"})
        wanted = _array("targets", targets, {1: "(queries,)"})
        if slots.shape[1] != keys.shape[1]:
            raise ParameterError(f"memories: {slots.shape[1]} features; allowed: {keys.shape[1]}, as the queries")
        if len(wanted) != len(keys):
            raise ParameterError(f"targets: {len(wanted)}; allowed: {len(keys)}, one a query")
        if (wanted != wanted.astype(np.int64)).any() or wanted.min() < 0 or wanted.max() >= len(slots):
            raise ParameterError(f"targets: no numbers of memories; allowed: integers from 0 to {len(slots) - 1}")
        similarity: Float[Tensor, "1 1 queries slots"] = cosine_similarity(
            torch.from_numpy(keys)[None, None], torch.from_numpy(slots)[None, None]
        )
        return float((similarity[0, 0].numpy().argmax(1) == wanted).mean())


def _usage(memory_usage: Values) -> NDArray[np.float64]:
    """Return usage as an array whose last axis counts slots.

    Raises:
        ParameterError: it is empty, not finite, or outside [0, 1].
    """
    usage = _array("memory_usage", memory_usage, None)
    if usage.ndim < 1 or usage.min() < 0 or usage.max() > 1 + 1e-6:
        found = f"shape {usage.shape}, values from {usage.min():g} to {usage.max():g}"
        raise ParameterError(f"memory_usage: {found}; allowed: (…, slots), numbers in [0, 1]")
    return usage


def _array(name: str, values: Values, shapes: dict[int, str] | None) -> NDArray[np.float64]:
    """Return numbers as an array; ``shapes`` names the allowed shapes by their number of axes.

    Raises:
        ParameterError: the values are not numbers, are empty, have another shape, or are not finite.
    """
    try:
        parts = [_plain(part) for part in values] if isinstance(values, list | tuple) else _plain(values)
        array = np.asarray(parts, dtype=np.float64)
    except (TypeError, ValueError):
        raise ParameterError(f"{name}: {type(values).__name__}; allowed: numbers of one shape") from None
    if shapes is not None and array.ndim not in shapes:
        raise ParameterError(f"{name}: shape {array.shape}; allowed: {' or '.join(shapes.values())}")
    if not array.size:
        raise ParameterError(f"{name}: shape {array.shape}; allowed: at least one number")
    if not np.isfinite(array).all():
        raise ParameterError(f"{name}: not all finite; allowed: finite numbers")
    return array


def _plain(values: Any) -> Any:
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
