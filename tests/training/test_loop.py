"""The training loop on sequences: which examples a step sees and how much of them, and what an epoch's means are of."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from palimpsest import tasks
from palimpsest.models import Batch
from palimpsest.planning import plan, specs
from palimpsest.tasks import Examples, Splits
from palimpsest.training import loop, seeding
from palimpsest.training.pack import Pack, build_pack
from tests.training import presets


def built(directory: Path, base: str = "copy/track=repaired/model=lstm", **training: Any) -> tuple[Pack, Splits]:
    """A pack of two seeds of the preset of sequences, and its data."""
    params = presets.read_sequences(directory, **training)
    (cell,) = (cell for cell in plan.cells(params) if cell.base.endswith(base))
    pack = build_pack(specs.resolve(params, cell))
    config = {key: value for key, value in pack.specs[0].task.items() if key not in ("name", "seed")}
    return pack, tasks.load(pack.specs[0].task["name"]).Config.model_validate(config).build(1)


def batches(pack: Pack, examples: Examples, epoch: int) -> list[torch.Tensor]:
    """Which examples each run sees in an epoch, step by step."""
    return list(loop._batches(pack, examples, epoch))


@pytest.mark.parametrize(
    ("batch_size", "num_epochs", "steps"), [(8, 3, [4, 4, 4]), (8, 5, [2, 2, 3, 2, 3]), (7, 2, [7, 7])]
)
def test_an_epoch_of_a_stream_is_its_next_part_and_all_epochs_are_the_stream(
    tmp_path: Path, batch_size: int, num_epochs: int, steps: list[int]
) -> None:
    pack, splits = built(tmp_path, batch_size=batch_size, num_epochs=num_epochs)
    epochs = [batches(pack, splits.train, epoch) for epoch in range(num_epochs)]
    assert sorted(map(len, epochs)) == sorted(steps)
    together = torch.cat([places for epoch in epochs for places in epoch], 1)
    assert torch.equal(together, seeding.stream_order([0, 1], splits.train.extras["group"]))
    assert all(places.shape[1] <= batch_size for epoch in epochs for places in epoch)


def test_epochs_of_a_stream_share_its_steps_as_evenly_as_they_can(tmp_path: Path) -> None:
    pack, _ = built(tmp_path)
    for examples, batch_size, num_epochs in itertools.product((1, 7, 40), (1, 3, 8), (1, 2, 5, 9)):
        training = pack.training.model_copy(update={"batch_size": batch_size, "num_epochs": num_epochs})
        pack.specs = [spec.model_copy(update={"training": training}) for spec in pack.specs]
        split = Examples(torch.zeros(examples, 2), torch.zeros(examples), {})
        counts = [len(batches(pack, split, epoch)) for epoch in range(num_epochs)]
        assert sum(counts) == -(-examples // batch_size)
        assert max(counts) - min(counts) <= 1


def test_a_stream_without_groups_is_one_group(tmp_path: Path) -> None:
    pack, splits = built(tmp_path)
    split = splits.train._replace(extras={})
    together = torch.cat([places for epoch in range(3) for places in batches(pack, split, epoch)], 1)
    assert torch.equal(together, seeding.stream_order([0, 1], torch.zeros(96, dtype=torch.int64)))


def test_every_epoch_of_a_shuffled_split_has_all_of_it_in_another_order(tmp_path: Path) -> None:
    pack, splits = built(tmp_path, order="shuffled", batch_size=10)
    orders = [torch.cat(batches(pack, splits.train, epoch), 1) for epoch in range(3)]
    for order in orders:
        assert [sorted(row) for row in order.tolist()] == [list(range(96))] * 2
    assert len({tuple(row) for order in orders for row in order.tolist()}) == 6


@pytest.mark.parametrize("batch_size", [8, 5])
@pytest.mark.parametrize("order", ["stream", "shuffled"])
def test_a_step_of_a_stream_sees_its_examples_as_far_as_the_longest_of_them_goes(
    tmp_path: Path, batch_size: int, order: str
) -> None:
    """In a shuffled split the longest would be another in every company of runs: there the padding stays."""
    pack, splits = built(tmp_path, batch_size=batch_size, order=order)
    seen: list[Batch] = []
    pack.model.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    loop.train_epoch(pack, splits.train, 1)
    steps = batches(pack, splits.train, 1)
    assert len(seen) == len(steps)
    for step, (given, places) in enumerate(zip(seen, steps, strict=True)):
        longest = int(splits.train.extras["length"][places].max()) if order == "stream" else 9
        assert torch.equal(given.inputs, splits.train.inputs[places][..., :longest])
        assert torch.equal(given.extras["slice"], splits.train.extras["slice"][places])
        assert torch.equal(given.noise_key, seeding.noise_key(torch.tensor([0, 1]), step))
        assert given.control == "on"


@pytest.mark.parametrize("base", ["copy/track=repaired/model=ntm", "mqar/track=repaired/model=lstm"])
@pytest.mark.parametrize("order", ["stream", "shuffled"])
def test_means_of_an_epoch_are_over_its_examples_one_by_one(tmp_path: Path, base: str, order: str) -> None:
    """Without learning, every example may as well be looked at alone, without padding; the last step is a short one."""
    pack, splits = built(tmp_path, base, order=order, batch_size=10, num_epochs=2)
    pack.optimiser.learning_rate.zero_()
    means, log = loop.train_epoch(pack, splits.train, 1)
    steps = batches(pack, splits.train, 1)
    sums: dict[str, list[list[float]]] = {}
    for places in steps:
        of_step: dict[str, list[float]] = {}
        for run in range(2):
            for row in places[run].tolist():
                alone = splits.train.rows(slice(row, row + 1), int(splits.train.extras["length"][row]))
                given = Batch(alone.inputs.expand(2, 1, -1), seeding.noise_key(pack.seeds, 0), {})
                with torch.no_grad():
                    logits = pack.model(given, pack.hyper).logits
                of_runs = alone._replace(targets=alone.targets.expand(2, 1, -1))
                for name, value in pack.task.score(logits, of_runs).items():
                    of_step.setdefault(f"{name}/{run}", []).append(float(value[run, 0]))
        for name, values in of_step.items():
            sums.setdefault(name, []).append(values)
    assert means.keys() == log.keys() == {"loss", "accuracy", "sequence_accuracy", "objective"}
    for name in ("loss", "accuracy", "sequence_accuracy"):
        for run in range(2):
            by_step = sums[f"{name}/{run}"]
            everything = [value for values in by_step for value in values]
            assert means[name][run].item() == pytest.approx(sum(everything) / len(everything), rel=1e-4, abs=1e-6)
            expected = [sum(values) / len(values) for values in by_step]
            assert log[name][:, run].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(means["objective"], means["loss"])  # there is nothing else to pay for


def test_the_optimiser_of_the_training_takes_the_steps(tmp_path: Path) -> None:
    pack, splits = built(tmp_path)
    before = [parameter.detach().clone() for parameter in pack.model.parameters()]
    loop.train_epoch(pack, splits.train, 0)
    assert type(pack.optimiser).__name__ == "RMSprop"
    assert pack.optimiser.clip_value == 10
    assert pack.optimiser.steps == 4
    assert all(not torch.equal(one, other) for one, other in zip(before, pack.model.parameters(), strict=True))
