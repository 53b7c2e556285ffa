"""The walk-through "add a model in one file" works as it is written."""

from __future__ import annotations

import re
import types

import torch
import yaml

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch, nema_lite
from palimpsest.planning.parameters import Grid
from tests.models.test_contract import REPAIRED, SMALL, TASKS, batch, hyper
from tests.training.presets import PROJECT

TEXT = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The first code block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_model_of_the_walk_through_writes_every_kth_token() -> None:
    module = types.ModuleType("every_kth")
    exec(compile(block("python"), "CONTRIBUTING.md", "exec", dont_inherit=True), module.__dict__)
    content = {**SMALL, **TASKS["repaired"].interface(), **REPAIRED[nema_lite.Config], "write_every": 5}
    content = {key: value for key, value in content.items() if key in module.Config.model_fields}
    model = module.Model(module.Config(**content), 2)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(2)])
    given: Batch = batch("repaired")
    writes = model(given, hyper(model, 2)).trace.writes
    assert writes.shape == given.inputs.shape
    assert writes[0, 0].nonzero().flatten().tolist() == [0, 5, 10, 15]


def test_the_block_of_params_is_a_grid() -> None:
    grid = Grid.model_validate(yaml.safe_load(block("yaml"))["every_kth"])
    assert grid.axes == {"write_every": [4, 16]}
