"""Cells: the naive references compute what ours compute, public code is loaded from where the user has it, or not."""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import __main__ as command_line
from bench import cells, clock, naive, record, references, workload
from palimpsest import models
from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch
from palimpsest.planning.parameters import Training
from palimpsest.runtime import machine
from palimpsest.training.pack import build_pack

SMALL = {
    "ntm": {"hidden": 7, "num_slots": 6, "slot_dim": 4},
    "dnc": {"hidden": 7, "num_slots": 5, "slot_dim": 3, "num_read_heads": 1},
}
HEADS = {"ntm": {"num_read_heads": 2, "num_write_heads": 2}, "dnc": {"num_read_heads": 3}}
NTM_CLONE = """
import torch
class EncapsulatedNTM(torch.nn.Module):
    def __init__(self, num_inputs, num_outputs, size, layers, heads, N, M):
        super().__init__()
        assert (num_inputs, num_outputs, size, layers, heads, N, M) == (9, 8, 100, 1, 1, 128, 20)
        self.map, self.seen = torch.nn.Linear(num_inputs, num_outputs), []
    def init_sequence(self, batch):
        self.batch = batch
    def forward(self, x=None):
        self.seen.append(x is not None)
        x = torch.zeros(self.batch, 9) if x is None else x
        return torch.sigmoid(self.map(x)), None
"""
DNC_CLONE = """
import torch
from . import friend
class DNC(torch.nn.Module):
    def __init__(self, size, hidden, *, num_hidden_layers, nr_cells, cell_size, read_heads):
        super().__init__()
        assert (size, hidden, num_hidden_layers, nr_cells, cell_size, read_heads) == (9, 64, 1, 16, 16, 4)
        self.map = torch.nn.Linear(size, size)
    def forward(self, x, state, reset_experience):
        self.seen = x
        return self.map(x).transpose(0, 1), state
"""


def options(*words: str, device: str = "cpu") -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cells.add_options(parser)
    return argparse.Namespace(device=device, **vars(parser.parse_args(words)))


def clone(folder: Path, package: str, module: str, text: str) -> Path:
    """A folder that looks like the clone of public code."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(f"from . import {module}\n")
    (folder / package / f"{module}.py").write_text(text)
    (folder / package / "friend.py").write_text("")
    return folder


def ntm_clone(folder: Path) -> Path:
    return clone(folder / "pytorch-ntm", "ntm", "aio", NTM_CLONE)


def dnc_clone(folder: Path) -> Path:
    return clone(folder / "pytorch-dnc", "dnc", "dnc", DNC_CLONE)


# --- the naive references ---------------------------------------------------------------------------------------------


def pair(cell: str, **heads: int) -> tuple[nn.Module, nn.Module]:
    """Our model of one run and the naive one with its weights, in double precision."""
    module = models.load(cell)
    sizes = {**SMALL[cell], **heads}
    content = {"num_tokens": 6, "num_outputs": 2, "code": "bits", "code_bits": 2, **sizes}
    ours = module.Model(module.Config.model_validate(content), 1)
    reset_parameters(ours, [torch.Generator().manual_seed(3)])
    ours = ours.double()
    theirs = {"ntm": naive.NTM, "dnc": naive.DNC}[cell](4, 2, **sizes).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(3)  # weightings that differ from slot to slot
        {"ntm": copy_ntm, "dnc": copy_dnc}[cell](ours, theirs)
    return ours, theirs


def put(linear: Any, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight.T)
    linear.bias.copy_(bias)


def copy_lstm(ours: Any, theirs: nn.LSTMCell) -> None:
    """Gates i, f, o, g of ours are i, f, g, o of PyTorch's, which has two biases."""
    size = theirs.hidden_size
    order = torch.cat([torch.arange(2 * size), torch.arange(3 * size, 4 * size), torch.arange(2 * size, 3 * size)])
    theirs.weight_ih.copy_(ours.of_input.weight[0][:, order].T)
    theirs.weight_hh.copy_(ours.recurrent[0][:, order].T)
    theirs.bias_ih.copy_(ours.of_input.bias[0][order])
    theirs.bias_hh.zero_()


