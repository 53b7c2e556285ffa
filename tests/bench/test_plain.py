"""The ordinary script computes what our model computes: each is an oracle for the other."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench import plain, sweep, workload
from palimpsest.models import CONTROLS, Batch
from palimpsest.planning.specs import RunSpec
from palimpsest.training.pack import Pack, build_pack
from tests.tasks.scored import mean_loss


def spec_of(batch: int = 8, dropout: float = 0.1, capacity: int = 256, threshold: float = 0.5) -> RunSpec:
    """A run of the published grid at the default preset's sizes."""
    spec = workload.specs_of("default", "published")[0]
    change = {"dropout": dropout, "capacity": capacity, "write_threshold": threshold, "mem_lambda": 0.1}
    return workload.sized(spec, device="cpu", batch=batch, steps=2, config=change)


def copied(spec: RunSpec) -> tuple[Pack, plain.NemaLite]:
    """Our model of one run, and the ordinary one with the same weights."""
    pack = build_pack([spec])
    theirs = plain.NemaLite(plain.Settings(**sweep.plain_settings(spec)))
    with torch.no_grad():
        for name, parameter in renamed(pack.model).items():
            theirs.get_parameter(name).copy_(parameter)
    return pack, theirs


def renamed(ours: nn.Module, *, gradients: bool = False) -> dict[str, Tensor]:
    """Parameters of our one run, or their gradients, by the names and in the layout of PyTorch's own layers."""
    names = {"tokens.weight": "encoder.tokens.weight", "positions.weight": "encoder.positions.weight"}
    names |= {f"gate.0.{p}": f"gate.hidden.{p}" for p in ("weight", "bias")}
    names |= {f"gate.2.{p}": f"gate.logit.{p}" for p in ("weight", "bias")}
    names |= {f"classifier.{p}": f"classifier.{p}" for p in ("weight", "bias")}
    layer = {
        "self_attn.in_proj_weight": "attention.project_in.weight",
        "self_attn.in_proj_bias": "attention.project_in.bias",
        "self_attn.out_proj.weight": "attention.project_out.weight",
        "self_attn.out_proj.bias": "attention.project_out.bias",
        **{f"linear1.{p}": f"expand.{p}" for p in ("weight", "bias")},
        **{f"linear2.{p}": f"contract.{p}" for p in ("weight", "bias")},
        **{f"norm1.{p}": f"norm_attention.{p}" for p in ("weight", "bias")},
        **{f"norm2.{p}": f"norm_feedforward.{p}" for p in ("weight", "bias")},
    }
    names |= {f"encoder.layers.{i}.{a}": f"encoder.layers.{i}.{b}" for i in range(2) for a, b in layer.items()}
    found = {}
    for theirs, own in names.items():
        parameter = ours.get_parameter(own)
        value = parameter.grad if gradients else parameter
        assert value is not None
        matrix = value.dim() == 3 and not theirs.startswith(("tokens", "positions"))
        found[theirs] = value[0].T if matrix else value[0]
    assert len(found) == len(list(ours.parameters()))
    return found


def test_it_is_the_same_task() -> None:
    spec = spec_of()
    for ours, theirs in zip(
        workload.build(spec), plain.make_data(plain.Settings(**sweep.plain_settings(spec))), strict=True
    ):
        assert all(map(torch.equal, (ours.inputs, ours.targets[:, 0], ours.extras["answer_position"]), theirs))


@pytest.mark.parametrize("control", ["on", "off", "shuffled"])
@pytest.mark.parametrize(("threshold", "capacity"), [(0.5, 256), (0.5, 7), (0.3, 256), (0.999, 16)])
def test_the_same_weights_give_the_same_logits_and_gates(control: str, threshold: float, capacity: int) -> None:
    pack, theirs = copied(spec_of(capacity=capacity, threshold=threshold))
    examples = workload.build(pack.specs[0]).train
    rows = slice(0, 8)
    pack.model.eval()
    with torch.no_grad():
        ours = pack.model(Batch(examples.inputs[rows][None], pack.seeds, {}, control), pack.hyper)  # type: ignore[arg-type]
        logits, gate, writes = theirs.eval()(examples.inputs[rows], control)
    assert torch.equal(ours.trace.writes[0] > 0.5, writes)
    assert torch.allclose(ours.trace.write_gate[0], gate, atol=1e-5)
    assert torch.allclose(ours.logits[0, :, 0], logits, atol=1e-4)


