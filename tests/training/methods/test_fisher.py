"""Fisher information over true, drawn and all labels, and one term for all phases, against plain autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.tasks import Examples, Splits
from palimpsest.training.pack import Pack
from tests.training.methods.continual import built, through_phase

COUNT = 6


def trained(phases: int = 1, **config: Any) -> tuple[Pack, list[Splits], list[list[int]]]:
    """A pack after some phases, and which examples the last Fisher information was estimated from."""
    pack, data = built({"name": "ewc", "config": {"fisher_examples": COUNT, "ewc_strength": 0.0, **config}})
    for _ in range(phases):
        through_phase(pack, data)
    rows = [torch.randperm(32, generator=g)[:COUNT].tolist() for g in pack.generators("fisher")]
    return pack, data, rows


def naive(pack: Pack, run: int, example: tuple[torch.Tensor, torch.Tensor], name: str, kind: str) -> torch.Tensor:
    """The squared gradient of one example in double precision by plain layers."""
    model: Any = pack.model
    parts = {key: value[run].detach().double().requires_grad_() for key, value in model.named_parameters()}
    x = example[0].double() / 16
    x = (x @ parts["first.weight"] + parts["first.bias"]).relu()
    x = (x @ parts["others.0.weight"] + parts["others.0.bias"]).relu()
    log_p = (x @ parts["head.weight"] + parts["head.bias"]).log_softmax(-1)
    total = torch.zeros_like(parts[name])
    for label in range(10) if kind == "exact" else [int(example[1])]:
        (gradient,) = torch.autograd.grad(-log_p[label], parts[name], retain_graph=True)
        total += gradient.square() * (log_p[label].exp().detach() if kind == "exact" else 1)
    return total


@pytest.mark.parametrize("kind", ["true", "exact"])
def test_squares_are_weighed_as_the_kind_of_labels_says(kind: str) -> None:
    pack, data, rows = trained(fisher=kind)
    train = data[0].train
    for run in range(2):
        for name in ("first.weight", "others.0.bias", "head.weight"):
            squares = [naive(pack, run, (train.inputs[r], train.targets[r, 0]), name, kind) for r in rows[run]]
            expected = torch.stack(squares).mean(0)
            found = pack.method_state.anchors[0].fisher[name][run].double()
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-9)


def test_drawn_labels_give_on_average_what_all_labels_give() -> None:
    """400 draws over the same weights: the mean of a sum of the diagonal lies within five standard errors."""
    pack, data, _ = trained(fisher="exact")
    method: Any = pack.method
    one = Splits(*(Examples(p.inputs[:1], p.targets[:1], {k: v[:1] for k, v in p.extras.items()}) for p in data[0]))
    exact = method._fisher(pack, pack.method_state, one)["head.bias"][0]
    method.config = method.config.model_copy(update={"fisher": "sampled"})
    sums = []
    for _ in range(400):
        pack.steps += 1  # other draws
        sums.append(method._fisher(pack, pack.method_state, one)["head.bias"][0].sum())
    drawn = torch.stack(sums)
    assert abs(float(drawn.mean() - exact.sum())) < 5 * float(drawn.std()) / len(sums) ** 0.5 + 1e-6
    assert float(drawn.std()) > 0


def test_online_there_is_one_term_that_adds_up_about_the_last_weights() -> None:
    online, _, _ = trained(2, fisher="exact", online_decay=0.5)
    apart, _, _ = trained(2, fisher="exact")
    (term,) = online.method_state.anchors
    first, second = apart.method_state.anchors
    for name, value in online.moving().items():
        torch.testing.assert_close(term.fisher[name], 0.5 * first.fisher[name] + second.fisher[name])
        assert torch.equal(term.weights[name], value)


def test_without_strength_it_is_plain_training() -> None:
    consolidated, _, _ = trained(2, fisher="exact")
    plain, data = built({"name": "plain"})
    for _ in range(2):
        through_phase(plain, data)
    for one, other in zip(consolidated.moving().values(), plain.moving().values(), strict=True):
        assert torch.equal(one, other)


def test_a_run_alone_has_the_information_that_it_has_in_a_pack() -> None:
    together, _, _ = trained(fisher="sampled")
    alone, data = built(
        {"name": "ewc", "config": {"fisher_examples": COUNT, "ewc_strength": 0.0, "fisher": "sampled"}}, seeds=(1,)
    )
    through_phase(alone, data)
    for name, value in alone.method_state.anchors[0].fisher.items():
        assert torch.equal(value[0], together.method_state.anchors[0].fisher[name][1]), name


def test_labels_of_examples_with_several_answers_cannot_be_drawn() -> None:
    pack, data = built({"name": "ewc", "config": {"fisher": "sampled"}})
    twice = [Splits(*(p._replace(targets=p.targets.expand(-1, 2)) for p in one)) for one in data]
    with pytest.raises(ParameterError, match="fisher 'sampled' of examples with 2 answers; allowed: 'true'"):
        pack.method.initial_state(pack, twice)
