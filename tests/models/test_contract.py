"""Every model keeps the contract: shapes, gradients, chunks, independence of a run from its company, seeds, keys.

Encoders are walked over tasks that ask once, the others over tasks that ask at every step; that every model runs on
every task is held by test_matrix.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from palimpsest import models
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.numbers import as_number
from palimpsest.foundation.sections import Section, checked, per_run_fields
from palimpsest.layers.encoding import SequenceConfig
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.transformer import EncoderConfig
from palimpsest.memory.control import Control
from palimpsest.memory.stepwise import Watch
from palimpsest.memory.stepwise_trace import look
from palimpsest.models import (
    CONTROLS,
    Batch,
    ModelOutput,
    full_attention,
    nema_lc,
    nema_lite,
    no_memory,
    unbudgeted,
    window_only,
)
from palimpsest.models.shared.recurrent import RecurrentModel
from palimpsest.tasks import copy, delayed_qa, mqar
from palimpsest.training import seeding

SIZES = {"num_train": 8, "num_validation": 8, "num_test": 8}
TASKS: dict[str, Any] = {
    "published": delayed_qa.Config(sequence_length=16, **SIZES),
    "repaired": delayed_qa.Config(sequence_length=16, question="flag", **SIZES),
    "bits": copy.Config(bits=3, min_length=2, max_length=5, test_lengths=(5,), **SIZES),
    "classes": mqar.Config(vocabulary=10, train_settings=((12, 2),), test_settings=((12, 2),), **SIZES),
}
"""What models are tried on: one task under the two readings of a source, and sequences of either kind."""
TRACKS = ("published", "repaired")
SEQUENCES = ("bits", "classes")
SMALL = {
    "width": 8,
    "num_heads": 2,
    "feedforward": 8,
    "gate_hidden": 8,
    "use_memory": True,
    "num_slots": 4,
    "budget": 2,
    "controller_hidden": 8,
}
"""Sizes for every model that has them, whatever the task."""
REPAIRED: dict[type[Section], dict[str, object]] = {
    SequenceConfig: {"segment": 4, "hidden": 6, "slot_dim": 4, "num_read_heads": 2},
    EncoderConfig: {"straight_through": True},
    no_memory.Config: {"segment": 4},
    window_only.Config: {"window": 3, "segment": None},
    full_attention.Config: {"segment": None},
    nema_lite.Config: {
        "memory": "per_example",
        "read": "sigmoid",
        "segment": 4,
        "write_context": 1,
        "capacity": 16,
    },
    nema_lc.Config: {
        "memory": "episodic",
        "read": "attention",
        "chunk": 2,
        "order": "write_read",
        "allocator": "requested",
        "losses": "probabilities",
        "utilisation_cap": 1.0,
        "age_unit": 8.0,
        "write_bias": 1.0,
        "exploration_steps": 20,
    },
}
"""Sizes and the repaired reading of each kind of model; its own values replace those of its kind."""
PUBLISHED: dict[type[Section], dict[str, object]] = {window_only.Config: {"window": 3, "cls_position": 15}}


def is_of_sequences(name: str) -> bool:
    """Whether a model is walked over tasks that ask at every step; encoders are walked over those that ask once."""
    return not issubclass(models.load(name).Config, EncoderConfig)


def is_recurrent(name: str) -> bool:
    """Whether a model goes step by step over its tokens and writes nothing at random."""
    return issubclass(models.load(name).Model, RecurrentModel)


def build(name: str, track: str, runs: int = 2, **changes: object) -> Any:
    """A small model for one task with the seeds 0, 1 and so on; keys that its kind does not have are left out."""
    config_class = models.load(name).Config
    content: dict[str, object] = {**SMALL, **TASKS[track].interface()}
    for kind, parts in (PUBLISHED if track == "published" else REPAIRED).items():
        content |= parts if issubclass(config_class, kind) else {}
    content = {key: value for key, value in {**content, **changes}.items() if key in config_class.model_fields}
    if issubclass(config_class, unbudgeted.Config):
        content["num_slots"] = 16  # as many as memory steps, or it is refused
    model = models.load(name).Model(config_class(**content), runs)
    reset_parameters(model, [seeding.generator(seed, "initialisation") for seed in range(runs)])
    return model


def hyper(model: Any, runs: int) -> dict[str, Tensor]:
    """Per-run hyper-parameters as the configuration has them."""
    config = model.config
    return {
        name: torch.full((runs,), float(as_number(type(config), name, getattr(config, name))))
        for name in per_run_fields(type(config))
    }


def batch(track: str, runs: int = 2, size: int = 3) -> Batch:
    """The first examples of the task, the same for every run."""
    split = TASKS[track].build(0).train
    extras = {key: value[:size].expand(runs, *value[:size].shape) for key, value in split.extras.items()}
    extras["tagged"] = split.inputs[:size].expand(runs, -1, -1) % 2  # these tasks have no tags; a rule may need some
    key = seeding.noise_key(torch.arange(runs), 7)
    return Batch(split.inputs[:size].expand(runs, -1, -1), key, extras)


def run(model: torch.nn.Module, given: Batch) -> ModelOutput:
    """Forward pass with the model's own hyper-parameters."""
    return model(given, hyper(model, given.inputs.shape[0]))