def copy_ntm(ours: Any, theirs: Any) -> None:
    copy_lstm(ours.cell.controller, theirs.controller)
    heads, dim = [*theirs.read_heads, *theirs.write_heads], theirs.slot_dim
    writers, count = len(theirs.write_heads), len(heads)
    layout = [
        *((head.key, dim) for head in heads),
        *((head.add, dim) for head in theirs.write_heads),
        *((head.shift, 3) for head in heads),
        *((head.strength, 1) for head in heads),
        *((head.sharpness, 1) for head in heads),
        *((head.gate, 1) for head in heads),
        *((head.erase, dim) for head in theirs.write_heads),
    ]
    assert sum(size for _, size in layout) == count * (dim + 6) + 2 * writers * dim
    spread(layout, ours.cell.heads)
    put(theirs.output, ours.head.weight[0], ours.head.bias[0])


def copy_dnc(ours: Any, theirs: Any) -> None:
    copy_lstm(ours.cell.controller, theirs.controller)
    readers, writer, dim = theirs.read_heads, theirs.write_head, theirs.slot_dim
    layout = [
        *((head.key, dim) for head in [*readers, writer]),
        (writer.add, dim),
        *((head.modes, 3) for head in readers),
        *((head.strength, 1) for head in [*readers, writer]),
        (writer.erase, dim),
        *((head.free, 1) for head in readers),
        (writer.allocation_gate, 1),
        (writer.gate, 1),
    ]
    spread(layout, ours.cell.interface)
    put(theirs.output, ours.head.weight[0], ours.head.bias[0])


def spread(layout: list[tuple[Any, int]], together: Any) -> None:
    """Columns of one projection onto the many that they are."""
    sizes = [size for _, size in layout]
    parts = zip(together.weight[0].split(sizes, -1), together.bias[0].split(sizes, -1), strict=True)
    for (linear, _), (weight, bias) in zip(layout, parts, strict=True):
        put(linear, weight, bias)


def both_logits(ours: nn.Module, theirs: nn.Module, steps: int = 9) -> tuple[Tensor, Tensor]:
    """Logits (time, batch, outputs) of both for the same random tokens."""
    tokens = torch.randint(6, (1, 3, steps), generator=torch.Generator().manual_seed(1))
    output = ours(Batch(tokens, torch.zeros(1, dtype=torch.int64), {}), {})
    return output.logits[0].transpose(0, 1), theirs(ours.input(tokens)[0].double().transpose(0, 1))


CASES = [("ntm", {}), ("ntm", HEADS["ntm"]), ("dnc", {}), ("dnc", HEADS["dnc"])]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("cell", "heads"), CASES)
def test_the_same_weights_give_the_same_outputs(cell: str, heads: dict[str, int], training: bool) -> None:
    ours, theirs = pair(cell, **heads)
    first, second = both_logits(ours.train(training), theirs)
    assert torch.allclose(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("cell", "heads"), CASES)
def test_the_same_weights_have_the_same_gradients(cell: str, heads: dict[str, int]) -> None:
    ours, theirs = pair(cell, **heads)
    first, second = both_logits(ours.train(), theirs)
    for logits in (first, second):
        (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view(logits.shape)).sum().backward()
    gradients = [parameter.grad for parameter in ours.parameters()]
    copied = pair(cell, **heads)[0]
    with torch.no_grad():
        for parameter, gradient in zip(copied.parameters(), gradients, strict=True):
            parameter.copy_(gradient)
    expected = {"ntm": naive.NTM, "dnc": naive.DNC}[cell](4, 2, **{**SMALL[cell], **heads}).double()
    with torch.no_grad():
        {"ntm": copy_ntm, "dnc": copy_dnc}[cell](copied, expected)
    found = dict(theirs.named_parameters())
    for name, gradient in expected.named_parameters():
        if not name.endswith("bias_hh"):
            assert torch.allclose(found[name].grad, gradient, rtol=1e-6, atol=1e-8), name


@pytest.mark.parametrize("cell", ["ntm", "dnc"])
def test_what_is_compared_depends_on_earlier_inputs(cell: str) -> None:
    ours, theirs = pair(cell)
    with torch.no_grad():
        logits = both_logits(ours, theirs)[1]
        theirs.output.weight[:, : SMALL[cell]["hidden"]] = 0  # what was read, alone
        reads = both_logits(ours, theirs)[1]
    assert logits.std(0).min() > 1e-2
    assert reads.std(0).min() > 1e-4


@pytest.mark.parametrize("cell", ["ntm", "dnc"])
def test_references_have_our_sizes_and_our_task(cell: str) -> None:
    (spec,) = cells.specs(cell, 1, 2, options("--steps", "41"))
    model = build_pack([spec]).model
    bits = torch.randint(2, (20, 2, 8)).float()
    network, loss = references.NAIVE[f"naive-{cell}"][1](bits)
    second_bias = 4 * references.SIZES[cell]["hidden"]
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in model.parameters()) + second_bias
    assert 0.5 < loss().item() < 1, "binary cross-entropy of a guess is 0.69"