def test_the_memory_that_is_compared_holds_something_and_changes_the_answer() -> None:
    _, theirs = copied(spec_of())
    inputs = workload.build(spec_of()).train.inputs[:8]
    with torch.no_grad():
        on, _, writes = theirs.eval()(inputs, "on")
        off, _, _ = theirs(inputs, "off")
    assert 0 < writes.float().mean() < 1
    assert not torch.allclose(on, off, atol=1e-2)


def test_the_same_weights_have_the_same_gradients() -> None:
    pack, theirs = copied(spec_of(dropout=0.0))
    examples = workload.build(pack.specs[0]).train
    inputs, targets = examples.inputs[:8], examples.targets[:8]
    output = pack.model(Batch(inputs[None], pack.seeds, {}), pack.hyper)
    (mean_loss(output.logits, targets[None]) + pack.hyper["mem_lambda"] * output.losses["write"]).sum().backward()
    logits, gate, _ = theirs.train()(inputs)
    (nn.functional.cross_entropy(logits, targets[:, 0]) + 0.1 * gate.mean()).backward()
    for name, gradient in renamed(pack.model, gradients=True).items():
        expected = theirs.get_parameter(name).grad
        assert expected is not None
        assert torch.allclose(gradient, expected, atol=1e-5), name


def test_writes_at_random_places_are_as_many() -> None:
    _, theirs = copied(spec_of())
    inputs = workload.build(spec_of()).train.inputs[:8]
    with torch.no_grad():
        _, _, chosen = theirs.eval()(inputs, "on")
        _, _, random = theirs(inputs, "random_writes")
    assert torch.equal(chosen.sum(1), random.sum(1))
    assert not torch.equal(chosen, random)


def test_an_empty_memory_reads_nothing() -> None:
    _, theirs = copied(spec_of(threshold=0.999))
    inputs = workload.build(spec_of()).train.inputs[:8]
    with torch.no_grad():
        on, _, writes = theirs.eval()(inputs, "on")
        off, _, _ = theirs(inputs, "off")
    assert not writes.any()
    assert torch.equal(on, off)


def test_the_layers_do_not_start_from_the_same_weights() -> None:
    first, second = plain.NemaLite(plain.Settings()).encoder.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)  # type: ignore[union-attr]


SMALL = ["--num-train=16", "--num-validation=4", "--num-test=4", "--num-epochs=2", "--batch-size=8", "--width=8"]


def test_a_run_writes_its_files(tmp_path: Path) -> None:
    plain.main([f"--folder={tmp_path}", *SMALL, "--write-threshold=0.3", "--seed=5"])
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    final = json.loads((tmp_path / "final.json").read_text())
    assert (final["settings"]["seed"], final["settings"]["write_threshold"]) == (5, 0.3)
    assert {f"test_accuracy_{control}" for control in CONTROLS} <= set(final["metrics"])


def test_a_grid_is_trained_run_by_run_as_each_alone(tmp_path: Path) -> None:
    settings = [{"seed": seed, "width": 8, "num_train": 16, "num_validation": 4, "num_test": 4} for seed in (1, 2)]
    (tmp_path / "grid.json").write_text(json.dumps(settings))
    plain.main([f"--folder={tmp_path}", f"--grid={tmp_path / 'grid.json'}"])
    for index, one in enumerate(settings):
        alone = plain.train(plain.Settings(**one), tmp_path / "alone")
        assert json.loads((tmp_path / str(index) / "final.json").read_text())["metrics"] == alone