def objective(output: ModelOutput) -> Tensor:
    """Any smooth number that depends on all outputs of a model."""
    return output.logits.square().sum() + sum(loss.sum() for loss in output.losses.values())


EVERY = [(name, track) for name in models.names() for track in (SEQUENCES if is_of_sequences(name) else TRACKS)]


@pytest.mark.parametrize("name", models.names())
def test_default_config_builds_for_a_task(name: str) -> None:
    config_class = models.load(name).Config
    task = copy.Config() if is_of_sequences(name) else delayed_qa.Config(question="flag")
    interface = {key: value for key, value in task.interface().items() if key in config_class.model_fields}
    model = models.load(name).Model(config_class(**interface), 1)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0


@pytest.mark.parametrize(("name", "track"), EVERY)
@pytest.mark.parametrize("training", [True, False])
def test_shapes(name: str, track: str, training: bool) -> None:
    given, interface = batch(track)._replace(watch=look), TASKS[track].interface()
    output = run(build(name, track).train(training), given)
    steps = given.inputs.shape[2] if is_of_sequences(name) else 1
    assert output.logits.shape == (2, 3, steps, interface["num_outputs"])
    assert all(loss.shape == (2,) for loss in output.losses.values())
    for field, value in output.trace.present().items():
        assert value.shape[:2] == (2, 3), field


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_a_model_is_told_all_that_its_kind_of_task_has_to_tell(name: str, track: str) -> None:
    assert set(TASKS[track].interface()) <= set(models.load(name).Config.model_fields)


@pytest.mark.parametrize(("name", "track"), EVERY)
@pytest.mark.parametrize("control", CONTROLS)
def test_gradients_are_finite_whatever_is_done_to_the_memory(name: str, track: str, control: str) -> None:
    model = build(name, track)
    output = run(model, batch(track)._replace(control=control))
    objective(output).backward()
    assert all_finite(model)


def all_finite(model: torch.nn.Module) -> bool:
    """Whether there are gradients, and all that there are are finite."""
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return bool(found) and all(bool(torch.isfinite(gradient).all()) for gradient in found)


