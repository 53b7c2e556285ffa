"""Elastic weight consolidation against naive loops in NumPy, and that no run sees another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from palimpsest.planning import plan, specs
from palimpsest.tasks import Splits
from palimpsest.training import datasets, loop
from palimpsest.training.methods.ewc import State
from palimpsest.training.pack import Pack, build_pack
from tests.training.test_phases import prepared, quiet, read

STRENGTHS = [10.0, 1000.0]


def built(directory: Path, **changes: Any) -> tuple[Pack, list[Splits]]:
    """A pack of two strengths and two seeds after its first phase."""
    axes = {"mem_lambda": [0.1], "write_threshold": [0.5], "ewc_strength": STRENGTHS}
    params = read(
        directory,
        method={"name": "ewc", "config": {"fisher_examples": 4}},
        grids={"sweep": {"axes": axes}},
        shared={"dropout": 0.1},
        **changes,
    ).model_copy(update={"seeds": (0, 1)})
    pack = build_pack(specs.of_pack(params, prepared(params, directory, "nema_lite")))
    data = datasets.load_phases(pack.specs[0], directory)
    pack.method_state = pack.method.initial_state(pack, data)
    for _ in range(pack.training.num_epochs):
        loop.advance(pack, data, quiet)
    return pack, data


def chosen(pack: Pack, data: list[Splits]) -> list[list[int]]:
    """The examples from which each run's Fisher information was estimated: its own generator draws them."""
    return [torch.randperm(len(data[0].train.targets), generator=g)[:4].tolist() for g in pack.generators("fisher")]


def test_fisher_information_is_the_mean_of_squared_gradients_example_by_example(tmp_path: Path) -> None:
    """Against central differences of one parameter at a time, in double precision."""
    pack, data = built(tmp_path)
    state: State = pack.method_state
    pack.model.double()
    pack.hyper = {name: value.double() if value.is_floating_point() else value for name, value in pack.hyper.items()}
    name, places = "classifier.bias", chosen(pack, data)
    parameter = dict(pack.model.named_parameters())[name]
    step = 1e-5
    for run in range(pack.runs):
        for index in range(3):
            squares = []
            for place in places[run]:
                rows = torch.full((pack.runs, 1), place)
                with torch.no_grad():
                    sides = []
                    for sign in (1, -1):
                        parameter[run].view(-1)[index] += sign * step
                        sides.append(float(pack.loss(data[0].train.rows(rows))[run, 0]))
                        parameter[run].view(-1)[index] -= sign * step
                squares.append(((sides[0] - sides[1]) / (2 * step)) ** 2)
            expected = float(np.mean(squares))
            found = float(state.anchors[0].fisher[name][run].view(-1)[index])
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_the_penalty_is_that_of_the_equation(tmp_path: Path) -> None:
    pack, data = built(tmp_path)
    assert pack.phase == 1
    loop.train_epoch(pack, data[1].train, 0)  # away from the anchor
    state: State = pack.method_state
    penalty = pack.method.penalty(pack, state).detach().numpy()
    assert [spec.method["ewc_strength"] for spec in pack.specs] == [10, 10, 1000, 1000]
    for run, spec in enumerate(pack.specs):
        total = 0.0
        for name, value in pack.model.named_parameters():
            fisher, anchor, now = (
                part[run].detach().double().numpy().ravel()
                for part in (state.anchors[0].fisher[name], state.anchors[0].weights[name], value)
            )
            for f, a, w in zip(fisher, anchor, now, strict=True):
                total += spec.method["ewc_strength"] / 2 * f * (w - a) ** 2
        assert penalty[run] == pytest.approx(total, rel=1e-3)
        assert penalty[run] > 0


def test_there_is_no_penalty_in_the_first_phase_and_none_at_the_anchor(tmp_path: Path) -> None:
    pack, _ = built(tmp_path)
    assert pack.method.penalty(pack, pack.method_state).tolist() == [0] * 4
    assert all("train_penalty" in epoch for epoch in pack.history)
    assert not any(epoch["train_penalty"].any() for epoch in pack.history)


def test_a_runs_penalty_has_no_gradient_in_another_runs_parameters(tmp_path: Path) -> None:
    pack, data = built(tmp_path)
    loop.train_epoch(pack, data[1].train, 0)
    pack.optimiser.zero_grad()
    pack.method.penalty(pack, pack.method_state)[2].backward()
    for name, parameter in pack.model.named_parameters():
        others = [run for run in range(4) if run != 2]
        assert parameter.grad is not None
        assert not parameter.grad[others].any(), name
    assert any(parameter.grad[2].any() for parameter in pack.model.parameters() if parameter.grad is not None)


def test_a_stronger_penalty_stays_nearer_to_the_anchor(tmp_path: Path) -> None:
    pack, data = built(tmp_path)
    for _ in range(pack.training.num_epochs):
        loop.advance(pack, data, quiet)
    anchor, fisher = pack.method_state.anchors[0].weights, pack.method_state.anchors[0].fisher
    distance = sum(
        (fisher[name] * (value - anchor[name]).square()).flatten(1).sum(1) for name, value in pack.moving().items()
    )
    assert (distance[2:] < distance[:2]).all()  # of the same seeds


def test_the_strength_may_differ_between_runs_of_a_pack(tmp_path: Path) -> None:
    params = read(tmp_path, method={"name": "ewc"}, grids={"sweep": {"axes": {"ewc_strength": STRENGTHS}}})
    axes = tuple({*params.packing.axes, "ewc_strength"})
    params = params.model_copy(update={"packing": params.packing.model_copy(update={"axes": axes})})
    specs.check(params)
    sizes = [len(pack.runs) for pack in plan.packs(params, lambda cell: 100) if "nema_lite" in pack.name]
    assert sizes == [6, 6]  # by mem_lambda alone
