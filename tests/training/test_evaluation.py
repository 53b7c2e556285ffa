"""Metrics against NumPy and plain loops, and evaluation in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest import tasks
from palimpsest.memory.lifecycle import COST
from palimpsest.memory.trace import MemoryTrace
from palimpsest.models import CONTROLS, Batch, ModelOutput
from palimpsest.planning import plan, specs
from palimpsest.tasks import Examples, Splits
from palimpsest.training import loop, seeding
from palimpsest.training.evaluation import (
    SHORTEST_FOR_SLOPE,
    alike,
    batch_sums,
    carries_state,
    memory_means,
    narrowed,
    slope_of_second_half,
    slots_written,
)
from tests.tasks.scored import mean_loss, scores
from tests.training.presets import read, read_lifecycle, read_sequences


def test_task_loss_is_the_mean_negative_log_probability_of_the_target() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(2, 5, 4, generator=generator), torch.randint(4, (2, 5), generator=generator)
    exponentials = np.exp(logits.double().numpy())
    probability = exponentials / exponentials.sum(-1, keepdims=True)
    picked = np.take_along_axis(probability, targets.numpy()[..., None], -1)
    np.testing.assert_allclose(mean_loss(logits, targets).numpy(), -np.log(picked).mean((1, 2)), rtol=1e-5)


def test_sums_count_right_answers_writes_and_written_answers() -> None:
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]]])
    writes = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]])
    trace = MemoryTrace(write_gate=writes * 0.5, writes=writes)
    targets = torch.tensor([[0, 0, 0]])
    batch = Batch(
        torch.zeros(1, 3, 4, dtype=torch.int64), torch.zeros(1), {"answer_position": torch.tensor([[0, 0, 3]])}
    )
    sums = batch_sums(
        ModelOutput(logits, {"write": torch.tensor([0.25])}, trace, None), batch, scores(logits, targets, "class")
    )
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
    evaluation = {int(key) + start for key in seeding.noise_key(seeds, loop.EVALUATION_STEP) for start in range(100)}
    assert not training & evaluation
    assert len(training) == 3 * steps


# --- what a memory did ------------------------------------------------------------------------------------------------

RUNS, SIZE, STEPS, SLOTS = 2, 3, 8, 4


def made_up(seed: int, steps: int = STEPS) -> MemoryTrace:
    """A trace of a memory that takes a step a chunk; its values need not go together."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, below: int = 2) -> torch.Tensor:
        return torch.randint(below, (RUNS, SIZE, *shape), generator=generator)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(RUNS, SIZE, *shape, generator=generator)

    return MemoryTrace(
        write_gate=uniform(steps),
        writes=drawn(steps).float(),
        read_weights=uniform(SLOTS),
        slot_time=drawn(SLOTS, below=steps + 1) - 1,
        usage=uniform(SLOTS),
        age=uniform(SLOTS),
        alive=drawn(SLOTS).float(),
        operations=drawn(steps, SLOTS, below=6),
        utilisation=uniform(steps),
        age_steps=uniform(steps),
        over_budget=drawn(steps).float(),
    )


def tokens(answers: torch.Tensor, time: int) -> Batch:
    """A batch of ``time`` tokens an example, of which ``answers`` (R, B) answer."""
    inputs = torch.zeros(*answers.shape, time, dtype=torch.int64)
    return Batch(inputs, torch.zeros(len(answers)), {"answer_position": answers})