@pytest.mark.parametrize(("name", "track"), EVERY)
@pytest.mark.parametrize("training", [True, False])
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(name: str, track: str, training: bool) -> None:
    pack, whole = build(name, track, runs=5).train(training), batch(track, runs=5)
    together = run(pack, whole)
    objective(together).backward()
    for position in (0, 1, 4):
        own = slice(position, position + 1)
        alone = build(name, track, runs=1).train(training)
        with torch.no_grad():
            for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
                mine.copy_(theirs[own])
        extras = {key: value[own] for key, value in whole.extras.items()}
        single = run(alone, Batch(whole.inputs[own], whole.noise_key[own], extras))
        objective(single).backward()
        assert torch.equal(together.logits[position], single.logits[0]), position
        for term, loss in single.losses.items():
            assert torch.equal(together.losses[term][position], loss[0]), (position, term)
        for field, value in single.trace.present().items():
            assert torch.equal(getattr(together.trace, field)[position], value[0]), (position, field)
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            assert (mine.grad is None) == (theirs.grad is None)
            if mine.grad is not None and theirs.grad is not None:
                assert torch.equal(mine.grad[0], theirs.grad[position]), position


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_controls_together_are_the_controls_one_by_one(name: str, track: str) -> None:
    model, given = build(name, track).eval(), batch(track)._replace(watch=look)
    together = models.under_controls(model, given, hyper(model, 2), dict.fromkeys(CONTROLS))
    for control, output in zip(CONTROLS, together, strict=True):
        same: Control = "on" if is_recurrent(name) and control == "random_writes" else control
        alone = run(model, models.under(given, same))
        assert torch.equal(output.logits, alone.logits), control
        for field, value in alone.trace.present().items():
            assert torch.equal(getattr(output.trace, field), value), (control, field)


@pytest.mark.parametrize(("name", "track"), [(name, track) for name, track in EVERY if is_recurrent(name)])
@pytest.mark.parametrize("watch", [None, look])
def test_where_nothing_is_written_at_random_that_control_is_on(name: str, track: str, watch: Watch | None) -> None:
    model, given = build(name, track).eval(), batch(track)._replace(watch=watch)
    together = models.under_controls(model, given, hyper(model, 2), dict.fromkeys(CONTROLS))
    assert together[CONTROLS.index("random_writes")] is together[CONTROLS.index("on")]
    unwatched = run(model, given._replace(watch=None)).logits
    assert torch.equal(run(model, models.under(given, "random_writes")).logits, unwatched)


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_the_same_seed_gives_the_same_output(name: str, track: str) -> None:
    assert torch.equal(run(build(name, track), batch(track)).logits, run(build(name, track), batch(track)).logits)


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_another_seed_gives_another_output(name: str, track: str) -> None:
    logits = run(build(name, track), batch(track)).logits
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", models.names())
def test_an_unknown_key_raises_and_names_the_known_ones(name: str) -> None:
    with pytest.raises(ParameterError, match=r"file: config\.mem_lamda: 0\.1: unknown key; allowed: .*num_tokens"):
        checked(models.load(name).Config, {"mem_lamda": 0.1}, "file", "config")


def observe(model: Any, part: Batch, values: dict[str, Tensor]) -> Any:
    """State after some tokens: what a model that answers once has observed, or what one of sequences hands on."""
    return model.observe(part, values) if hasattr(model, "observe") else model(part, values).state


