"""What an edit of a module makes stale: which runs are trained and measured again, and which rules run again."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from palimpsest.foundation import tree
from palimpsest.planning import plan, provenance, specs
from palimpsest.planning.provenance import EXEMPT, EXEMPT_FROM_TRAINING, measuring_modules, training_modules
from palimpsest.training import loop
from palimpsest.training.pack import build_pack
from tests.training import presets

PROJECT = Path(__file__).parents[2]
RUNS: dict[str, tuple[str, ...]] = {
    "nema_lite": ("nema_lite", "delayed_qa"),
    "no_memory": ("no_memory", "delayed_qa"),
    "nema_lc": ("nema_lc", "key_value_stream"),
    "fifo": ("fifo", "key_value_stream"),
    "lstm": ("lstm", "copy"),
    "ntm": ("ntm", "copy"),
    "dnc": ("dnc", "copy"),
    "transformer": ("causal_transformer", "mqar"),
    "segments": ("memory_transformer", "mqar"),
    "sparse": ("memory_rnn", "mqar", "palimpsest.memory.sparse"),
    "gated": ("memory_rnn", "mqar", "palimpsest.memory.gated"),
    "selective": ("memory_rnn", "mqar", "palimpsest.memory.selective_memory"),
    "lifecycle": ("memory_rnn", "mqar", "palimpsest.memory.lifecycle_memory"),
    "ewc": ("no_memory", "delayed_qa", "palimpsest.training.methods.ewc"),
}
"""One run of each kind: its model, its task, and the memory or the method that it chooses by name."""
ALL = set(RUNS)
STREAMS = {"lstm", "ntm", "dnc", "transformer", "segments", "sparse", "gated", "selective", "lifecycle"}
CELLS = STREAMS - {"transformer"}
LIFECYCLE = {"nema_lc", "fifo"}
ENCODERS = {"nema_lite", "no_memory", "ewc", *LIFECYCLE}
LATE = {"aggregate", "checks", "claims", "notebooks", "paper", "plots", "record", "tables"}
"""Files of rules that read runs."""
EDITS: list[tuple[str, set[str], set[str], set[str]]] = [
    # edited module, runs trained again, runs measured again that are not trained again, files of rules that run again
    ("memory.lifecycle", {*LIFECYCLE, "lifecycle"}, set(), set()),
    ("memory.lifecycle_memory", {"lifecycle"}, set(), set()),
    # The trace module of a memory is found by the memory's name: it is measured with every model that has the memory.
    ("memory.lifecycle_log", LIFECYCLE, {"lifecycle"}, set()),
    ("memory.lifecycle_trace", set(), {*LIFECYCLE, "lifecycle"}, set()),
    ("memory.episodic", {"nema_lite", "selective"}, set(), set()),
    ("memory.selective_memory", {"selective"}, set(), set()),
    ("memory.episodic_trace", set(), {"nema_lite", "selective"}, set()),
    ("memory.ntm", {"ntm"}, set(), set()),
    ("memory.dnc", {"dnc"}, set(), set()),
    ("memory.sparse", {"sparse"}, set(), set()),
    ("memory.gated", {"gated"}, set(), set()),
    ("memory.segments", {"segments"}, set(), set()),
    ("memory.segments_trace", set(), {"segments"}, set()),
    ("memory.stepwise_trace", set(), ALL, set()),
    ("memory.trace", set(), ALL, LATE),
    ("measuring.evaluation", set(), ALL, set()),
    ("measuring.probe", set(), ALL, set()),
    ("layers.attention", {*ENCODERS, "transformer", "segments"}, set(), set()),
    ("layers.linear", ALL, set(), set()),
    ("memory.contract", CELLS, set(), set()),
    ("models.shared.recurrent", CELLS, set(), set()),
    ("models.ntm", {"ntm"}, set(), set()),
    ("models.nema_lc", LIFECYCLE, set(), set()),
    ("tasks.copy", {"lstm", "ntm", "dnc"}, set(), set()),
    ("training.loop", ALL, set(), set()),
    ("training.optimiser", ALL, set(), set()),
    ("training.pack", ALL, set(), set()),
    ("training.methods", ALL, set(), LATE),
    ("training.methods.ewc", {"ewc"}, set(), set()),
    ("training.methods.replay", set(), set(), set()),
    ("foundation.numbers", ALL, set(), set()),
    ("foundation.errors", set(), set(), {*LATE, "bench"}),
    ("foundation.files", set(), set(), {*LATE, "bench"}),
    ("planning.specs", set(), set(), LATE),
    ("planning.phases", set(), set(), LATE),
    ("planning.parameters", set(), set(), LATE),
    ("planning.schedule", set(), set(), {"record"}),
    ("cli.pipeline", set(), set(), set()),
    ("runtime.lease", set(), set(), set()),
    ("analysis.claims", set(), set(), {"checks", "claims", "notebooks", "paper", "tables"}),
    ("rendering.tables", set(), set(), {"paper", "tables"}),
    ("rendering.bench", set(), set(), {"bench"}),
]


def rules_of(module: str) -> set[str]:
    """Files of rules whose code imports a module, of the modules that the rules name."""
    found = set()
    for path in (PROJECT / "workflow/rules").glob("*.smk"):
        named = re.findall(r'"(palimpsest\.[a-z_.]+)"', path.read_text(encoding="utf-8"))
        if module in provenance.closure(*named):
            found.add(path.stem)
    return found


@pytest.mark.parametrize(("module", "trained", "measured", "rules"), EDITS, ids=[edit[0] for edit in EDITS])
def test_an_edit_makes_stale_what_depends_on_it_and_nothing_else(
    module: str, trained: set[str], measured: set[str], rules: set[str]
) -> None:
    name = f"palimpsest.{module}"
    again = {run for run, parts in RUNS.items() if name in training_modules(*parts)}
    assert again == trained
    assert {run for run, parts in RUNS.items() if name in measuring_modules(*parts)} - again == measured
    assert rules_of(name) == rules


# --- modules that are exempt by name ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXEMPT_FROM_TRAINING)
def test_an_exempt_module_exists(name: str) -> None:
    assert provenance.closure(f"palimpsest.{name}")


@pytest.mark.parametrize("name", EXEMPT)
def test_an_exempt_module_imports_nothing_that_computes(name: str) -> None:
    """``foundation.files`` knows NumPy's numbers, which it spells as JSON."""
    path = PROJECT / "src/palimpsest" / f"{name.replace('.', '/')}.py"
    imported = {
        module.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in _imported(node)
    }
    assert not imported & ({"torch", "scipy", "pandas"} if name == "foundation.files" else {"torch", "numpy", "scipy"})


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