def naive_means(trace: MemoryTrace, answers: torch.Tensor, time: int, run: int) -> dict[str, float]:
    """The metrics of one run, counted one by one."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for example in range(SIZE):
        steps = trace.writes.shape[-1]
        for step in range(steps):
            for name, of in (("write_gate", "write_gate"), ("write_ratio", "writes"), ("over_budget", "over_budget")):
                note(name, float(getattr(trace, of)[run, example, step]))
            note("utilisation", float(trace.utilisation[run, example, step]))
            note("age_steps", float(trace.age_steps[run, example, step]))
            codes = trace.operations[run, example, step].tolist()
            note("operations_per_step", sum((0, 0, 1, 1, 1, 2)[code] for code in codes))
            for code in codes:
                note("update_rate", code == 2)
                note("forget_rate", code in (4, 5))
        answer = int(answers[run, example])
        at = answer * steps // time
        note("answer_written", answer >= 0 and float(trace.writes[run, example, at]))
        slots = zip(trace.slot_time[run, example].tolist(), trace.alive[run, example].tolist(), strict=True)
        note("answer_kept", answer >= 0 and any(alive and held == at for held, alive in slots))
        for name, of in (("utilisation_slope", "utilisation"), ("age_slope", "age_steps")):
            half = getattr(trace, of)[run, example].double().numpy()[steps // 2 :]
            note(name, np.polyfit(np.arange(len(half)), half, 1)[0])
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tokens_of_a_step", [1, 3])
def test_memory_means_are_what_counting_one_by_one_gives(seed: int, tokens_of_a_step: int) -> None:
    trace, time = made_up(seed), STEPS * tokens_of_a_step
    answers = torch.randint(-1, time, (RUNS, SIZE), generator=torch.Generator().manual_seed(seed))
    means = memory_means(trace, tokens(answers, time))
    for run in range(RUNS):
        expected = naive_means(trace, answers, time, run)
        assert set(means) == set(expected)
        for name, value in expected.items():
            assert means[name][run].item() == pytest.approx(value, rel=1e-6, abs=1e-9), name
            assert means[name].dtype == torch.float64


def test_an_answer_that_is_nowhere_is_neither_written_nor_kept() -> None:
    trace = made_up(0)._replace(
        writes=torch.ones(RUNS, SIZE, STEPS),
        slot_time=torch.tensor([0, -1, -1, -1]).expand(RUNS, SIZE, -1),
        alive=torch.ones(RUNS, SIZE, SLOTS),
    )
    means = memory_means(trace, tokens(torch.tensor([[-1, -1, -1], [0, -1, 5]]), STEPS))
    assert means["answer_written"].tolist() == pytest.approx([0, 2 / 3])
    assert means["answer_kept"].tolist() == pytest.approx([0, 1 / 3])


def test_a_trace_without_a_memory_has_no_means() -> None:
    assert memory_means(MemoryTrace(), tokens(torch.zeros(RUNS, SIZE, dtype=torch.int64), 4)) == {}


def test_a_slope_needs_enough_steps() -> None:
    answers = torch.zeros(RUNS, SIZE, dtype=torch.int64)
    for steps in (SHORTEST_FOR_SLOPE - 1, SHORTEST_FOR_SLOPE):
        means = memory_means(made_up(0, steps), tokens(answers, steps))
        assert ("age_slope" in means) == ("utilisation_slope" in means) == (steps == SHORTEST_FOR_SLOPE)


def test_the_prices_of_operations_are_those_that_the_metrics_were_checked_with() -> None:
    assert COST == (0, 0, 1, 1, 1, 2)


@pytest.mark.parametrize("values", [[3.0], [5.0, 3.0]])
def test_a_single_point_has_no_slope(values: list[float]) -> None:
    assert slope_of_second_half(torch.tensor(values)).item() == 0


@given(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=40))
def test_a_slope_is_that_of_numpys_line_through_the_second_half(values: list[float]) -> None:
    half = values[len(values) // 2 :]
    slope = slope_of_second_half(torch.tensor([values, values[::-1]], dtype=torch.float64))
    assert slope[0].item() == pytest.approx(np.polyfit(range(len(half)), half, 1)[0], rel=1e-6, abs=1e-6)


# --- memories that outlive a batch ------------------------------------------------------------------------------------


def built(tmp_path: Path, base: str) -> tuple[loop.Pack, Splits]:
    """A pack of the lifecycle preset, untrained, with its data."""
    params = read_lifecycle(tmp_path)
    cell = next(cell for cell in plan.cells(params) if cell.base.endswith(base))
    track = params.experiments[cell.experiment].tracks[cell.track]
    return loop.build_pack(specs.resolve(params, cell)), specs.task_config(track, "params", "here").build(1)


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
    key = seeding.noise_key(pack.seeds, loop.EVALUATION_STEP)
    sums, state = torch.zeros(2, dtype=torch.float64), None
    pack.model.eval()
    for start in (0, 16):
        rows = slice(start, start + 16)
        extras = {name: value[rows].expand(2, -1) for name, value in splits.test.extras.items()}
        batch = Batch(splits.test.inputs[rows].expand(2, -1, -1), key + start, extras)
        output = pack.model(batch, pack.hyper, narrowed(state, batch.inputs.shape[1]))
        found = scores(output.logits, splits.test.targets[rows].expand(2, -1), "class")
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


def weighting(seed: int, heads: int = 2, steps: int = 5) -> torch.Tensor:
    """(R, B, T, H, N), non-negative, sums to at most 1; sharp, so that slots are written or not."""
    generator = torch.Generator().manual_seed(seed)
    weights = (4 * torch.randn(RUNS, SIZE, steps, heads, SLOTS, generator=generator, dtype=torch.float64)).softmax(-1)
    return weights * torch.rand(RUNS, SIZE, steps, heads, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("heads", [1, 3])
def test_a_slot_is_written_if_it_has_more_likely_than_not_been_written_once(seed: int, heads: int) -> None:
    weights = weighting(seed, heads)
    found = slots_written(weights)
    assert found.shape == (RUNS, SIZE, SLOTS)
    for index in np.ndindex(RUNS, SIZE, SLOTS):
        run, example, slot = index
        untouched = 1.0
        for step in range(5):
            for head in range(heads):
                untouched *= 1 - float(weights[run, example, step, head, slot])
        assert bool(found[index]) == (untouched < 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_soft_memories_have_means_of_slots_written_and_of_the_largest_weights_read(seed: int) -> None:
    writes, reads = weighting(seed, 1), weighting(seed + 10, 2)
    trace = MemoryTrace(read_weighting=reads.float(), write_weighting=writes.float(), usage_steps=writes[..., 0, :])
    means = memory_means(trace, Batch(torch.zeros(RUNS, SIZE, 5), torch.zeros(RUNS), {}))
    assert means.keys() == {"slots_written", "read_focus"}
    for run in range(RUNS):
        written = [
            float(1 - np.prod(1 - writes[run, b, :, 0, n].numpy())) > 0.5 for b in range(SIZE) for n in range(SLOTS)
        ]
        focus = [max(reads[run, b, t, h].tolist()) for b in range(SIZE) for t in range(5) for h in range(2)]
        assert means["slots_written"][run].item() == pytest.approx(np.mean(written))
        assert means["read_focus"][run].item() == pytest.approx(np.mean(focus), rel=1e-6)
        assert means["read_focus"].dtype == means["slots_written"].dtype == torch.float64


def test_slots_that_are_hardly_written_are_not_and_one_that_is_surely_written_is() -> None:
    weights = torch.zeros(1, 1, 4, 1, 3)
    weights[..., 1] = 0.15  # 1 - .85⁴ = .48
    weights[:, :, 2, :, 2] = 1
    assert slots_written(weights).tolist() == [[[False, False, True]]]


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


def of_sequences(directory: Path, base: str, **training: Any) -> tuple[loop.Pack, Splits]:
    """A pack of two seeds of the preset of sequences, and its data."""
    params = read_sequences(directory, **training)
    (cell,) = (cell for cell in plan.cells(params) if cell.base.endswith(base))
    pack = loop.build_pack(specs.resolve(params, cell))
    config = {key: value for key, value in pack.specs[0].task.items() if key not in ("name", "seed")}
    return pack, tasks.load(pack.specs[0].task["name"]).Config.model_validate(config).build(1)


def one_by_one(pack: loop.Pack, examples: Examples, control: Any) -> dict[str, list[list[float]]]:
    """Scores of every example alone and without padding: a list of values for each run."""
    found: dict[str, list[list[float]]] = {}
    pack.model.eval()
    for row, length in enumerate(examples.extras["length"].tolist()):
        alone = examples.rows(slice(row, row + 1), length)
        batch = Batch(alone.inputs.expand(2, 1, -1), pack.seeds, {}, control)
        with torch.no_grad():
            output = pack.model(batch, pack.hyper)
        of_example = pack.task.score(output.logits, alone._replace(targets=alone.targets.expand(2, 1, -1)))
        for name, value in of_example.items():
            for run in range(2):
                found.setdefault(name, [[], []])[run].append(float(value[run, 0]))
        if output.trace.read_weighting is not None:
            focus = output.trace.read_weighting.amax(-1).mean((1, 2, 3))
            for run in range(2):
                found.setdefault("read_focus", [[], []])[run].append(float(focus[run]))
    pack.model.train()
    return found


@pytest.mark.parametrize("base", ["copy/track=repaired/model=ntm", "mqar/track=repaired/model=lstm"])
@pytest.mark.parametrize("by_slice", [True, False])
def test_evaluation_of_sequences_is_what_looking_at_each_alone_gives(tmp_path: Path, base: str, by_slice: bool) -> None:
    """In batches of 3, of examples of which 4 are as long as each other."""
    pack, splits = of_sequences(tmp_path, base, batch_size=3)
    measured = loop.evaluate_pack(pack, splits.test, ("on", "off"), by_slice=by_slice)
    kinds = splits.test.extras["slice"].tolist()
    assert pack.model.training
    for control, metrics in measured.items():
        alone = one_by_one(pack, splits.test, control)
        expected = {name: [np.mean(values) for values in of_runs] for name, of_runs in alone.items()}
        for kind in set(kinds) if by_slice else ():
            for name in ("loss", "accuracy", "sequence_accuracy"):
                of_kind = [[v for v, k in zip(values, kinds, strict=True) if k == kind] for values in alone[name]]
                expected[f"{name}_at_{kind}"] = [np.mean(values) for values in of_kind]
        assert set(metrics) == set(expected) | ({"slots_written"} if "ntm" in base else set())
        for name, values in expected.items():
            assert metrics[name].dtype == torch.float64, name
            assert metrics[name].tolist() == pytest.approx(values, rel=1e-4, abs=1e-6), name


def test_a_memory_that_is_off_says_something_else(tmp_path: Path) -> None:
    pack, splits = of_sequences(tmp_path, "copy/track=repaired/model=ntm")
    measured = loop.evaluate_pack(pack, splits.test, CONTROLS)
    losses = {control: metrics["loss"].tolist() for control, metrics in measured.items()}
    assert losses["random_writes"] == losses["on"]
    assert len({tuple(loss) for loss in losses.values()}) == 3


def test_difficulty_is_asked_for_in_vain_where_there_is_none(tmp_path: Path) -> None:
    pack, splits = built(tmp_path, EPISODIC)
    measured = loop.evaluate_pack(pack, splits.test, ["on"], by_slice=True)["on"]
    assert not [name for name in measured if "_at_" in name]


def test_the_order_of_the_examples_changes_no_score(tmp_path: Path) -> None:
    pack, splits = of_sequences(tmp_path, "copy/track=repaired/model=lstm", batch_size=5)
    turned = splits.test.rows(torch.arange(12).flip(0))
    one, other = (loop.evaluate_pack(pack, part, ["on"], by_slice=True)["on"] for part in (splits.test, turned))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-5, atol=1e-7)
