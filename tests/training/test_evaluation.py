"""Metrics against NumPy, and evaluation in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from palimpsest.memory.trace import MemoryTrace
from palimpsest.models import ModelOutput
from palimpsest.training import loop, seeding
from palimpsest.training.evaluation import batch_sums, task_loss
from tests.training.presets import read


def test_task_loss_is_the_mean_negative_log_probability_of_the_target() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(2, 5, 4, generator=generator), torch.randint(4, (2, 5), generator=generator)
    exponentials = np.exp(logits.double().numpy())
    probability = exponentials / exponentials.sum(-1, keepdims=True)
    picked = np.take_along_axis(probability, targets.numpy()[..., None], -1)
    np.testing.assert_allclose(task_loss(logits, targets).numpy(), -np.log(picked).mean((1, 2)), rtol=1e-5)


def test_sums_count_right_answers_writes_and_written_answers() -> None:
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]]])
    writes = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]])
    trace = MemoryTrace(write_gate=writes * 0.5, writes=writes)
    targets = torch.tensor([[0, 0, 0]])
    sums = batch_sums(ModelOutput(logits, {}, trace, None), targets, {"answer_position": torch.tensor([[0, 0, 3]])})
    assert sums["accuracy"].tolist() == [2]
    assert sums["write_ratio"].tolist() == [0.75]
    assert sums["write_gate"].tolist() == [0.375]
    assert sums["answer_written"].tolist() == [1]


def test_orders_are_permutations_that_differ_by_seed_and_epoch() -> None:
    orders = torch.stack([seeding.epoch_order([0, 1], epoch, 50) for epoch in (0, 1)])
    assert all(sorted(row) == list(range(50)) for row in orders.view(-1, 50).tolist())
    assert len({tuple(row) for row in orders.view(-1, 50).tolist()}) == 4
    assert torch.equal(seeding.epoch_order([1], 1, 50)[0], orders[1, 1])


def test_noise_keys_of_training_and_evaluation_never_meet(tmp_path: Path) -> None:
    params = read(tmp_path)
    steps = params.experiments["tiny"].tracks["repaired"].training.num_epochs * 48
    seeds = torch.arange(3)
    training = {int(key) for step in range(steps) for key in seeding.noise_key(seeds, step)}
    evaluation = {int(key) + start for key in seeding.noise_key(seeds, loop.EVALUATION_STEP) for start in range(100)}
    assert not training & evaluation
    assert len(training) == 3 * steps