def emptied(state: Any, weight: float) -> Any:
    """A state whose memory holds zeros, of this weight; where nothing is called slots, all that is carried is zero."""
    if isinstance(state, Tensor):
        return torch.zeros_like(state) if state.is_floating_point() else state
    if "slots" in getattr(state, "_fields", ()):
        fields = {"alive", "weight"} & {*state._fields}
        held = {field: torch.full_like(getattr(state, field), weight) for field in fields}
        return state._replace(slots=torch.zeros_like(state.slots), **held)
    if isinstance(state, tuple):
        parts = [emptied(part, weight) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


CARRIERS = [
    (name, track)
    for name, track in EVERY
    if track != "published" and (is_of_sequences(name) or hasattr(models.load(name).Model, "observe"))
]
"""Models that take a sequence in parts, each on a task that has something to remember."""


@pytest.mark.parametrize(("name", "track"), CARRIERS)
@pytest.mark.parametrize("slots", [3, 16])
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(name: str, track: str, slots: int) -> None:
    model, whole = build(name, track, capacity=slots, num_slots=slots).eval(), batch(track)._replace(watch=look)
    values = hyper(model, 2)
    with torch.no_grad():
        entire = model(whole, values)
    for quarters in (1, 2, 3):
        cut = quarters * whole.inputs.shape[2] // 4
        with torch.no_grad():
            state = observe(model, whole._replace(inputs=whole.inputs[..., :cut]), values)
            last = model(whole._replace(inputs=whole.inputs[..., cut:], start=cut), values, state)
        expected = entire.logits[:, :, cut:] if is_of_sequences(name) else entire.logits
        torch.testing.assert_close(last.logits, expected, rtol=1e-5, atol=1e-6)
        assert last.trace.present().keys() == entire.trace.present().keys()
        if entire.trace.slot_time is not None:
            assert torch.equal(last.trace.slot_time, entire.trace.slot_time)
        for field in ("read_weighting", "write_weighting", "usage_steps"):
            seen = getattr(entire.trace, field)
            if seen is not None:
                torch.testing.assert_close(getattr(last.trace, field), seen[:, :, cut:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "track"), CARRIERS)
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_gradients_are_finite_with_a_memory_of_zeros(name: str, track: str, weight: float) -> None:
    model, whole = build(name, track), batch(track)
    values, half = hyper(model, 2), whole.inputs.shape[2] // 2
    state = observe(model, whole._replace(inputs=whole.inputs[..., :half]), values)
    part = whole._replace(inputs=whole.inputs[..., half:], start=half)
    output = model(part, values, emptied(state, weight))
    assert torch.isfinite(output.logits).all()
    objective(output).backward()
    assert all_finite(model)


OF_SEQUENCES = [(name, track) for name, track in EVERY if is_of_sequences(name)]


@pytest.mark.parametrize(("name", "track"), OF_SEQUENCES)
@pytest.mark.parametrize("training", [True, False])
def test_the_output_at_a_step_does_not_depend_on_what_comes_later(name: str, track: str, training: bool) -> None:
    model, whole = build(name, track).train(training), batch(track)
    tokens, time = TASKS[track].interface()["num_tokens"], whole.inputs.shape[2]
    before = run(model, whole).logits
    for place in (0, time // 2, time - 1):
        changed = whole.inputs.clone()
        changed[..., place] = (changed[..., place] + 1) % tokens
        after = run(model, whole._replace(inputs=changed)).logits
        torch.testing.assert_close(after[:, :, :place], before[:, :, :place], rtol=1e-5, atol=1e-6)
        assert not torch.equal(after[:, :, place:], before[:, :, place:])


@pytest.mark.parametrize(("name", "track"), OF_SEQUENCES)
@pytest.mark.parametrize("training", [True, False])
def test_double_precision_gives_the_same_more_exactly(name: str, track: str, training: bool) -> None:
    single, double = (build(name, track).train(training) for _ in range(2))
    double.double()
    one, other = run(single, batch(track)).logits, run(double, batch(track)).logits
    assert other.dtype == torch.float64
    torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-5)
    assert not torch.equal(one.double(), other)


@pytest.mark.parametrize(("name", "track"), OF_SEQUENCES)
def test_a_model_is_looked_at_if_it_is_watched_and_gives_the_same(name: str, track: str) -> None:
    model = build(name, track).eval()
    given = batch(track)
    unwatched, watched = run(model, given), run(model, given._replace(watch=look))
    torch.testing.assert_close(unwatched.logits, watched.logits, rtol=1e-5, atol=1e-6)
    assert not unwatched.trace.present()
    assert all(not value.requires_grad for value in watched.trace.present().values())


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_every_auxiliary_loss_is_weighed_by_a_per_run_parameter(name: str, track: str) -> None:
    model = build(name, track)
    assert set(model.loss_weights.values()) <= set(per_run_fields(models.load(name).Config))
    assert set(model.loss_weights) <= set(run(model, batch(track)).losses)