def test_every_run_of_ours_is_copy_at_one_length() -> None:
    found = cells.specs("ntm", 3, 4, options("--steps", "7"))
    assert [spec.seed for spec in found] == [0, 1, 2]
    examples = workload.build(found[0]).train
    assert examples.inputs.shape == (16, 7)
    assert set(examples.extras["length"].tolist()) == {7}
    assert int((examples.targets >= 0).sum()) == 16 * 3


# --- public code ------------------------------------------------------------------------------------------------------


def test_public_code_is_loaded_from_its_folder_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path, known = list(sys.path), set(sys.modules)
    for name, folder in (("pytorch-ntm", ntm_clone(tmp_path)), ("pytorch-dnc", dnc_clone(tmp_path))):
        network = references.load(name, folder)
        assert network.__name__ == references.PUBLIC[name].network
    assert sys.path == path
    assert not {"ntm", "dnc"} & (set(sys.modules) - known)
    assert not list(tmp_path.rglob("__pycache__"))
    assert not sys.dont_write_bytecode


def test_another_clone_is_another_network(tmp_path: Path) -> None:
    first = references.load("pytorch-ntm", ntm_clone(tmp_path / "a"))
    second = references.load("pytorch-ntm", ntm_clone(tmp_path / "b"))
    assert first is not second
    assert first is not references.load("pytorch-ntm", tmp_path / "a/pytorch-ntm")


def test_public_code_gets_the_whole_sequence_and_is_trained(tmp_path: Path) -> None:
    bits = torch.randint(2, (5, 3, 8)).float()
    for name, folder in (("pytorch-ntm", ntm_clone(tmp_path)), ("pytorch-dnc", dnc_clone(tmp_path))):
        model, loss = references.PUBLIC[name].build(references.load(name, folder), bits)
        before = [parameter.clone() for parameter in model.parameters()]
        references.step_of(model, loss, Training.model_validate(cells.TRAINING))()
        assert not all(map(torch.equal, before, model.parameters()))
        if name == "pytorch-ntm":
            assert model.seen == [True] * 6 + [False] * 5
        else:
            assert model.seen.shape == (3, 11, 9)
            assert model.seen[:, :5, :8].equal(bits.transpose(0, 1))


@pytest.mark.parametrize("name", ["pytorch-ntm", "pytorch-dnc"])
def test_a_folder_that_is_no_clone_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ParameterError) as error:
            cells.measure(options(f"--{name}", str(folder)))
        public = references.PUBLIC[name]
        assert str(error.value) == (
            f"--{name}: {folder}: no file {public.package}/{public.module}.py in it; "
            f"allowed: the folder of a clone of {public.home}"
        )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("x = 1", "AttributeError: module '_pytorch_ntm.aio' has no attribute 'EncapsulatedNTM'"),
        ("raise ValueError('one\\ntwo')", "ValueError: one"),
        ("def broken(", "SyntaxError: '(' was never closed (aio.py, line 1)"),
    ],
)
def test_a_clone_that_cannot_be_imported_is_refused_in_one_line(text: str, why: str, tmp_path: Path) -> None:
    folder = clone(tmp_path / "pytorch-ntm", "ntm", "aio", text)
    with pytest.raises(ParameterError) as error:
        references.load("pytorch-ntm", folder)
    assert str(error.value) == (
        f"--pytorch-ntm: {folder}: ntm.aio.EncapsulatedNTM cannot be imported: {why}; "
        "allowed: the folder of a clone of github.com/loudinthecloud/pytorch-ntm"
    )


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_row_is_the_time_of_one_run() -> None:
    asked = options("--runs", "5", "--batch", "2", "--steps", "7", "--pytorch-dnc", "anywhere")
    eager = {("ntm", 5, 2, False): 0.4, ("dnc", 5, 2, False): 0.2}
    compiled = {("ntm", 5, 2, True): 0.1, ("dnc", 5, 2, True): 0.05}
    references = {("naive-ntm", 2): 0.3, ("naive-dnc", 2): 0.1, ("pytorch-dnc", 2): 0.05}
    found = cells.rows(asked, {**eager, **compiled, **references})
    assert [tuple(row) for row in found] == [cells.COLUMNS] * 6
    assert [(row["cell"], row["reference"], row["compiled"]) for row in found] == [
        ("ntm", "naive-ntm", False), ("ntm", "naive-ntm", True),
        ("dnc", "naive-dnc", False), ("dnc", "pytorch-dnc", False),
        ("dnc", "naive-dnc", True), ("dnc", "pytorch-dnc", True),
    ]  # fmt: skip
    assert [row["ours_ms"] for row in found] == pytest.approx([20.0, 5.0, 10.0, 10.0, 2.5, 2.5])
    assert [row["reference_ms"] for row in found] == pytest.approx([300.0, 300.0, 100.0, 50.0, 100.0, 50.0])
    assert [row["ratio"] for row in found] == pytest.approx([15.0, 60.0, 10.0, 5.0, 40.0, 20.0])
    assert {(row["runs"], row["batch"], row["steps"], row["device"]) for row in found} == {(5, 2, 7, "cpu")}


