"""Scores against loops over examples, steps and bits; what is not asked for counts nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.tasks.shared.scoring import cross_entropy
from tests.tasks.scored import mean_loss, scores

RUNS = 2


def naive_cross_entropy(logits: list[float], target: int) -> float:
    """−log of the target's share of the exponentials, in nats."""
    largest = max(logits)
    return math.log(sum(math.exp(x - largest) for x in logits)) + largest - logits[target]


def naive_of_bit(logit: float, bit: int) -> float:
    """−log of the probability that a logistic unit gives to a bit."""
    return math.log1p(math.exp(-abs(logit))) + max(logit, 0.0) - bit * logit


def naive_step(logits: list[float], target: int, scored: str) -> tuple[float, float]:
    """Loss and share of what is right, of one step or one example."""
    if scored != "bits":
        best = max(range(len(logits)), key=lambda index: (logits[index], -index))
        return naive_cross_entropy(logits, target), float(best == target)
    bits = [(target // 2**index) % 2 for index in range(len(logits))]
    losses = [naive_of_bit(logit, bit) for logit, bit in zip(logits, bits, strict=True)]
    right = [(logit > 0) == (bit == 1) for logit, bit in zip(logits, bits, strict=True)]
    return float(np.mean(losses)), float(np.mean(right))


def naive_sequence(logits: Tensor, targets: Tensor, scored: str) -> dict[str, float]:
    """Scores of one sequence, step by step."""
    steps = zip(logits.tolist(), targets.tolist(), strict=True)
    found = [naive_step(answer, wanted, scored) for answer, wanted in steps if wanted != -1]
    return {
        "loss": sum(loss for loss, _ in found) / max(1, len(found)),
        "accuracy": sum(right for _, right in found) / max(1, len(found)),
        "sequence_accuracy": float(all(right == 1 for _, right in found)),
    }


def drawn(scored: str, time: int, outputs: int, seed: int, asked: float = 0.6) -> tuple[Tensor, Tensor]:
    """Logits (2, 3, T, O), float64, some of them 0 or large, and targets; some steps are not asked for."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(RUNS, 3, time, outputs, generator=generator, dtype=torch.float64)
    logits = logits * (torch.rand(logits.shape, generator=generator) > 0.1)
    kinds = 2**outputs if scored == "bits" else outputs
    targets = torch.randint(kinds, (RUNS, 3, time), generator=generator)
    return logits, targets.where(torch.rand(targets.shape, generator=generator) < asked, -1)


@given(st.sampled_from(["classes", "bits"]), st.integers(1, 7), st.integers(1, 6), st.integers(0, 10_000))
def test_scores_of_sequences_are_what_counting_step_by_step_gives(
    scored: str, time: int, outputs: int, seed: int
) -> None:
    logits, targets = drawn(scored, time, outputs, seed)
    found = scores(logits, targets, scored)
    assert found.keys() == {"loss", "accuracy", "sequence_accuracy"}
    for run in range(RUNS):
        for example in range(3):
            expected = naive_sequence(logits[run, example], targets[run, example], scored)
            for name, value in expected.items():
                assert found[name][run, example].item() == pytest.approx(value, rel=1e-9, abs=1e-9), name


@given(st.integers(2, 9), st.integers(0, 10_000))
def test_one_class_an_example_has_a_loss_and_an_accuracy_alone(classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(RUNS, 4, classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(classes, (RUNS, 4), generator=generator)
    found = scores(logits[:, :, None], targets[..., None], "class")
    assert found.keys() == {"loss", "accuracy"}
    for run in range(RUNS):
        for example in range(4):
            loss, right = naive_step(logits[run, example].tolist(), int(targets[run, example]), "class")
            assert found["loss"][run, example].item() == pytest.approx(loss, rel=1e-9)
            assert found["accuracy"][run, example].item() == right
    torch.testing.assert_close(mean_loss(logits[:, :, None], targets[..., None]), found["loss"].mean(1))


@pytest.mark.parametrize("scored", ["classes", "bits"])
def test_steps_that_are_not_asked_for_change_nothing_and_get_no_gradient(scored: str) -> None:
    logits, targets = drawn(scored, 6, 3, 0)
    other = torch.where((targets < 0)[..., None], logits + 7, logits).requires_grad_()
    one, changed = scores(logits, targets, scored), scores(other, targets, scored)
    for name, value in one.items():
        assert torch.equal(value, changed[name]), name
    changed["loss"].sum().backward()
    assert other.grad is not None
    assert (other.grad[targets < 0] == 0).all()
    assert (other.grad[targets >= 0] != 0).all()


@pytest.mark.parametrize("scored", ["classes", "bits"])
def test_what_is_all_right_is_right_exactly_however_long_it_is(scored: str) -> None:
    for time in range(1, 300):
        logits = torch.tensor([9.0, -9.0, -9.0]).expand(1, 1, time, 3)
        targets = torch.full((1, 1, time), 0 if scored == "classes" else 1)
        found = scores(logits, targets, scored)
        assert found["accuracy"].item() == found["sequence_accuracy"].item() == 1, time


@pytest.mark.parametrize("scored", ["classes", "bits"])
def test_padding_at_the_end_changes_nothing(scored: str) -> None:
    logits, targets = drawn(scored, 6, 3, 1)
    longer = torch.cat([logits, torch.randn(RUNS, 3, 5, 3, dtype=torch.float64)], 2)
    padded = torch.cat([targets, torch.full((RUNS, 3, 5), -1)], 2)
    one, other = scores(logits, targets, scored), scores(longer, padded, scored)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name])


@pytest.mark.parametrize("scored", ["classes", "bits"])
def test_where_nothing_is_asked_nothing_is_wrong_and_nothing_is_learned(scored: str) -> None:
    logits, targets = drawn(scored, 4, 3, 2, asked=0.0)
    found = scores(logits.requires_grad_(), targets, scored)
    assert (found["loss"] == 0).all()
    assert (found["sequence_accuracy"] == 1).all()
    found["loss"].sum().backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("scored", ["classes", "bits"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_finite_and_so_is_its_gradient_however_sure_a_model_is(scored: str, dtype: torch.dtype) -> None:
    logits = torch.tensor([0.0, 1e4, -1e4, 80.0], dtype=dtype).expand(1, 1, 3, 4).clone().requires_grad_()
    found = scores(logits, torch.tensor([[[0, 1, 2]]]), scored)
    found["loss"].sum().backward()
    assert logits.grad is not None
    assert found["loss"].dtype == dtype
    assert torch.isfinite(found["loss"]).all()
    assert torch.isfinite(logits.grad).all()


def test_bits_are_those_of_the_number_from_the_lowest_up() -> None:
    sure = torch.tensor([[[[9.0, -9.0, 9.0, 9.0]]]])  # 1 + 4 + 8
    for number, right in ((13, 1.0), (12, 0.75), (2, 0.0)):
        found = scores(sure, torch.tensor([[[number]]]), "bits")
        assert found["accuracy"].item() == right
        assert found["sequence_accuracy"].item() == (right == 1)


def test_a_sequence_is_right_if_all_of_it_is() -> None:
    logits = torch.tensor([5.0, 0.0]).expand(1, 3, 4, 2)
    targets = torch.tensor([[[0, 0, 0, 0], [0, -1, -1, 0], [0, 0, 1, -1]]])
    found = scores(logits, targets, "classes")
    assert found["sequence_accuracy"].tolist() == [[1, 1, 0]]
    assert found["accuracy"][0].tolist() == pytest.approx([1, 1, 2 / 3])


@pytest.mark.parametrize("scored", ["class", "classes", "bits"])
def test_the_loss_of_a_task_is_the_mean_over_the_examples_of_each_run(scored: str) -> None:
    logits, targets = drawn("classes" if scored == "class" else scored, 5, 4, 3)
    if scored == "class":
        logits, targets = logits[:, :, :1], targets[:, :, :1].clamp_min(0)
    expected = scores(logits, targets, scored)["loss"]
    assert mean_loss(logits, targets, scored).tolist() == pytest.approx(expected.mean(1).tolist())


@pytest.mark.parametrize("scored", ["classes", "bits"])
@pytest.mark.parametrize("run", [0, 2])
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(scored: str, run: int) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 2, 7, 5, generator=generator)
    targets = torch.randint(-1, 5, (3, 2, 7), generator=generator)
    pack, alone = (part.clone().requires_grad_() for part in (logits, logits[run : run + 1]))
    together, single = scores(pack, targets, scored), scores(alone, targets[run : run + 1], scored)
    for name, value in single.items():
        assert torch.equal(together[name][run], value[0]), name
    together["loss"].sum().backward()
    single["loss"].sum().backward()
    assert pack.grad is not None
    assert alone.grad is not None
    assert torch.equal(pack.grad[run], alone.grad[0])


@given(st.lists(st.integers(1, 4), min_size=0, max_size=3), st.integers(0, 1000))
def test_cross_entropy_has_the_shape_of_the_targets(shape: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, tuple(shape), generator=generator)
    found = cross_entropy(logits, targets)
    assert found.shape == targets.shape
    for answer, wanted, value in zip(logits.reshape(-1, 3).tolist(), targets.flatten(), found.flatten(), strict=True):
        assert value.item() == pytest.approx(naive_cross_entropy(answer, int(wanted)))


def test_the_gradient_of_bits_is_that_of_their_mean() -> None:
    logits, targets = drawn("bits", 3, 4, 5)
    assert torch.autograd.gradcheck(lambda x: scores(x, targets, "bits")["loss"], (logits.requires_grad_(),))