class Watcher:
    """Notes every call of an exempt module's function that is given tensors, or returns them."""

    def __init__(self, exempt: set[str]) -> None:
        self.exempt, self.calls, self.touched = exempt, set(), []

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if event not in ("call", "return") or module not in self.exempt:
            return
        self.calls.add(module)
        given = dict(frame.f_locals) if event == "call" else value
        if any(isinstance(leaf, torch.Tensor) for leaf in tree.leaves(given, "").values()):
            self.touched.append(f"{module}.{frame.f_code.co_name}")


def watched_training(directory: Path, exempt: set[str]) -> Watcher:
    """Build and train a tiny pack of NeMA-Lite under a watcher."""
    params = presets.read(directory)
    runs = specs.of_pack(params, plan.Pack("pack", tuple(plan.runs_of(plan.cells(params)[0]))))
    splits = specs.task_config(params.experiments["tiny"].tracks["repaired"], "params", "here").build(0)
    watcher = Watcher(exempt)
    sys.setprofile(watcher)
    try:
        loop.train([build_pack(runs)], [splits], after_epoch=lambda *_: None, progress=lambda *_: None)
    finally:
        sys.setprofile(None)
    return watcher


def test_no_exempt_module_touches_a_tensor_while_weights_are_made(tmp_path: Path) -> None:
    assert watched_training(tmp_path, {f"palimpsest.{name}" for name in EXEMPT_FROM_TRAINING}).touched == []


def test_a_module_that_does_is_found_out(tmp_path: Path) -> None:
    assert watched_training(tmp_path, {"palimpsest.layers.linear"}).touched
