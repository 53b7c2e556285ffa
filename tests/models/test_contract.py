"""Every model keeps the contract: shapes, gradients, chunks, independence of a run from its company, seeds, keys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from palimpsest import models
from palimpsest.config import as_number, checked, per_run_fields
from palimpsest.errors import ParameterError
from palimpsest.layers.transformer import EncoderConfig, reset_parameters
from palimpsest.models import (
    CONTROLS,
    Batch,
    ModelOutput,
    full_attention,
    nema_lc,
    nema_lite,
    no_memory,
    window_only,
)
from palimpsest.tasks import delayed_qa
from palimpsest.training import seeding

TASKS = {
    "published": delayed_qa.Config(sequence_length=16, num_train=8, num_validation=8, num_test=8),
    "repaired": delayed_qa.Config(sequence_length=16, question="flag", num_train=8, num_validation=8, num_test=8),
}
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
"""Sizes for every model that has them, whatever the track."""
REPAIRED: dict[type[EncoderConfig], dict[str, object]] = {
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
"""The repaired reading of each kind of model; what a kind says goes before what those say that it is derived from."""
PUBLISHED: dict[type[EncoderConfig], dict[str, object]] = {window_only.Config: {"window": 3, "cls_position": 15}}


def build(name: str, track: str, runs: int = 2, **changes: object) -> torch.nn.Module:
    """A small model of one track with the seeds 0, 1 and so on; keys that its kind does not have are left out."""
    config_class = models.load(name).Config
    content: dict[str, object] = {**SMALL, **TASKS[track].interface()}
    for kind, parts in (REPAIRED if track == "repaired" else PUBLISHED).items():
        content |= parts if issubclass(config_class, kind) else {}
    content = {key: value for key, value in {**content, **changes}.items() if key in config_class.model_fields}
    model = models.load(name).Model(config_class(**content), runs)
    reset_parameters(model, [seeding.generator(seed, "initialisation") for seed in range(runs)])
    return model


def hyper(model: torch.nn.Module, runs: int) -> dict[str, Tensor]:
    """Per-run hyper-parameters as the configuration has them."""
    config = model.config
    return {
        name: torch.full((runs,), float(as_number(type(config), name, getattr(config, name))))
        for name in per_run_fields(type(config))
    }


def batch(track: str, runs: int = 2, size: int = 3) -> Batch:
    """The first examples of the task, the same for every run."""
    split = TASKS[track].build(0).train
    extras = {key: value[:size].expand(runs, -1) for key, value in split.extras.items()}
    key = seeding.noise_key(torch.arange(runs), 7)
    return Batch(split.inputs[:size].expand(runs, -1, -1), key, extras)


def run(model: torch.nn.Module, given: Batch) -> ModelOutput:
    """Forward pass with the model's own hyper-parameters."""
    return model(given, hyper(model, given.inputs.shape[0]))


EVERY = [(name, track) for name in models.names() for track in TASKS]


@pytest.mark.parametrize("name", models.names())
def test_default_config_builds_for_a_task(name: str) -> None:
    config_class = models.load(name).Config
    task = delayed_qa.Config(question="flag")
    interface = {key: value for key, value in task.interface().items() if key in config_class.model_fields}
    model = models.load(name).Model(config_class(**interface), 1)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_shapes(name: str, track: str) -> None:
    output = run(build(name, track), batch(track))
    assert output.logits.shape == (2, 3, 10)
    assert all(loss.shape == (2,) for loss in output.losses.values())
    for field, value in output.trace.present().items():
        assert value.shape[:2] == (2, 3), field


@pytest.mark.parametrize(("name", "track"), EVERY)
@pytest.mark.parametrize("control", CONTROLS)
def test_gradients_are_finite_whatever_is_done_to_the_memory(name: str, track: str, control: str) -> None:
    model = build(name, track)
    output = run(model, batch(track)._replace(control=control))
    (output.logits.square().sum() + sum(loss.sum() for loss in output.losses.values())).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(("name", "track"), EVERY)
