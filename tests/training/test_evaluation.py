"""Metrics against NumPy and plain loops, and evaluation in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.memory import episodic_log
from palimpsest.memory.episodic_log import EpisodicRecord
from palimpsest.models import CONTROLS, Batch, ModelOutput, carries_state
from palimpsest.planning import plan, specs
from palimpsest.tasks import Examples, Splits
from palimpsest.training import loop, seeding
from palimpsest.training.evaluation import alike, batch_sums, narrowed
from palimpsest.training.pack import EVALUATION_STEP, Pack, build_pack
from tests.tasks.scored import mean_loss, scores
from tests.training.presets import read, read_lifecycle


def test_task_loss_is_the_mean_negative_log_probability_of_the_target() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(2, 5, 4, generator=generator), torch.randint(4, (2, 5), generator=generator)
    exponentials = np.exp(logits.double().numpy())
    probability = exponentials / exponentials.sum(-1, keepdims=True)
    picked = np.take_along_axis(probability, targets.numpy()[..., None], -1)
    np.testing.assert_allclose(
        mean_loss(logits[:, :, None], targets[..., None]).numpy(), -np.log(picked).mean((1, 2)), rtol=1e-5
    )


def test_sums_count_right_answers_writes_and_written_answers() -> None:
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]]])
    writes = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]])
    record = EpisodicRecord(writes * 0.5, writes, writes, torch.full((1, 3, 4), -1), torch.zeros(1, 3, 4))
    log = episodic_log.log(record, torch.tensor([[0, 0, 3]]), 4)
    targets = torch.tensor([[0, 0, 0]])
    output = ModelOutput(logits, {"write": torch.tensor([0.25])}, record, None, log)
    sums = batch_sums(output, scores(logits[:, :, None], targets[..., None], "class"))
    assert sums["loss_write"].tolist() == [0.75]
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
    evaluation = {int(key) + start for key in seeding.noise_key(seeds, EVALUATION_STEP) for start in range(100)}
    assert not training & evaluation
    assert len(training) == 3 * steps


# --- memories that outlive a batch ------------------------------------------------------------------------------------


def built(tmp_path: Path, base: str) -> tuple[Pack, Splits]:
    """A pack of the lifecycle preset, untrained, with its data."""
    params = read_lifecycle(tmp_path)
    cell = next(cell for cell in plan.cells(params) if cell.base.endswith(base))
    track = params.experiments[cell.experiment].tracks[cell.track]
    return build_pack(specs.resolve(params, cell)), specs.task_config(track, "params", "here").build(1)


PERSISTENT = "nema_lc/track=published/model=nema_lc/ablation=none"
EPISODIC = "nema_lc/track=repaired/model=nema_lc/ablation=none"


def test_a_carried_state_is_cut_and_without_gradients(tmp_path: Path) -> None:
    pack, splits = built(tmp_path, PERSISTENT)
    inputs = splits.train.inputs[:5].expand(2, -1, -1)
    state = pack.model(Batch(inputs, seeding.noise_key(pack.seeds, 0), {}), pack.hyper).state
    state = state._replace(slots=state.slots.clone().requires_grad_())
    cut = narrowed(state, 3)
    assert type(cut) is type(state)
    assert cut.steps == state.steps
    for field, value in state._asdict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(cut, field), value[:, :3]), field
            assert not getattr(cut, field).requires_grad, field
    assert narrowed(None, 3) is None


@pytest.mark.parametrize(("base", "carried"), [(PERSISTENT, True), (EPISODIC, False)])
def test_evaluation_carries_the_memory_from_batch_to_batch_if_the_model_does(
    tmp_path: Path, base: str, carried: bool
) -> None:
    """Under each control what that control has left; 20 examples in batches of 16 and 4."""
    pack, splits = built(tmp_path, base)
    assert carries_state(pack.model) == carried
    together = loop.evaluate_pack(pack, splits.test, CONTROLS)
    for control in CONTROLS:
        alone = loop.evaluate_pack(pack, splits.test, [control])[control]
        assert {name: value.tolist() for name, value in alone.items()} == {
            name: value.tolist() for name, value in together[control].items()
        }
    key = seeding.noise_key(pack.seeds, EVALUATION_STEP)
    sums, state = torch.zeros(2, dtype=torch.float64), None
    pack.model.eval()
    for start in (0, 16):
        rows = slice(start, start + 16)
        extras = {name: value[rows].expand(2, *value[rows].shape) for name, value in splits.test.extras.items()}
        batch = Batch(splits.test.inputs[rows].expand(2, -1, -1), key + start, extras)
        output = pack.model(batch, pack.hyper, narrowed(state, batch.inputs.shape[1]))
        found = scores(output.logits, splits.test.targets[rows].expand(2, -1, -1), "class")
        sums += found["loss"].detach().double().sum(1)
        state = output.state if carried else None
    assert torch.equal(together["on"]["loss"], sums / 20)


def test_training_carries_the_memory_within_an_epoch_and_not_beyond(tmp_path: Path) -> None:
    """Without learning and without dropout, an epoch that is run again goes as it went."""
    pack, splits = built(tmp_path, PERSISTENT)
    pack.optimiser.learning_rate.zero_()
    pack.model.eval()  # no dropout
    epochs = [loop.train_epoch(pack, splits.train, 0) for _ in range(2)]
    for one, other in zip(*epochs, strict=True):
        assert {name: value.tolist() for name, value in one.items()} == {
            name: value.tolist() for name, value in other.items()
        }
    _, log = epochs[0]
    assert log["utilisation"].shape == (4, 2)
    assert (log["age_steps"][1:] > 0).any()
    assert (log["age_steps"][0] == 0).all()  # nothing is old in a memory that begins


# --- sequences --------------------------------------------------------------------------------------------------------


def of_lengths(lengths: list[int]) -> Examples:
    """Examples of these lengths, whose content does not matter."""
    size = len(lengths)
    extras = {"length": torch.tensor(lengths, dtype=torch.int64)}
    return Examples(torch.zeros(size, 9, dtype=torch.int64), torch.zeros(size, 9, dtype=torch.int64), extras)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 7))
def test_batches_of_sequences_are_of_one_length_and_have_every_example_once(lengths: list[int], size: int) -> None:
    found: list[Any] = [
        (rows.tolist(), time) for rows, time in alike(of_lengths(lengths), size) if isinstance(rows, torch.Tensor)
    ]
    assert sorted(row for rows, _ in found for row in rows) == list(range(len(lengths)))
    for rows, time in found:
        assert 1 <= len(rows) <= size
        assert rows == sorted(rows)
        assert {lengths[row] for row in rows} == {time}
    assert [time for _, time in found] == sorted(time for _, time in found)
    expected = sum(-(-lengths.count(length) // size) for length in set(lengths))
    assert len(found) == expected  # no more than it takes


@given(st.integers(1, 30), st.integers(1, 7))
def test_batches_of_what_is_all_as_long_are_slices_in_their_order(count: int, size: int) -> None:
    examples = Examples(torch.zeros(count, 4), torch.zeros(count), {})
    rows: list[Any] = [range(count)[rows] for rows, time in alike(examples, size) if time is None]  # type: ignore[index]
    assert [row for part in rows for row in part] == list(range(count))
    assert all(len(part) == size for part in rows[:-1])
