"""NeMA-LC: which gradients reach the controller, budgets, what memories and controls do, and what policies keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from palimpsest import models
from palimpsest.foundation.numbers import as_number
from palimpsest.foundation.sections import merge, per_run_fields
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import CONTROLS, Batch, ModelOutput, unbudgeted
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_whole
from palimpsest.planning.specs import check
from palimpsest.tasks import Examples, key_presence, key_value_stream
from palimpsest.training import loop, seeding
from palimpsest.training.evaluation import narrowed
from palimpsest.training.pack import build_pack
from tests.tasks.scored import mean_loss
from tests.training.presets import PROJECT

RULES = ("fifo", "lru", "least_used", "random_replacement")
"""Policies that write every chunk and differ in what they replace."""
POLICIES = (*RULES, "oracle_replacement")
EVERY = ("nema_lc", *POLICIES)
STREAM = key_value_stream.Config(num_pairs=12, num_keys=4, num_tagged=2, num_values=3, num_train=24)
PRESENCE = key_presence.Config(sequence_length=12, vocabulary=6, key=3, num_train=24)
SMALL: dict[str, Any] = {
    "width": 8,
    "num_heads": 2,
    "num_layers": 1,
    "feedforward": 8,
    "controller_hidden": 8,
    "use_memory": True,
    "num_slots": 4,
    "budget": 2,
}
REPAIRED: dict[str, Any] = {
    "dropout": 0.0,
    "utilisation_cap": 1.0,
    "memory": "episodic",
    "chunk": 2,
    "order": "write_read",
    "allocator": "requested",
    "straight_through": True,
    "losses": "probabilities",
    "read": "attention",
    "age_unit": 8.0,
    "write_bias": 1.0,
    "retain_offset": 1.0,
    "ageing": 1.0,
}
"""What the repaired reading sets otherwise than the published one, which is the defaults."""


def build(name: str, track: str, runs: int = 2, **changes: object) -> torch.nn.Module:
    """A small model of one track with the seeds 0, 1 and so on."""
    task = STREAM if track == "repaired" else PRESENCE
    content = {**SMALL, **task.interface(), **(REPAIRED if track == "repaired" else {}), **changes}
    model = models.load(name).Model(models.load(name).Config.model_validate(content), runs)
    reset_parameters(model, [seeding.generator(seed, "initialisation") for seed in range(runs)])
    return model


def examples(track: str) -> Examples:
    """The training split of the track's task."""
    return (STREAM if track == "repaired" else PRESENCE).build(0).train


def batch(track: str, runs: int = 2, *, first: int = 0, size: int = 6, step: int = 7) -> Batch:
    """Some examples of the task, the same for every run, in training step ``step``."""
    split, rows = examples(track), slice(first, first + size)
    extras = {key: value[rows].expand(runs, *value[rows].shape) for key, value in split.extras.items()}
    return Batch(split.inputs[rows].expand(runs, -1, -1), seeding.noise_key(torch.arange(runs), step), extras)


def hyper_of(model: torch.nn.Module, runs: int) -> dict[str, Tensor]:
    """The model's own per-run hyper-parameters."""
    config = model.config
    values = {name: as_number(type(config), name, getattr(config, name)) for name in per_run_fields(type(config))}
    return {name: torch.full((runs,), float(value)) for name, value in values.items()}


def run(model: torch.nn.Module, given: Batch, state: Any = None) -> ModelOutput:
    """Forward pass with the model's own hyper-parameters."""
    return model(given, hyper_of(model, len(given.inputs)), state)


def executed(operations: Tensor) -> Tensor:
    """Operations of every step, counted slot by slot: updates, writes and forgets are one, a replacement is two."""
    price = {"free": 0, "retained": 0, "updated": 1, "written": 1, "forgotten": 1, "replaced": 2}
    counts = torch.zeros(operations.shape[:-1], dtype=torch.int64)
    for code, cost in enumerate(price.values()):
        counts += cost * (operations == code).sum(-1)
    return counts


# --- gradients --------------------------------------------------------------------------------------------------------


