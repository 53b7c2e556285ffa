"""NeMA-Lite: which gradients flow on which track, what the controls do, and the published FIFO step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from palimpsest.models import nema_lite, window_only
from tests.models.test_contract import TASKS, batch, build, hyper, run
from tests.tasks.scored import mean_loss


def gradients_from_task_loss(track: str, **changes: object) -> dict[str, torch.Tensor | None]:
    model = build("nema_lite", track, gate_bias=1.0, **changes)
    given = batch(track)
    targets = TASKS[track].build(0).train.targets[:3].expand(2, -1, -1)
    mean_loss(run(model, given).logits, targets).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_on_the_repaired_track_the_task_loss_alone_reaches_every_gate_parameter() -> None:
    gradients = gradients_from_task_loss("repaired")
    for name, gradient in gradients.items():
        if name.startswith("gate."):
            assert gradient is not None, name
            assert (gradient.flatten(1).abs().sum(1) > 0).all(), name


def test_on_the_repaired_track_a_closed_gate_still_gets_the_gradient_of_the_task() -> None:
    gradients = gradients_from_task_loss("repaired", write_threshold=0.999)
    assert gradients["gate.logit.weight"] is not None
    assert (gradients["gate.logit.weight"].abs().sum((1, 2)) > 0).all()


def test_on_the_published_track_no_gradient_of_the_task_reaches_the_gate() -> None:
    gradients = gradients_from_task_loss("published")
    assert all(gradient is None for name, gradient in gradients.items() if name.startswith("gate."))


def test_on_the_published_track_lambda_can_only_close_the_gate() -> None:
    model = build("nema_lite", "published")
    run(model, batch("published")).losses["write"].sum().backward()
    assert (model.gate.logit.bias.grad > 0).all()  # descent lowers the bias, for every seed


def test_unwritten_tokens_do_not_change_what_is_read() -> None:
    model = build("nema_lite", "repaired", write_threshold=0.999).eval()  # nothing is written
    on = run(model, batch("repaired"))
    off = run(model, batch("repaired")._replace(control="off"))
    assert on.trace.writes.sum() == 0
    assert torch.equal(on.logits, off.logits)


def test_shuffling_swaps_the_memories_of_the_examples() -> None:
    model = build("nema_lite", "repaired", gate_bias=5.0).eval()
    given = batch("repaired")
    same = given._replace(inputs=given.inputs[:, :1].expand(-1, 3, -1), control="shuffled")
    assert not torch.equal(run(model, given).logits, run(model, given._replace(control="shuffled")).logits)
    torch.testing.assert_close(run(model, same).logits, run(model, same._replace(control="on")).logits)


def test_random_writes_keep_the_number_of_writes_of_every_example() -> None:
    model = build("nema_lite", "repaired").eval()
    on = run(model, batch("repaired")).trace.writes.sum(-1)
    moved = run(model, batch("repaired")._replace(control="random_writes")).trace.writes
    assert torch.equal(on.round(), moved.sum(-1).round())


def naive_published_logits(model: nema_lite.Model, given, capacity: int, top_k: int) -> np.ndarray:
    """The authors' loop, example by example and token by token, in NumPy; dropout off."""
    states = model.encode_written(given).detach().numpy()
    gates = model.gate(torch.from_numpy(states)).sigmoid().detach().numpy()
    threshold = hyper(model, states.shape[0])["write_threshold"].numpy()
    weight, bias = model.classifier.weight.detach().numpy(), model.classifier.bias.detach().numpy()
    logits = []
    for r in range(states.shape[0]):
        fifo: list[np.ndarray] = []
        for b in range(states.shape[1]):
            for t in range(states.shape[2]):
                if gates[r, b, t] > threshold[r]:
                    fifo = [*fifo, states[r, b, t]][-capacity:]
        rows = []
        for b in range(states.shape[1]):
            query = states[r, b, 0]
            read = np.zeros_like(query)
            if fifo:
                keys = np.stack(fifo)
                similarity = keys @ query / np.linalg.norm(keys, axis=1) / np.linalg.norm(query)
                best = np.argsort(-similarity)[:top_k]
                attention = np.exp(similarity[best]) / np.exp(similarity[best]).sum()
                read = attention @ keys[best]
            rows.append((query + read) @ weight[r] + bias[r])
        logits.append([[row] for row in rows])
    return np.array(logits)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("capacity", [5, 64])
def test_published_forward_equals_the_loop_over_tokens(threshold: float, capacity: int) -> None:
    model = build("nema_lite", "published", write_threshold=threshold, capacity=capacity).eval()
    given = batch("published")
    expected = naive_published_logits(model, given, capacity, top_k=4)
    np.testing.assert_allclose(run(model, given).logits.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "content",
    [
        {"mem_lambda": -0.1},
        {"write_threshold": 0.0},
        {"write_threshold": 1.0},
        {"num_heads": 3},
        {"segment": 128},
        {"segment": 5},
        {"write_context": 7},
        {"width": "wide"},
        {"cls_position": 64},
        {"asked": (64,)},
        {"asked": (3, 2)},
        {"asked": ()},
    ],
)
def test_bad_parameters_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        nema_lite.Config(**content)


def test_a_window_that_reaches_the_answer_is_refused() -> None:
    assert window_only.Config(window=16, asked=(63,), cls_position=63).window == 16
    with pytest.raises(ValidationError, match="allowed: at most 16"):
        window_only.Config(window=17, asked=(63,), cls_position=63)


@pytest.mark.parametrize("name", ["no_memory", "window_only"])
def test_a_model_that_cannot_see_the_answer_does_not_depend_on_it(name: str) -> None:
    model = build(name, "repaired").eval()
    given = batch("repaired")
    changed = given.inputs.clone()
    changed[..., :8] = 0  # answers stand at 1 … 7
    assert torch.equal(run(model, given).logits, run(model, given._replace(inputs=changed)).logits)


def test_full_attention_sees_the_answer() -> None:
    model = build("full_attention", "repaired").eval()
    given = batch("repaired")
    changed = given.inputs.clone()
    changed[..., :8] = 0
    assert not torch.equal(run(model, given).logits, run(model, given._replace(inputs=changed)).logits)


def test_the_oracle_writes_the_answer_and_nothing_else() -> None:
    given = batch("repaired")
    writes = run(build("oracle_writer", "repaired"), given).trace.writes
    assert torch.equal(writes.argmax(-1), given.extras["answer_position"])
    assert (writes.sum(-1) == 1).all()


@pytest.mark.parametrize(("name", "ratio"), [("write_all", 1.0), ("write_none", 0.0)])
def test_fixed_writers_write_the_shares_of_their_names(name: str, ratio: float) -> None:
    assert run(build(name, "repaired"), batch("repaired")).trace.writes.mean() == ratio
