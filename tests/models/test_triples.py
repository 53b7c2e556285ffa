"""Models of knowledge graphs against their equations, one query and one entity at a time, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from palimpsest import models
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch, under
from palimpsest.tasks import link_prediction

TASK = link_prediction.Config(branching=2, generations=3, num_train=8, num_validation=2, num_test=4)
NAMES = ("transe", "distmult", "complex", "relation_frequency", "knowledge_graph_memory")
WIDTH, HEADS = 8, 2


def build(name: str, runs: int = 2) -> Any:
    module = models.load(name)
    known = {"width": WIDTH, "init_scale": 1.0, "num_read_heads": HEADS, **TASK.interface()}
    config = module.Config(**{key: value for key, value in known.items() if key in module.Config.model_fields})
    model = module.Model(config, runs)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return model.double()


def batch(runs: int = 2) -> Batch:
    inputs = TASK.build(0).train.inputs
    return Batch(inputs.expand(runs, -1, -1), torch.zeros(runs, dtype=torch.int64), {})


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def naive(name: str, h: np.ndarray, r: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Scores of all entities by the equation of a model's docstring."""
    half = WIDTH // 2
    if name == "transe":
        return np.array([-np.sqrt(((h + r - t) ** 2).sum() + 1e-3) for t in slots])
    if name == "distmult":
        return np.array([(h * r * t).sum() for t in slots])
    if name == "relation_frequency":
        return np.array([r @ t for t in slots])
    if name == "complex":
        as_complex = [x[:half] + 1j * x[half:] for x in (h, r, *slots)]
        return np.array([(as_complex[0] * as_complex[1] * t.conj()).sum().real for t in as_complex[2:]])
    key, read, size = h[:half] * r[:half], [], half // HEADS
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        weights = softmax(np.array([key[part] @ slot[:half][part] for slot in slots]))
        read.append(sum(w * slot[half:][part] for w, slot in zip(weights, slots, strict=True)))
    query = np.concatenate(read) * r[half:]
    query = (query - query.mean()) / np.sqrt(query.var() + 1e-5)
    return np.array([query @ slot[half:] for slot in slots])


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_equation(name: str) -> None:
    model, given = build(name), batch()
    logits = model(given, {}).logits.detach().numpy()
    table = model.table.weight.detach().numpy()
    for run in range(2):
        for row, (_, entity, relation) in enumerate(given.inputs[run].tolist()):
            expected = naive(name, table[run, entity], table[run, relation], table[run, : TASK.num_entities])
            np.testing.assert_allclose(logits[run, row, 0], expected, rtol=1e-6, atol=1e-9)


def test_all_models_of_one_width_have_as_many_parameters() -> None:
    sizes = {sum(parameter[0].numel() for parameter in build(name).parameters()) for name in NAMES}
    assert sizes == {(TASK.num_entities + 2 * TASK.num_relations + 1) * WIDTH}


def test_distmult_is_the_same_both_ways_and_complex_is_not() -> None:
    for name, symmetric in (("distmult", True), ("complex", False)):
        model = build(name)
        inputs = torch.tensor([[[TASK.ask, 0, 7], [TASK.ask, 1, 7]]]).expand(2, -1, -1)
        logits = model(batch()._replace(inputs=inputs), {}).logits
        assert torch.allclose(logits[:, 0, 0, 1], logits[:, 1, 0, 0]) == symmetric


def test_without_its_reads_the_memory_cannot_tell_entities_apart() -> None:
    model = build("knowledge_graph_memory")
    logits = model(under(batch(), "off"), {}).logits
    assert (logits == 0).all()


def test_shuffled_a_query_is_answered_with_what_its_neighbour_has_read() -> None:
    model, given = build("knowledge_graph_memory"), batch()
    same = given._replace(inputs=given.inputs[:, :1].expand(-1, 4, -1))
    assert torch.equal(model(same, {}).logits, model(under(same, "shuffled"), {}).logits)
    assert not torch.equal(model(given, {}).logits, model(under(given, "shuffled"), {}).logits)


def test_the_task_loss_reaches_keys_values_and_both_halves_of_a_relation() -> None:
    model, split = build("knowledge_graph_memory"), TASK.build(0).train
    logits = model(batch(), {}).logits
    torch.nn.functional.cross_entropy(logits[0, :, 0], split.targets[:, 0]).backward()
    grad = model.table.weight.grad[0]
    asked = split.inputs[0, 1:].tolist()
    for token in asked:
        assert (grad[token, : WIDTH // 2] != 0).any()
        assert (grad[token, WIDTH // 2 :] != 0).any()
    assert (grad[TASK.ask] == 0).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("complex", {"width": 7}, "width: 7"),
        (
            "knowledge_graph_memory",
            {"width": 8, "num_read_heads": 3},
            "num_read_heads 3 does not divide the 4 features",
        ),
        ("distmult", {"init_scale": 0}, "init_scale: 0"),
    ],
)
def test_bad_sizes_are_refused_in_one_line(name: str, content: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        checked(models.load(name).Config, content, "file")
    assert "\n" not in str(caught.value)