def test_everything_has_its_turn_and_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order, compiled = [], []

    def interleaved(functions: Any, rounds: int, title: str, device: str, **_: Any) -> dict[Any, float]:
        for key, function in functions.items():
            function()
            order.append(key)
        return dict.fromkeys(functions, 0.5)

    monkeypatch.setattr(cells, "interleaved", interleaved)
    monkeypatch.setattr(machine, "prepare", lambda device: None)
    monkeypatch.setattr(record, "about", lambda command, device: {"command": command})
    monkeypatch.setattr(machine, "compile_model", compiled.append)
    words = ["--runs", "1", "2", "--batch", "2", "--steps", "5", "--repeats", "1", "--results", str(tmp_path)]
    clones = ["--pytorch-ntm", str(ntm_clone(tmp_path)), "--pytorch-dnc", str(dnc_clone(tmp_path))]
    assert command_line.main(["cells", *words, *clones]) == 0
    assert len(compiled) == 4
    assert order == [
        ("ntm", 1, 2, False), ("ntm", 1, 2, True), ("ntm", 2, 2, False), ("ntm", 2, 2, True),
        ("dnc", 1, 2, False), ("dnc", 1, 2, True), ("dnc", 2, 2, False), ("dnc", 2, 2, True),
        ("naive-ntm", 2), ("naive-dnc", 2), ("pytorch-ntm", 2), ("pytorch-dnc", 2),
    ]  # fmt: skip
    with (tmp_path / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["cell"], row["runs"], row["compiled"], row["reference"]) for row in rows] == [
        (cell, runs, compiled, f"{kind}-{cell}")
        for cell, runs, compiled, kind in itertools.product(
            ("ntm", "dnc"), "12", ("False", "True"), ("naive", "pytorch")
        )
    ]
    notes = (tmp_path / "machine.json").read_text()
    assert "--pytorch-ntm ../pytorch-ntm --pytorch-dnc ../pytorch-dnc" in notes
    assert str(tmp_path) not in notes
    assert '"references"' in notes
    assert "cells.csv" in capsys.readouterr().out


def test_without_clones_ours_is_compared_with_the_naive_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "interleaved", lambda functions, *_, **__: dict.fromkeys(functions, 1.0))
    monkeypatch.setattr(machine, "prepare", lambda device: None)
    rows = cells.measure(options("--runs", "1", "--batch", "1", "--steps", "3", "--eager"))
    assert [row["reference"] for row in rows] == ["naive-ntm", "naive-dnc"]


def test_time_on_a_cpu_is_without_what_others_took() -> None:
    import time

    assert clock.per_call(lambda: time.sleep(0.05), at_least=0.0, clock=clock.cpu_time) < 0.04
    assert clock.per_call(lambda: time.sleep(0.05), at_least=0.0) >= 0.05


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--runs", "0"], "cells: a number is below 1; allowed: at least 1 each"),
        (["--batch", "4", "0"], "cells: a number is below 1; allowed: at least 1 each"),
        (["--repeats", "0"], "cells: a number is below 1; allowed: at least 1 each"),
        (["--steps", "40"], "--steps: 40; allowed: odd numbers, 3 to 2001"),
        (["--steps", "1"], "--steps: 1; allowed: odd numbers, 3 to 2001"),
        (["--steps", "2003"], "--steps: 2003; allowed: odd numbers, 3 to 2001"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(words: list[str], line: str) -> None:
    with pytest.raises(ParameterError) as error:
        cells.measure(options(*words))
    assert str(error.value) == line


def test_public_code_is_refused_on_a_gpu() -> None:
    with pytest.raises(ParameterError, match="^--pytorch-ntm: it keeps its state on the CPU; allowed: with --device"):
        cells.measure(options("--pytorch-ntm", "anywhere", device="cuda"))
