"""Split digits: which digits a pair has, what each reading asks, and that a known pair competes with itself alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from palimpsest.tasks import Examples, split_digits
from palimpsest.tasks.split_digits import Config


@pytest.mark.parametrize("pair", range(5))
def test_a_pair_has_its_two_digits_and_each_image_once(pair: int) -> None:
    splits = Config(pair=pair).build(0)
    assert all(set(split.targets[:, 0].tolist()) == {2 * pair, 2 * pair + 1} for split in splits)
    images = torch.cat([split.inputs for split in splits])
    assert len(images) == 354


def test_readings_ask_differently_about_the_same_images() -> None:
    task, domain, of_ten = (Config(reading=name, pair=3).build(1).test for name in ("task", "domain", "class"))
    assert torch.equal(task.inputs, of_ten.inputs)
    assert torch.equal(task.targets, of_ten.targets)
    assert torch.equal(domain.targets, of_ten.targets % 2)
    assert "known_pair" in task.extras
    assert "known_pair" not in of_ten.extras
    assert [split_digits.chance(Config(reading=name)) for name in ("task", "domain", "class")] == [0.5, 0.5, 0.1]


@given(st.integers(0, 4), st.integers(0, 1), st.integers(0, 2**20))
def test_a_known_pair_is_scored_as_two_classes_and_trains_no_other_output(pair: int, digit: int, seed: int) -> None:
    logits = torch.randn(1, 1, 1, 10, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    targets = torch.tensor([[[2 * pair + digit]]])
    found = split_digits.score(logits, Examples(targets, targets, {"known_pair": torch.tensor([[pair]])}))
    two = logits[0, 0, :, 2 * pair : 2 * pair + 2].detach()
    torch.testing.assert_close(found["loss"][0], F.cross_entropy(two, torch.tensor([digit]), reduction="none"))
    assert found["accuracy"].item() == float(two.argmax() == digit)
    (gradient,) = torch.autograd.grad(found["loss"].sum(), logits)
    outside = torch.arange(10) // 2 != pair
    assert not gradient[0, 0, 0, outside].any()


def test_more_images_than_a_pair_has_is_refused() -> None:
    with pytest.raises(ValueError, match="355 images of the pair 4; allowed: at most 354"):
        Config(pair=4, num_train=181)
