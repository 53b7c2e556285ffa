"""The DNC as a model: the same in training and in evaluation, and what it shows of its memory."""

from __future__ import annotations

import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.stepwise_trace import look
from palimpsest.models import Batch
from palimpsest.models.dnc import Config, Model

SIZES = {"num_tokens": 6, "num_outputs": 3, "sequence_length": 7, "width": 4, "hidden": 5, "num_slots": 4}


def build(**changes: int | None) -> Model:
    model = Model(Config(**{**SIZES, "slot_dim": 3, "num_read_heads": 2, **changes}), 2)
    reset_parameters(model, [torch.Generator().manual_seed(run) for run in range(2)])
    return model.double()


def tokens() -> Batch:
    inputs = torch.randint(6, (2, 3, 7), generator=torch.Generator().manual_seed(1))
    return Batch(inputs, torch.zeros(2, dtype=torch.int64), {})


@pytest.mark.parametrize("sparse_links", [None, 2])
def test_a_watched_memory_and_an_unwatched_one_give_the_same(sparse_links: int | None) -> None:
    model = build(sparse_links=sparse_links)
    trained, seen = model(tokens(), {}), model(tokens()._replace(watch=look), {})
    torch.testing.assert_close(trained.logits, seen.logits, rtol=1e-7, atol=1e-9)
    assert trained.trace.present() == {}
    assert seen.trace.read_weighting.shape == (2, 3, 7, 2, 4)
    assert seen.trace.write_weighting.shape == (2, 3, 7, 1, 4)
    assert seen.trace.usage_steps.shape == (2, 3, 7, 4)
    assert (seen.trace.link is None) == (sparse_links is not None)


@pytest.mark.parametrize("training", [True, False])
def test_logits_are_a_map_of_controller_and_reads(training: bool) -> None:
    model = build().train(training)
    assert model.cell.output is None
    outputs, _ = model.cell.unroll(model.input(tokens().inputs), model.cell.initial_state(3))
    assert outputs.shape == (2, 3, 7, 5 + 2 * 3)
    torch.testing.assert_close(model(tokens(), {}).logits, model.head(outputs), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_a_training_sequence_is_its_parts_with_the_state_carried(training: bool) -> None:
    model, batch = build().train(training), tokens()
    whole = model(batch, {}).logits
    first = model(batch._replace(inputs=batch.inputs[..., :3]), {})
    second = model(batch._replace(inputs=batch.inputs[..., 3:]), {}, first.state)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 2), whole, rtol=1e-9, atol=1e-12)


def test_more_links_than_slots_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"sparse_links 5 exceeds num_slots 4; allowed: up to it"):
        checked(Config, {**SIZES, "sparse_links": 5}, "params.yaml")