def gradients_of_the_task(track: str, **changes: object) -> dict[str, Tensor | None]:
    """Gradient of the mean cross-entropy, without any auxiliary loss, by parameter."""
    model, size = build("nema_lc", track, **changes), 24
    targets = examples(track).targets[:size].expand(2, -1, -1)
    mean_loss(run(model, batch(track, size=size)).logits, targets).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def reached(gradient: Tensor | None) -> bool:
    """Whether every run's part of a parameter has a gradient that is not zero."""
    return gradient is not None and bool((gradient.flatten(1).abs().sum(1) > 0).all())


CONTROLLER = {"of_context", "of_slot", "hidden", "action", "write_hidden", "write_logit"}


@pytest.mark.parametrize("exploration_steps", [0, 20])
@pytest.mark.parametrize("retain_offset", [0.0, 3.0])
def test_on_the_repaired_track_the_task_loss_alone_reaches_the_whole_controller(
    exploration_steps: int, retain_offset: float
) -> None:
    gradients = gradients_of_the_task("repaired", exploration_steps=exploration_steps, retain_offset=retain_offset)
    assert {name.split(".")[1] for name in gradients if name.startswith("controller.")} == CONTROLLER
    missed = {name for name, gradient in gradients.items() if not reached(gradient)}
    assert {name for name in missed if not name.startswith("update_gate.")} == set()


def test_where_slots_are_updated_the_task_loss_alone_reaches_every_parameter() -> None:
    gradients = gradients_of_the_task("repaired", update_offset=2.0)
    assert {name for name, gradient in gradients.items() if not reached(gradient)} == set()


@pytest.mark.parametrize("read", ["sigmoid", "attention"])
def test_a_controller_that_writes_nothing_still_hears_what_writing_would_have_been_worth(read: str) -> None:
    gradients = gradients_of_the_task("repaired", write_threshold=0.999, read=read)
    write = {name: gradient for name, gradient in gradients.items() if name.startswith("controller.write_")}
    assert len(write) == 4
    assert all(reached(gradient) for gradient in write.values())


@pytest.mark.parametrize("memory", ["persistent", "episodic"])
@pytest.mark.parametrize("num_slots", [2, 8])
def test_on_the_published_track_no_loss_reaches_the_controller(memory: str, num_slots: int) -> None:
    model = build("nema_lc", "published", memory=memory, num_slots=num_slots)
    outputs, state = [], None
    for first in (0, 6, 12):
        outputs.append(run(model, batch("published", first=first), state))
        state = narrowed(outputs[-1].state, 6)
    assert all(not loss.requires_grad for output in outputs for loss in output.losses.values())
    sum(output.logits.square().sum() for output in outputs).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all((gradient is None) == name.startswith("controller.") for name, gradient in gradients.items())


@pytest.mark.parametrize("term", ["write", "forget", "stability"])
def test_on_the_repaired_track_every_lifecycle_loss_reaches_its_part_of_the_controller(term: str) -> None:
    model = build("nema_lc", "repaired")
    run(model, batch("repaired")).losses[term].sum().backward()
    of = "controller.write_logit.weight" if term == "write" else "controller.action.weight"
    assert reached(dict(model.named_parameters())[of].grad)


# --- runs that are the same by construction ---------------------------------------------------------------------------

TINY: dict[str, Any] = {
    "width": 8, "num_heads": 2, "num_layers": 1, "feedforward": 8, "controller_hidden": 8, "num_slots": 8,
}  # fmt: skip


