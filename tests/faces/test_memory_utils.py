"""Pictures show the numbers that they are given; each number about a memory agrees with its docstring."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from palimpsest.faces.memory_networks import DifferentiableNeuralComputer
from palimpsest.faces.memory_utils import MemoryAnalyzer, MemoryVisualizer
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.memory.stepwise_trace import slots_written

draw, measure = MemoryVisualizer(), MemoryAnalyzer()
USAGE = np.array([[0.0, 0.2, 0.4], [0.6, 0.2, 1.0]])
SHARES = st.floats(0, 1, width=32)
NUMBERS = st.floats(-10, 10, width=32)


def picture(figure: Any, panel: int) -> Any:
    """What a heat map shows, (slots, time)."""
    return figure.axes[panel].images[0].get_array()


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, lambda a: list(torch.tensor(a)), lambda a: a.tolist()])
def test_usage_is_drawn_slot_by_slot_with_its_mean_above(kind: Any) -> None:
    figure = draw.plot_memory_usage(kind(USAGE), "title")
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [0.2, 0.6])
    np.testing.assert_allclose(picture(figure, 1), USAGE.T)
    assert figure.axes[1].get_ylabel() == "slot"
    assert figure.axes[1].get_xlabel() == "step"


def test_usage_of_a_memory_as_a_whole_is_a_line() -> None:
    figure = draw.plot_memory_usage([0.1, 0.5, 0.9])
    assert len(figure.axes) == 1
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [0.1, 0.5, 0.9])


def test_attention_is_drawn_head_by_head() -> None:
    weights = np.random.default_rng(0).random((7, 2, 4))
    figure = draw.plot_attention_patterns(weights)
    panels = [panel for panel in figure.axes if panel.images and panel.get_title()]
    assert [panel.get_title() for panel in panels] == ["head 0", "head 1"]
    for head in range(2):
        np.testing.assert_allclose(panels[head].images[0].get_array(), weights[:, head].T)
    np.testing.assert_allclose(picture(draw.plot_attention_patterns(weights[:, 1]), 0), weights[:, 1].T)


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (draw.save(draw.plot_memory_usage(USAGE), tmp_path / name / "usage") for name in "ab")
    assert [path.suffix for path in first] == [".pdf", ".png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    (tmp_path / "taken.pdf").mkdir()
    with pytest.raises(DataError, match="taken.pdf: cannot be written"):
        draw.save(draw.plot_memory_usage(USAGE), tmp_path / "taken")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\); allowed: "),
        ([], r"shape \(0,\); allowed"),
        (np.zeros((3, 0)), r"shape \(3, 0\); allowed: at least one number"),
        ([[0.5, math.nan]], "not all finite; allowed: finite numbers"),
        ([[0.5], [0.5, 1.0]], "list; allowed: numbers of one shape"),
        ("usage", "str; allowed: numbers of one shape"),
        ([[None, 0.5]], "not all finite; allowed"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(values: Any, message: str) -> None:
    for name, plot in (
        ("memory_usage_history", draw.plot_memory_usage.__wrapped__),  # type: ignore[attr-defined]
        ("attention_weights", draw.plot_attention_patterns.__wrapped__),  # type: ignore[attr-defined]
    ):
        with pytest.raises(ParameterError, match=f"^{name}: ({message})") as caught:
            plot(draw, values)
        assert "\n" not in str(caught.value)


@given(arrays(np.float64, (4, 3), elements=SHARES))
def test_efficiency_is_the_share_of_slots_above_one_half(usage: Any) -> None:
    expected = sum(u > 0.5 for step in usage.tolist() for u in step) / 12
    assert measure.compute_memory_efficiency(usage) == pytest.approx(expected)


@given(arrays(np.float64, (4, 3), elements=SHARES), st.floats(0, 0.99))
def test_efficiency_at_another_threshold_is_the_share_of_slots_above_it(usage: Any, threshold: float) -> None:
    expected = sum(u > threshold for step in usage.tolist() for u in step) / 12
    assert measure.compute_memory_efficiency(usage, threshold) == pytest.approx(expected)


@given(arrays(np.float64, (5, 4), elements=SHARES))
def test_utilisation_is_the_exponential_of_an_entropy(usage: Any) -> None:
    mean = [sum(column) for column in zip(*usage.tolist(), strict=True)]
    found = measure.compute_memory_utilisation(usage)
    if not any(mean):
        assert found == 0
        return
    assert found == pytest.approx(math.exp(entropy(mean)) / 4)  # SciPy divides by the sum
    assert 0.25 - 1e-9 <= found <= 1 + 1e-9
    assert measure.compute_memory_utilisation(usage[None]) == pytest.approx(found)


@pytest.mark.parametrize("used", [1, 2, 4, 8])
def test_utilisation_of_slots_that_are_used_alike_is_their_share_whatever_the_amount(used: int) -> None:
    usage = np.zeros((3, 8))
    usage[:, :used] = 0.2
    assert measure.compute_memory_utilisation(usage) == pytest.approx(used / 8)
    assert measure.compute_memory_utilisation(4 * usage) == pytest.approx(used / 8)
    assert measure.compute_memory_efficiency(usage) == 0  # none above one half
    assert measure.compute_memory_efficiency(4 * usage) == pytest.approx(used / 8)


def test_utilisation_counts_slots_that_take_turns_as_used_alike() -> None:
    assert measure.compute_memory_utilisation(np.eye(6)) == pytest.approx(1)
    assert measure.compute_memory_utilisation(torch.zeros(3, 6)) == 0


def test_efficiency_of_what_was_never_freed_is_the_metric_of_experiments() -> None:
    torch.manual_seed(0)
    model = DifferentiableNeuralComputer(3, 6, 5, 4)
    weights = model.record(5 * torch.randn(4, 6, 3)).write_weights
    assert weights is not None
    usage = torch.zeros(4, 5)
    for written in weights.unbind(1):
        usage = usage + (1 - usage) * written[:, 0]
    shares = slots_written(weights[None]).double()
    assert 0 < shares.mean() < 1
    assert measure.compute_memory_efficiency(usage) == pytest.approx(shares.mean().item())


@given(arrays(np.float64, (5, 3, 2), elements=NUMBERS))
def test_stability_is_what_the_equation_says(content: Any) -> None:
    changed = most = 0.0
    for step in range(1, 5):
        for slot in range(3):
            before, after = content[step - 1, slot], content[step, slot]
            if (before != 0).any():
                changed += math.dist(before, after)
                most += math.hypot(*before) + math.hypot(*after)
    expected = 1 - changed / most if most else 1.0
    found = measure.compute_memory_stability(content)
    assert found == pytest.approx(expected, abs=1e-9)
    assert -1e-9 <= found <= 1
    assert measure.compute_memory_stability(content[None]) == pytest.approx(found)


def test_stability_is_one_without_changes_and_zero_when_contents_are_reversed() -> None:
    held = np.ones((1, 3, 2))
    assert measure.compute_memory_stability(np.repeat(held, 4, 0)) == 1
    assert measure.compute_memory_stability(np.concatenate([held, -held, held])) == 0
    assert measure.compute_memory_stability(np.concatenate([0 * held, held])) == 1  # where nothing was, nothing is lost
    assert measure.compute_memory_stability(np.zeros((4, 3, 2))) == 1


@given(arrays(np.float64, (4, 3), elements=NUMBERS), arrays(np.float64, (5, 3), elements=NUMBERS))
def test_accuracy_counts_queries_whose_most_similar_memory_is_the_target(queries: Any, memories: Any) -> None:
    def cosine(a: Any, b: Any) -> float:
        return float(a @ b / max(np.linalg.norm(a), 1e-3) / max(np.linalg.norm(b), 1e-3))

    nearest = []
    for query in queries:
        alike = sorted((cosine(query, memory) for memory in memories), reverse=True)
        if alike[0] - alike[1] < 1e-9:  # tied but for rounding: whichever
            return
        nearest.append(max(range(5), key=lambda slot: cosine(query, memories[slot])))
    assert measure.compute_retrieval_accuracy(queries, memories, nearest) == 1
    wrong = [(slot + 1) % 5 for slot in nearest[:1]] + nearest[1:]
    assert measure.compute_retrieval_accuracy(queries, memories, torch.tensor(wrong)) == 0.75


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: measure.compute_memory_efficiency([1.5]),
            r"memory_usage: shape \(1,\), values from 1.5 to 1.5; allowed: \(…, slots\), numbers in",
        ),
        (lambda: measure.compute_memory_efficiency(np.array(0.5)), r"memory_usage: shape \(\), values from 0.5 to 0.5"),
        (lambda: measure.compute_memory_efficiency([math.inf]), "memory_usage: not all finite"),
        (
            lambda: measure.compute_memory_utilisation([[-0.5, 1.0]]),
            r"memory_usage: shape \(1, 2\), values from -0.5 to 1; allowed: \(…, slots\), numbers in",
        ),
        (lambda: measure.compute_memory_utilisation([]), r"memory_usage: shape \(0,\); allowed"),
        (lambda: measure.compute_memory_efficiency([0.5], 1.0), "threshold: 1.0; allowed: 0 to less than 1"),
        (lambda: measure.compute_memory_efficiency([0.5], math.nan), "threshold: nan; allowed"),
        (lambda: measure.compute_memory_stability(np.ones((1, 3, 2))), "memory_content: a single step; allowed: 2"),
        (lambda: measure.compute_memory_stability(np.ones((4, 3))), r"memory_content: shape \(4, 3\); allowed: \(time"),
        (
            lambda: measure.compute_retrieval_accuracy(np.ones((2, 3)), np.ones((4, 2)), [0, 1]),
            "memories: 2 features; allowed: 3, as the queries",
        ),
        (
            lambda: measure.compute_retrieval_accuracy(np.ones((2, 3)), np.ones((4, 3)), [0]),
            "targets: 1; allowed: 2, one a query",
        ),
        (
            lambda: measure.compute_retrieval_accuracy(np.ones((2, 3)), np.ones((4, 3)), [0, 4]),
            "targets: no numbers of memories; allowed: integers from 0 to 3",
        ),
        (lambda: measure.compute_retrieval_accuracy(np.ones((2, 3)), np.ones((4, 3)), [0.5, 1]), "targets: no numbers"),
        (lambda: measure.compute_retrieval_accuracy(np.ones((2, 3)), np.ones((4, 3)), [-1, 1]), "targets: no numbers"),
    ],
)
def test_numbers_that_cannot_be_computed_are_refused_in_one_line(call: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{message}") as caught:
        call()
    assert "\n" not in str(caught.value)