@pytest.mark.parametrize("position", [0, 1, 4])
@pytest.mark.parametrize("training", [True, False])
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(name: str, track: str, position: int, training: bool) -> None:
    pack, alone = (build(name, track, runs=runs).train(training) for runs in (5, 1))
    with torch.no_grad():
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            mine.copy_(theirs[position : position + 1])
    whole = batch(track, runs=5)
    part = Batch(
        whole.inputs[position : position + 1],
        whole.noise_key[position : position + 1],
        {key: value[position : position + 1] for key, value in whole.extras.items()},
    )
    together, single = run(pack, whole), run(alone, part)
    for output in (together, single):
        (output.logits.square().sum() + sum(loss.sum() for loss in output.losses.values())).backward()
    assert torch.equal(together.logits[position], single.logits[0])
    for term, loss in single.losses.items():
        assert torch.equal(together.losses[term][position], loss[0]), term
    for field, value in single.trace.present().items():
        assert torch.equal(getattr(together.trace, field)[position], value[0]), field
    for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if mine.grad is not None and theirs.grad is not None:
            assert torch.equal(mine.grad[0], theirs.grad[position])


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_controls_together_are_the_controls_one_by_one(name: str, track: str) -> None:
    model, given = build(name, track).eval(), batch(track)
    together = models.under_controls(model, given, hyper(model, 2), dict.fromkeys(CONTROLS))
    for control, output in zip(CONTROLS, together, strict=True):
        alone = run(model, given._replace(control=control))
        assert torch.equal(output.logits, alone.logits), control
        for field, value in alone.trace.present().items():
            assert torch.equal(getattr(output.trace, field), value), (control, field)


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_the_same_seed_gives_the_same_output(name: str, track: str) -> None:
    assert torch.equal(run(build(name, track), batch(track)).logits, run(build(name, track), batch(track)).logits)


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_another_seed_gives_another_output(name: str, track: str) -> None:
    logits = run(build(name, track), batch(track)).logits
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", models.names())
def test_an_unknown_key_raises_and_names_the_known_ones(name: str) -> None:
    with pytest.raises(ParameterError, match=r"file: config\.mem_lamda: 0\.1: unknown key; allowed: .*num_heads"):
        checked(models.load(name).Config, {"mem_lamda": 0.1}, "file", "config")


OBSERVERS = [name for name in models.names() if hasattr(models.load(name).Model, "observe")]


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("cut", [4, 8, 12])
@pytest.mark.parametrize("slots", [3, 16])
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(name: str, cut: int, slots: int) -> None:
    model = build(name, "repaired", capacity=slots, num_slots=slots).eval()
    whole = batch("repaired")
    values = hyper(model, 2)
    state = model.observe(whole._replace(inputs=whole.inputs[..., :cut]), values)
    last = model(whole._replace(inputs=whole.inputs[..., cut:], start=cut), values, state)
    entire = model(whole, values)
    torch.testing.assert_close(last.logits, entire.logits, rtol=1e-5, atol=1e-6)
    assert torch.equal(last.trace.slot_time, entire.trace.slot_time)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_gradients_are_finite_with_a_memory_of_zeros(name: str, weight: float) -> None:
    model, whole = build(name, "repaired"), batch("repaired")
    values = hyper(model, 2)
    state = model.observe(whole._replace(inputs=whole.inputs[..., :8]), values)
    zeros = {field: torch.zeros_like(value) for field, value in state._asdict().items() if field == "slots"}
    held = {field: torch.full_like(getattr(state, field), weight) for field in {"alive", "weight"} & {*state._fields}}
    output = model(whole._replace(inputs=whole.inputs[..., 8:], start=8), values, state._replace(**zeros, **held))
    assert torch.isfinite(output.logits).all()
    (output.logits.square().sum() + sum(loss.sum() for loss in output.losses.values())).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(("name", "track"), EVERY)
def test_every_auxiliary_loss_is_weighed_by_a_per_run_parameter(name: str, track: str) -> None:
    model = build(name, track)
    assert set(model.loss_weights.values()) <= set(per_run_fields(models.load(name).Config))
    assert set(model.loss_weights) <= set(run(model, batch(track)).losses)