def trained_as_published(grid: dict[str, Any], steps: int = 3, **shared: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters of every run of a grid after two epochs of a few steps, and all metrics under every control.

    The track is the published one of the default preset, but for sizes.
    """
    whole = read_whole(PROJECT / "params/default.yaml").experiments["nema_lc"].model_dump(mode="json")
    sizes = {"sequence_length": 16, "num_train": 32 * steps, "num_validation": 8, "num_test": 64}
    track = merge(whole["tracks"]["published"], {"task": {"config": sizes}, "shared": {**TINY, **shared}})
    experiment = {**whole, "tracks": {"published": {**track, "grids": {"one": grid}}}}
    preset = Params.model_validate({"preset": "smoke", "seeds": [0, 1], "experiments": {"nema_lc": experiment}})
    pack = build_pack([spec for cell in check(preset).values() for spec in cell])
    splits = key_presence.Config.model_validate({**track["task"]["config"]}).build(1)
    for epoch in range(2):
        loop.train_epoch(pack, splits.train, epoch)
    found = loop.evaluate_pack(pack, splits.test, list(CONTROLS))
    metrics = [value for of_control in found.values() for value in of_control.values()]
    return [value.detach() for value in pack.model.parameters()], metrics


def test_as_published_an_ablation_changes_no_bit_of_what_is_trained() -> None:
    """No gradient of a lifecycle loss reaches a parameter, so that leaving one out changes nothing."""
    ablations = ["none", "write", "forget", "stability"]
    parameters, metrics = trained_as_published({"model": "nema_lc", "axes": {"ablation": ablations}})
    assert len(parameters[0]) == 2 * len(ablations)
    for value in (*parameters, *metrics):
        for other in value[2:].unflatten(0, (-1, 2)):
            torch.testing.assert_close(other, value[:2], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("rule", RULES[1:])
def test_as_published_rules_of_replacement_are_the_same_run_while_the_memory_has_room(rule: str) -> None:
    """They differ in the slot that they give up, and no slot is given up before the cap is reached."""
    for mine, other in zip(trained_as_published({"model": rule}), trained_as_published({"model": "fifo"}), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0, equal_nan=True)


def test_as_published_rules_of_replacement_differ_once_a_memory_is_full() -> None:
    rules = ("fifo", "random_replacement")
    (first, *_), (second, *_) = (trained_as_published({"model": rule}, 6, num_slots=3)[0] for rule in rules)
    assert not torch.equal(first, second)


# --- budget -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    name=st.sampled_from(EVERY),
    track=st.sampled_from(["published", "repaired"]),
    training=st.booleans(),
    control=st.sampled_from(CONTROLS),
    num_slots=st.integers(1, 7),
    budget=st.integers(1, 5),
    cap=st.sampled_from([0.3, 0.7, 1.0]),
    seed=st.integers(0, 99),
    offset=st.sampled_from([-3.0, 0.0, 3.0]),
)
@example("nema_lc", "repaired", True, "on", 4, 1, 1.0, 0, -3.0)
@example("nema_lc", "published", True, "on", 2, 1, 1.0, 0, 0.0)
def test_no_step_executes_more_operations_than_the_budget(
    name: str,
    track: str,
    training: bool,
    control: models.Control,
    num_slots: int,
    budget: int,
    cap: float,
    seed: int,
    offset: float,
) -> None:
    """Over three batches, so that a persistent memory fills up; a low offset of retaining makes slots ask for more."""
    changes: dict[str, object] = {"num_slots": num_slots, "budget": budget, "utilisation_cap": cap}
    model = build(name, track, 1, **changes, retain_offset=offset, exploration_steps=20).train(training)
    reset_parameters(model, [seeding.generator(seed, "initialisation")])
    state = None
    for first in (0, 6, 12):
        output = run(model, batch(track, 1, first=first, step=first)._replace(control=control), state)
        state = narrowed(output.state, 6) if model.carries_state else None
        trace = output.trace
        counts = executed(trace.operations)
        assert counts.max() <= budget
        assert not trace.over_budget.any()
        assert (trace.alive.sum(-1) <= num_slots).all()
        if name != "nema_lc" or track == "repaired":
            assert (trace.utilisation <= cap + 1e-6).all()


# --- memories -----------------------------------------------------------------------------------------------------


def test_with_an_episodic_memory_as_published_every_read_is_empty() -> None:
    model = build("nema_lc", "published", memory="episodic").eval()
    outputs = {control: run(model, batch("published")._replace(control=control)) for control in CONTROLS}
    assert not outputs["on"].trace.read_weights.any()
    assert outputs["on"].trace.operations.any()
    for control, output in outputs.items():
        assert torch.equal(output.logits, outputs["on"].logits), control
    assert not model.carries_state


def test_a_persistent_memory_carries_what_it_holds_into_the_next_batch() -> None:
    model = build("nema_lc", "published").eval()
    first = run(model, batch("published"))
    assert model.carries_state
    fresh = run(model, batch("published", first=6))
    carried = run(model, batch("published", first=6), narrowed(first.state, 6))
    assert first.trace.alive.any()
    assert not fresh.trace.read_weights.any()
    assert carried.trace.read_weights.any()
    assert not torch.equal(carried.logits, fresh.logits)


@pytest.mark.parametrize("name", EVERY)
def test_a_last_batch_may_be_smaller(name: str) -> None:
    """Its examples go on with the memories of the first ones of the batch before, and with no others."""
    model = build(name, "published").eval()
    state = run(model, batch("published")).state
    given = batch("published", first=6)
    small = Batch(given.inputs[:, :2], given.noise_key, {k: v[:, :2] for k, v in given.extras.items()})
    whole, part = run(model, given, narrowed(state, 6)), run(model, small, narrowed(state, 2))
    assert part.logits.shape == (2, 2, 1, 2)
    assert part.state.slots.shape[:2] == (2, 2)
    if name != "random_replacement":  # what it draws depends on the size of the batch
        torch.testing.assert_close(part.logits, whole.logits[:, :2])
        assert torch.equal(part.trace.operations, whole.trace.operations[:, :2])


def test_a_run_alone_has_the_bits_of_a_pack_over_batches_with_a_carried_memory() -> None:
    pack, alone = build("nema_lc", "published", 3), build("nema_lc", "published", 1)
    with torch.no_grad():
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            mine.copy_(theirs[2:])
    states: list[Any] = [None, None]
    for step in range(4):
        whole = batch("published", 3, first=6 * (step % 3), step=step)
        part = Batch(whole.inputs[2:], whole.noise_key[2:], {key: value[2:] for key, value in whole.extras.items()})
        together, single = run(pack, whole, states[0]), run(alone, part, states[1])
        assert torch.equal(together.logits[2], single.logits[0])
        states = [narrowed(output.state, 6) for output in (together, single)]
    for mine, theirs in zip(states[1], states[0], strict=True):
        assert torch.equal(mine[0], theirs[2]) if isinstance(mine, Tensor) else mine == theirs


@pytest.mark.parametrize("track", ["published", "repaired"])
@pytest.mark.parametrize("name", EVERY)
def test_without_a_memory_there_are_none_of_its_parameters_and_nothing_to_trace(name: str, track: str) -> None:
    model = build(name, track, use_memory=False)
    assert {parameter.split(".")[0] for parameter, _ in model.named_parameters()} == {"encoder", "classifier"}
    assert (model.loss_weights, model.carries_state) == ({}, False)
    outputs = [run(model, batch(track)._replace(control=control)) for control in CONTROLS]
    for output in outputs:
        assert (output.losses, output.trace.present(), output.state) == ({}, {}, None)
        assert torch.equal(output.logits, outputs[0].logits)


# --- controls -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("track", ["published", "repaired"])
@pytest.mark.parametrize("name", EVERY)
def test_a_memory_that_is_off_is_a_net_that_reads_nothing(name: str, track: str) -> None:
    """The same encoder and classifier without a memory give the same answers."""
    model, without = build(name, track).eval(), build(name, track, use_memory=False).eval()
    without.load_state_dict({key: value for key, value in model.state_dict().items() if key in without.state_dict()})
    state = run(model, batch(track, first=6)).state if model.carries_state else None
    given = batch(track)
    on = run(model, given, state)
    off = run(model, given._replace(control="off"), state)
    assert not torch.equal(on.logits, off.logits)
    assert not off.trace.read_weights.any()
    torch.testing.assert_close(off.logits, run(without, given).logits, rtol=0, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_shuffling_swaps_the_memories_of_the_examples(name: str) -> None:
    model, given = build(name, "repaired").eval(), batch("repaired")
    shuffled = run(model, given._replace(control="shuffled"))
    assert not torch.equal(run(model, given).logits, shuffled.logits)
    # The last chunk asks and is not remembered: put every example's memory behind its neighbour's question.
    moved = torch.cat([given.inputs.roll(1, 1)[..., :-2], given.inputs[..., -2:]], -1)
    extras = {key: value.roll(1, 1) for key, value in given.extras.items()}
    if name != "random_replacement":  # what it draws depends on the place in the batch
        swapped = run(model, given._replace(inputs=moved, extras=extras))
        torch.testing.assert_close(shuffled.logits, swapped.logits)
    same = given._replace(inputs=given.inputs[:, :1].expand(-1, 6, -1), control="shuffled")
    same = same._replace(
        extras={key: value[:, :1].expand(-1, 6, *value.shape[2:]) for key, value in given.extras.items()}
    )
    if name != "random_replacement":
        torch.testing.assert_close(run(model, same).logits, run(model, same._replace(control="on")).logits)


def test_random_writes_keep_the_number_of_requested_writes() -> None:
    model = build("nema_lc", "repaired", write_threshold=0.74).eval()
    on, moved = (run(model, batch("repaired")._replace(control=control)) for control in ("on", "random_writes"))
    requested = [output.trace.write_gate > 0.74 for output in (on, moved)]
    assert 0 < requested[0].sum() < requested[0].numel()
    assert torch.equal(requested[0].sum(-1), requested[1].sum(-1))
    assert not torch.equal(*requested)
    torch.testing.assert_close(on.trace.write_gate.sort(-1).values, moved.trace.write_gate.sort(-1).values)


@pytest.mark.parametrize("track", ["published", "repaired"])
@pytest.mark.parametrize("name", EVERY)
def test_an_evaluation_neither_explores_nor_draws(name: str, track: str) -> None:
    model = build(name, track, exploration_steps=1000)
    drawn = [run(model, batch(track, step=step)) for step in (1, 2)]
    steady = [run(model.eval(), batch(track, step=step)) for step in (1, 2)]
    if name != "random_replacement":
        assert torch.equal(steady[0].logits, steady[1].logits)
        assert torch.equal(steady[0].trace.operations, steady[1].trace.operations)
        assert torch.equal(run(build(name, track).eval(), batch(track)).logits, steady[0].logits)
    if (name, track) == ("nema_lc", "repaired"):
        assert not torch.equal(drawn[0].trace.slot_time, drawn[1].trace.slot_time)


def test_exploration_ends_with_its_last_step() -> None:
    """From then on a training step does what it does in a model that never explores."""
    model, never = (build("nema_lc", "repaired", exploration_steps=steps) for steps in (50, 0))
    for step, alike in ((0, False), (50, True), (51, True)):
        outputs = [run(one, batch("repaired", step=step)) for one in (model, never)]
        assert torch.equal(outputs[0].trace.operations, outputs[1].trace.operations) == alike, step


def test_the_first_training_step_tries_to_write_every_chunk() -> None:
    model = build("nema_lc", "repaired", exploration_steps=50, write_threshold=0.999)
    assert not run(model.eval(), batch("repaired", step=0)).trace.writes.any()
    writes = run(model.train(), batch("repaired", step=0)).trace.writes
    assert (writes[..., :-1] > 0.5).all()  # the last chunk asks
    assert not writes[..., -1].any()


# --- losses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("track", ["published", "repaired"])
@pytest.mark.parametrize("ablation", ["none", "write", "forget", "stability"])
def test_an_ablation_leaves_one_loss_out_of_the_objective_and_still_reports_it(track: str, ablation: str) -> None:
    terms = {"write": "lambda_write", "forget": "lambda_forget", "stability": "lambda_stability"}
    model = build("nema_lc", track, ablation=ablation)
    output = run(model, batch(track))
    weights = models.loss_weights(model, hyper_of(model, 2))
    for term, name in terms.items():
        expected = 0.0 if term == ablation else getattr(model.config, name)
        assert weights[term].tolist() == pytest.approx([expected] * 2)
    assert set(output.losses) == set(terms)
    whole = run(build("nema_lc", track), batch(track))
    assert torch.equal(output.logits, whole.logits)
    assert all(torch.equal(output.losses[term], whole.losses[term]) for term in terms)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_charged_nothing(name: str) -> None:
    assert build(name, "repaired").loss_weights == {}


# --- policies -----------------------------------------------------------------------------------------------------


def kept_steps(output: ModelOutput) -> list[list[list[int]]]:
    """Sorted memory steps that the living slots hold, by run and example."""
    pairs = zip(output.trace.slot_time.tolist(), output.trace.alive.tolist(), strict=True)
    return [
        [sorted(time for time, alive in zip(*slots, strict=True) if alive) for slots in zip(*one, strict=True)]
        for one in pairs
    ]


@pytest.mark.parametrize(("num_slots", "cap", "holds"), [(1, 1.0, 1), (4, 1.0, 4), (5, 0.7, 3), (12, 1.0, 12)])
def test_fifo_keeps_the_last_chunks(num_slots: int, cap: float, holds: int) -> None:
    model = build("fifo", "repaired", num_slots=num_slots, utilisation_cap=cap).eval()
    output = run(model, batch("repaired"))
    assert kept_steps(output) == [[[*range(12 - holds, 12)]] * 6] * 2
    assert output.trace.writes[..., :-1].all()


@pytest.mark.parametrize("num_slots", [1, 3, 4, 12])
def test_the_answers_that_fifo_keeps_are_those_among_the_last_pairs(num_slots: int) -> None:
    split, given = examples("repaired"), batch("repaired", size=24)
    means = run(build("fifo", "repaired", num_slots=num_slots).eval(), given).log
    kept = 0
    for tokens in split.inputs.tolist():
        pairs, asked = list(zip(tokens[:-2:2], tokens[1:-2:2], strict=True)), tokens[-2] - STREAM.num_keys
        kept += asked in [key for key, _ in pairs[-num_slots:]]
    assert means["answer_kept"].tolist() == [kept / 24] * 2
    assert means["answer_written"].tolist() == [1, 1]


def test_without_the_budget_for_two_operations_a_full_memory_stays_as_it_is() -> None:
    output = run(build("fifo", "repaired", budget=1).eval(), batch("repaired"))
    assert output.trace.writes[..., :4].all()
    assert (executed(output.trace.operations) <= 1).all()


@pytest.mark.parametrize("num_slots", [1, 2, 4])
def test_a_queue_of_tagged_pairs_writes_these_and_holds_the_last_of_them(num_slots: int) -> None:
    output = run(build("tagged_queue", "repaired", num_slots=num_slots).eval(), batch("repaired", size=24))
    tagged = [
        [place for place, key in enumerate(row[:-2:2]) if key >= STREAM.num_keys]
        for row in examples("repaired").inputs.tolist()
    ]
    assert kept_steps(output) == [[steps[-num_slots:] for steps in tagged]] * 2
    assert output.trace.writes.sum(-1).tolist() == [[len(steps) for steps in tagged]] * 2


def test_a_queue_of_tagged_pairs_looks_at_tags_alone() -> None:
    given = batch("repaired")
    blind = given._replace(extras={"tagged": given.extras["tagged"]})
    model = build("tagged_queue", "repaired").eval()
    assert torch.equal(run(model, given).logits, run(model, blind).logits)


def test_a_queue_without_a_budget_keeps_every_chunk_and_needs_no_operation_beside_the_write() -> None:
    output = run(build("unbudgeted", "repaired", num_slots=12, budget=1).eval(), batch("repaired"))
    assert kept_steps(output) == [[[*range(12)]] * 6] * 2
    assert torch.equal(executed(output.trace.operations), output.trace.writes.long())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_slots": 11}, "num_slots 11, of which 1 may be used, cannot keep 12 memory steps; allowed: as many"),
        ({"num_slots": 16, "utilisation_cap": 0.7}, "num_slots 16, of which 0.7 may be used, cannot keep 12 memory"),
        ({"num_slots": 12, "memory": "persistent"}, "memory 'persistent' becomes full in time; allowed: episodic"),
    ],
)
def test_a_queue_without_a_budget_is_refused_where_it_would_become_full(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        unbudgeted.Config.model_validate({**SMALL, **STREAM.interface(), **REPAIRED, **changes})


def test_the_oracle_writes_the_chunk_that_answers_and_no_other() -> None:
    given = batch("repaired", size=24)
    output = run(build("oracle_replacement", "repaired").eval(), given)
    answer = given.extras["answer_position"] // 2
    expected = torch.nn.functional.one_hot(answer, 13).to(output.trace.writes.dtype)
    assert torch.equal(output.trace.writes, expected)
    assert kept_steps(output) == [[[step] for step in steps] for steps in answer.tolist()]
    means = output.log
    assert means["answer_kept"].tolist() == means["answer_written"].tolist() == [1, 1]


def test_the_oracle_writes_nothing_where_no_token_answers() -> None:
    given = batch("repaired")
    output = run(
        build("oracle_replacement", "repaired"),
        given._replace(extras={"answer_position": -given.extras["answer_position"].clamp(1, 1)}),
    )
    assert not output.trace.writes.any()
    assert not output.trace.alive.any()


def test_with_a_persistent_memory_the_oracle_writes_in_every_batch_what_answers_there() -> None:
    model, state = build("oracle_replacement", "published", num_slots=8, utilisation_cap=1.0).eval(), None
    for first in (0, 6, 12):
        given = batch("published", first=first)
        output = run(model, given, state)
        assert torch.equal(output.trace.writes.squeeze(-1) > 0.5, given.extras["answer_position"] >= 0)
        state = narrowed(output.state, 6)


@pytest.mark.parametrize("name", ["fifo", "lru"])
def test_with_a_persistent_memory_an_answer_is_kept_if_the_last_write_is_of_this_batch(name: str) -> None:
    """A policy that writes every sequence keeps the latest: all answers there are, in the first batch and the third."""
    model, state = build(name, "published", num_slots=2, utilisation_cap=1.0).eval(), None
    for first in (0, 6, 12):
        given = batch("published", first=first)
        output = run(model, given, state)
        answered = (given.extras["answer_position"] >= 0).double().mean(1)
        means = output.log
        assert torch.equal(means["answer_kept"], answered)
        assert torch.equal(means["answer_written"], answered)
        state = narrowed(output.state, 6)


@pytest.mark.parametrize("name", POLICIES)
def test_policies_do_not_ask_the_controller(name: str) -> None:
    model, other = build(name, "repaired").eval(), build(name, "repaired").eval()
    with torch.no_grad():
        for parameter, value in other.named_parameters():
            if parameter.startswith("controller."):
                value.fill_(9.0)
    assert torch.equal(run(model, batch("repaired")).logits, run(other, batch("repaired")).logits)


def test_policies_differ_in_what_they_keep() -> None:
    kept = {name: kept_steps(run(build(name, "repaired").eval(), batch("repaired", size=24))) for name in POLICIES}
    assert len({str(steps) for steps in kept.values()}) == len(POLICIES)


def test_random_replacement_draws_by_run_and_step() -> None:
    model = build("random_replacement", "repaired").eval()
    outputs = [kept_steps(run(model, batch("repaired", step=step))) for step in (1, 2)]
    assert outputs[0] != outputs[1]
    assert outputs[0][0] != outputs[0][1]
    assert outputs[0] == kept_steps(run(model, batch("repaired", step=1)))


# --- parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk": 5}, "chunk 5 does not cut a sequence of 26; allowed: a divisor of it"),
        ({"chunk": 26}, "order 'write_read' with chunk 26; allowed there: shorter than the sequence"),
        ({"chunk": None}, "order 'write_read' with chunk None; allowed there: shorter than the sequence"),
        ({"allocator": "ranked"}, "straight_through with allocator 'ranked'; allowed there: false"),
        ({"budget": 0}, "greater than or equal to 1"),
        ({"num_slots": 0}, "greater than or equal to 1"),
        ({"utilisation_cap": 0.0}, "greater than 0"),
        ({"utilisation_cap": 1.1}, "less than or equal to 1"),
        ({"write_threshold": 1.0}, "less than 1"),
        ({"lambda_forget": -0.1}, "greater than or equal to 0"),
        ({"exploration_steps": -1}, "greater than or equal to 0"),
        ({"ablation": "read"}, "'none', 'write', 'forget' or 'stability'"),
        ({"memory": "per_example"}, "'persistent' or 'episodic'"),
    ],
)
def test_bad_parameters_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build("nema_lc", "repaired", **changes)
