"""Every public module: shapes, gradients, seeds, whole and chunks, states on disk, controls, bad input."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from palimpsest import faces
from palimpsest.faces.adapter import CellModule, TokenModule
from palimpsest.faces.memory_layers import ResidualLayer
from palimpsest.faces.states import detached
from palimpsest.foundation.errors import DataError, ParameterError
from tests.faces.faces import (
    DIM,
    FACES,
    FEATURES,
    HIDDEN,
    LAYERS,
    SLOTS,
    TOKENS,
    VOCABULARY,
    WITHOUT_MEMORY,
    changed,
    inputs_of,
    made,
    tensors_of,
)

EVERY = pytest.mark.parametrize("name", sorted(FACES))


def public() -> set[str]:
    """Names of all modules of the package that are a face."""
    found = set()
    for module in pkgutil.iter_modules(faces.__path__):
        for name, kind in vars(importlib.import_module(f"{faces.__name__}.{module.name}")).items():
            if inspect.isclass(kind) and issubclass(kind, CellModule):
                found.add(name)
    return found - {kind.__name__ for kind in (CellModule, ResidualLayer, TokenModule)}


def test_no_face_is_left_out_of_these_tests() -> None:
    assert {name.split(",")[0] for name in FACES} == public()
    assert len(public()) == 22


def same(one: Any, other: Any) -> None:
    first, second = tensors_of(one), tensors_of(other)
    assert first.keys() == second.keys()
    for field, part in first.items():
        assert part.dtype == second[field].dtype, field
        assert torch.equal(part, second[field]), field


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types_are_those_of_a_plain_module(name: str, dtype: torch.dtype) -> None:
    model, x = made(name, dtype=dtype), inputs_of(name, dtype=dtype)
    outputs = model(x)
    assert outputs.shape == (3, 11, model.out_features)
    assert outputs.dtype == dtype
    assert torch.isfinite(outputs).all()
    if isinstance(model, TokenModule):
        assert f"vocabulary={VOCABULARY}, out_features={VOCABULARY}" in repr(model)
    else:
        assert model.in_features == FEATURES
        assert f"in_features={FEATURES}" in repr(model)
    again, state = model(x, return_state=True)
    assert torch.equal(outputs, again)
    assert all(part.shape[:2] == (1, 3) for part in tensors_of(state).values())


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_the_number_of_features_and_works_in_a_sequential(name: str) -> None:
    network = nn.Sequential(nn.Linear(2, FEATURES), made(name), nn.ReLU(), made(name, seed=1), nn.Linear(FEATURES, 1))
    outputs = network(torch.randn(3, 11, 2))
    assert outputs.shape == (3, 11, 1)
    outputs.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network[1].parameters())


@EVERY
def test_a_loss_reaches_every_parameter(name: str) -> None:
    model = made(name)
    model(inputs_of(name, time=14)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), key


@EVERY
def test_under_autocast_the_memory_keeps_the_precision_of_its_parameters(name: str) -> None:
    model, x = made(name), inputs_of(name, time=6)
    network = nn.Sequential(nn.Identity() if name in TOKENS else nn.Linear(FEATURES, FEATURES), model)
    if name not in TOKENS:
        x = x.bfloat16().float()
        with torch.no_grad():  # nothing is rounded on the way in: a memory may distinguish nearly equal things
            network[0].weight.copy_(torch.eye(FEATURES))
            network[0].bias.zero_()
    expected = network(x)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(x)
        _, state = model(network[0](x), return_state=True)
    torch.testing.assert_close(outputs.float(), expected, rtol=0.05, atol=0.05)
    for field, part in tensors_of(state).items():
        assert part.dtype in (torch.float32, torch.int64), field
    outputs.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@EVERY
def test_an_optimiser_of_pytorch_lowers_the_loss(name: str) -> None:
    model, x = made(name), inputs_of(name, batch=2, time=6)
    target = torch.linspace(-0.4, 0.4, 6)[:, None].expand(2, 6, model.out_features)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.97 * losses[0]


@EVERY
def test_the_global_seed_decides_what_is_drawn(name: str) -> None:
    first, second, other = made(name), made(name), made(name, seed=1)
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(first(inputs_of(name)), other(inputs_of(name)))


@EVERY
def test_a_whole_sequence_equals_its_chunks_with_the_state_carried(name: str) -> None:
    exact = torch.float64  # a choice of the most similar slots is not one that rounding may turn
    model, x = made(name, dtype=exact), inputs_of(name, dtype=exact)
    whole, end = model(x, return_state=True)
    expected = tensors_of(end)
    state, chunks = None, []
    for part in x.split([1, 3, 5, 2], 1):
        outputs, state = model(part, state, return_state=True)
        chunks.append(outputs)
    torch.testing.assert_close(torch.cat(chunks, 1), whole, rtol=1e-9, atol=1e-10)
    for field, part in tensors_of(state).items():
        if not field.endswith("log"):  # notes of gradients, which have no numbers
            torch.testing.assert_close(part, expected[field], rtol=1e-9, atol=1e-10)


@EVERY
def test_a_call_changes_neither_its_state_nor_the_module(name: str) -> None:
    model, x = made(name), inputs_of(name)
    _, state = model(x, return_state=True)
    before = {field: part.detach().clone() for field, part in tensors_of(state).items()}
    parameters = copy.deepcopy(model.state_dict())
    first = model(x, state)
    model(changed(x, 0), state)
    assert torch.equal(first, model(x, state))
    for field, part in tensors_of(state).items():
        assert torch.equal(part, before[field]), field
    assert all(torch.equal(value, parameters[key]) for key, value in model.state_dict().items())


@EVERY
def test_outputs_depend_on_earlier_inputs_and_not_on_later_ones(name: str) -> None:
    model, x = made(name), inputs_of(name)
    difference = (model(x) - model(changed(x, 5))).abs().amax((0, 2))  # the sixth token ends a memory step of three
    assert not difference[:5].any()
    assert difference[5:10].min() > 0  # a window of five steps is the least that any of them sees


@EVERY
def test_a_state_comes_back_from_disk_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, x = made(name), inputs_of(name)
    _, state = model(x[:, :6], return_state=True)
    model.save(tmp_path / "state.safetensors", state)
    back = model.load(str(tmp_path / "state.safetensors"))
    assert type(back) is type(state)
    same(back, state)
    assert torch.equal(model(x[:, 6:], back), model(x[:, 6:], state))


@EVERY
def test_the_first_state_is_the_same_whether_it_is_given_or_not(name: str) -> None:
    model, x = made(name), inputs_of(name)
    assert torch.equal(model(x), model(x, model.initial_state(3)))


@EVERY
def test_a_state_without_gradients_cuts_them_and_changes_no_number(name: str) -> None:
    model, x = made(name), inputs_of(name)
    x = x if name in TOKENS else x.requires_grad_()
    _, state = model(x[:, :6], return_state=True)
    cut = detached(state)
    assert type(cut) is type(state)
    assert not any(part.requires_grad for part in tensors_of(cut).values())
    assert torch.equal(model(x[:, 6:], cut), model(x[:, 6:], state))
    if name in TOKENS:
        return  # tokens have no gradients
    model(x[:, 6:], cut).square().sum().backward()
    assert not x.grad[:, :6].any()
    assert x.grad[:, 6:].any()


@EVERY
def test_a_record_has_the_outputs_of_a_call_and_the_states_of_the_memory(name: str) -> None:
    model, x = made(name), inputs_of(name)
    record = model.record(x)
    torch.testing.assert_close(record.outputs, model(x), rtol=1e-4, atol=1e-5)
    assert not record.outputs.requires_grad
    for weights in (record.read_weights, record.write_weights):
        if weights is not None:
            assert weights.shape[:2] == (3, 11)
            assert weights.dim() == 4
            assert weights.min() >= 0
            assert weights.sum(-1).max() <= 1 + 1e-5
    if record.usage is not None:
        assert record.usage.shape[:2] == (3, 11)
        assert record.usage.min() >= 0
        assert record.usage.max() <= 1 + 1e-6
    if record.slots is not None:
        assert record.slots.shape[:2] == (3, 11)
        assert record.read_weights is not None
        assert record.slots.shape[2] == record.read_weights.shape[3]
    rest = model.record(x[:, 6:], model(x[:, :6], return_state=True)[1])
    torch.testing.assert_close(rest.outputs, record.outputs[:, 6:], rtol=1e-4, atol=1e-5)


@EVERY
def test_controls_change_the_reads(name: str) -> None:
    model, x = made(name).double(), inputs_of(name, dtype=torch.float64)
    on, off, swapped = (model(x, control=control) for control in ("on", "off", "shuffled"))
    assert torch.allclose(on, off) == (name in WITHOUT_MEMORY)
    assert torch.allclose(on, swapped) == (name in WITHOUT_MEMORY)
    torch.testing.assert_close(model(x, control="random_writes"), on)


@EVERY
def test_parameters_survive_a_state_dict_a_copy_and_a_pickle(name: str) -> None:
    model, x = made(name), inputs_of(name)
    other = made(name, seed=1)
    other.load_state_dict(model.state_dict())
    for twin in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))


BAD_INPUTS = (
    (torch.zeros(3, FEATURES), rf"x: shape \(3, {FEATURES}\); allowed: \(batch, time, {FEATURES}\), time from 1"),
    (torch.zeros(3, 4, FEATURES + 1), r"x: shape \(3, 4, 4\); allowed"),
    (torch.zeros(3, 0, FEATURES), r"x: shape \(3, 0, 3\); allowed"),
    (torch.zeros(3, 4, FEATURES, dtype=torch.int64), "x: torch.int64; allowed: torch.float32, as the parameters"),
    (torch.zeros(3, 4, FEATURES, dtype=torch.float64), "x: torch.float64; allowed: torch.float32, as the parameters"),
)


BAD_TOKENS = (
    (torch.zeros(4, dtype=torch.int64), r"x: shape \(4,\); allowed: \(batch, time\), time from 1"),
    (torch.zeros(3, 0, dtype=torch.int64), r"x: shape \(3, 0\); allowed"),
    (torch.zeros(3, 4), "x: torch.float32; allowed: torch.int64, tokens"),
    (torch.tensor([[0, VOCABULARY]]), f"x: token {VOCABULARY}; allowed: 0 to {VOCABULARY - 1}"),
    (torch.tensor([[0, -1]]), f"x: token -1; allowed: 0 to {VOCABULARY - 1}"),
)


@EVERY
def test_inputs_of_another_shape_or_type_are_refused_in_one_line(name: str) -> None:
    model = made(name)
    for x, message in BAD_TOKENS if name in TOKENS else BAD_INPUTS:
        with pytest.raises(ParameterError, match=message) as caught:
            model(x)
        assert "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match="batch: 0 is too small; allowed: 1 or more"):
        model.initial_state(0)


@EVERY
def test_states_of_another_batch_module_or_type_are_refused_in_one_line(name: str) -> None:
    model, x = made(name), inputs_of(name)
    kind = type(model.initial_state(1)).__name__
    of_two = model(x[:2], return_state=True)[1]
    other = made("MemoryCell" if name != "MemoryCell" else "GatedMemory").initial_state(3)
    exact = made(name).double().initial_state(3)
    for state, message in (
        (of_two, rf"{kind}\.\S*: shape \(1, 2.*; allowed: \(1, 3"),
        (other, f"{kind}: {type(other).__name__}; allowed: {kind}"),
        (x, f"{kind}: Tensor; allowed: {kind}"),
        (exact, rf"{kind}\.\S*: torch.float64; allowed: torch.float32, as the parameters"),
    ):
        with pytest.raises(ParameterError, match=message) as caught:
            model(x, state)
        assert "\n" not in str(caught.value)


@EVERY
def test_files_of_another_module_or_size_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    model = made(name)
    path = tmp_path / "state.safetensors"
    with pytest.raises(DataError, match="no such file"):
        model.load(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(DataError, match="corrupt"):
        model.load(path)
    other = made("MemoryCell" if name != "MemoryCell" else "GatedMemory")
    other.save(path, other.initial_state(1))
    with pytest.raises(DataError, match=f"{type(model.initial_state(1)).__name__}.* is missing") as caught:
        model.load(path)
    assert "\n" not in str(caught.value)
    exact = made(name).double()
    exact.save(path, exact.initial_state(1))
    with pytest.raises(DataError, match=r"torch.float64; allowed: torch.float32") as caught:
        model.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match="Tensor; allowed"):
        model.save(path, torch.zeros(1))


def test_a_state_of_other_sizes_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    large = FACES["MemoryCell"]()
    small = type(large)(FEATURES, SLOTS - 1, DIM)
    small.save(path, small.initial_state(2))
    with pytest.raises(DataError, match=r"slots: shape \(1, 2, 4, 4\); allowed: \(1, any, 5, 4\)"):
        large.load(path)


SIZES = {
    "input_size": FEATURES,
    "hidden_size": HIDDEN,
    "memory_size": SLOTS,
    "memory_dim": DIM,
    "level_sizes": (2, 2),
    "features": FEATURES,
    "num_read_heads": 1,
    "output_size": 2,
    "num_heads": 1,
    "num_layers": 1,
    "segment": 4,
    "feedforward": 4,
    "top_k": 1,
    "period": 2,
    "num_updates": 1,
    "num_write_heads": 1,
    "sparse_links": 1,
    "vocabulary": 3,
    "embedding_size": 2,
    "num_memory_heads": 1,
    "bottleneck": 1,
    "window": 2,
    "chunk": 2,
    "num_temporal_scales": 2,
}
"""A good value for every size that a face may have."""


@pytest.mark.parametrize("name", sorted(public()))
def test_sizes_below_one_are_refused_in_one_line_that_names_them(name: str) -> None:
    kind = type(FACES[name]())
    sizes = {key: good for key, good in SIZES.items() if key in inspect.signature(kind).parameters}
    assert {"memory_size", "level_sizes"} & set(sizes) or name in WITHOUT_MEMORY
    kind(**sizes)
    for size, value in itertools.product(sizes, (0, -1)):
        bad = (2, value) if size == "level_sizes" else value
        key = "level_slots" if size == "level_sizes" else size
        with pytest.raises(ParameterError, match=rf"^{key}.*: ?{value}\b.*allowed: ") as caught:
            kind(**{**sizes, size: bad})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "choice", "message"),
    [
        ("DynamicMemory", {"threshold": 1.5}, "threshold: 1.5 is out of range; allowed: 0.0 to 1.0"),
        ("DynamicMemoryLayer", {"threshold": -0.5}, "threshold: -0.5"),
        ("MemoryCell", {"horizon": 0.5}, "horizon: 0.5"),
        ("AdaptiveMemory", {"horizon": float("nan")}, "horizon: nan"),
        ("AssociativeMemory", {"strength": 0.0}, "strength: 0.0"),
        ("AttentionMemory", {"num_read_heads": 3}, "num_read_heads: 3 does not divide"),
        ("SparseMemory", {"top_k": 6}, "top_k: 6"),
        ("NeuralTuringMachine", {"max_shift": 3}, "max_shift: 3"),
        ("DifferentiableNeuralComputer", {"sparse_links": 6}, "sparse_links: ?6"),
        ("MemoryAugmentedNetwork", {"decay": 1.0}, "decay: 1.0"),
        ("MemoryAugmentedNetwork", {"num_read_heads": 6}, "num_read_heads: 6"),
        (
            "RecurrentMemoryLayer",
            {"memory": "cell", "num_read_heads": 2},
            "num_read_heads: 2; allowed of memory 'cell'",
        ),
        ("TransformerMemoryLayer", {"num_heads": 2}, "num_heads: 2 does not divide width 3"),
        ("MemoryTransformer", {"num_heads": 4}, "num_heads: 4 does not divide width 6"),
        ("HierarchicalMemory", {"level_sizes": ()}, "levels: 0"),
        ("MultiHeadMemoryBank", {}, "top_k: 16 is out of range; allowed: 1 to 5"),
        ("MultiHeadMemoryBank", {"top_k": 6}, "top_k: 6 is out of range; allowed: 1 to 5"),
        ("MultiHeadMemoryBank", {"top_k": 2}, "bottleneck: 64 is out of range; allowed: 1 to 4"),
        ("MultiHeadMemoryBank", {"top_k": 2, "bottleneck": 5}, "bottleneck: 5 is out of range; allowed: 1 to 4"),
        (
            "MultiHeadMemoryBank",
            {"top_k": 2, "bottleneck": 2, "num_heads": 3},
            "num_heads: 3 does not divide memory_dim 4; allowed: a divisor",
        ),
        *(
            (
                "MultiHeadMemoryBank",
                {"top_k": 2, "bottleneck": 2, "num_heads": 2, "decay": decay},
                f"decay: {decay} is out of range; allowed: 0 to less than 1",
            )
            for decay in (-0.1, 1.0, 1.5, float("nan"))
        ),
        ("TransformerController", {"num_heads": 2}, "num_heads: 2 does not divide features 3; allowed: a divisor"),
        ("MemNet", {"num_heads": 3}, "num_heads: 3 does not divide embedding_size 128; allowed: a divisor"),
        ("MemNet", {"top_k": 6}, "top_k: 6 is out of range; allowed: 1 to 5"),
        ("MemNet", {"top_k": 2, "bottleneck": 5}, "bottleneck: 5 is out of range; allowed: 1 to 4"),
        (
            "MemNet",
            {"top_k": 2, "bottleneck": 2, "num_memory_heads": 3},
            "num_memory_heads: 3 does not divide memory_dim 4; allowed: a divisor",
        ),
        (
            "MemNet",
            {"top_k": 2, "bottleneck": 2, "num_memory_heads": 2, "decay": 2.0},
            "decay: 2.0 is out of range; allowed: 0 to less than 1",
        ),
        (
            "MemNet",
            {"top_k": 2, "bottleneck": 2, "num_memory_heads": 2, "loss_weights": {"sparsity": -0.1}},
            "loss_weights: sparsity -0.1; allowed: a finite number, 0 or more",
        ),
        (
            "MemNet",
            {"top_k": 2, "bottleneck": 2, "num_memory_heads": 2, "loss_weights": {"forgetting": 0.1}},
            "loss_weights: 'forgetting' is unknown; allowed: utilisation, pressure, entropy, sparsity, diversity",
        ),
    ],
)
def test_unknown_choices_are_refused_in_one_line(name: str, choice: dict[str, Any], message: str) -> None:
    kind = type(FACES[name]())
    names = inspect.signature(kind).parameters
    first = ("input_size", "hidden_size", "memory_size", "memory_dim", "level_sizes", "features")
    sizes = {key: SIZES[key] for key in first if key in names}
    with pytest.raises(ParameterError, match=f"^{message}") as caught:
        kind(**{**sizes, **choice})
    assert "\n" not in str(caught.value)


UNKNOWN = """
import torch
from palimpsest.architectures import attention_memory, memnet, memory_layers, memory_networks
from palimpsest.foundation.errors import ParameterError

layer = memory_layers.MemoryLayer(3, 5)
for wrong in (
    lambda: attention_memory.AttentionMemory(3, 5, 4, placement="last"),
    lambda: attention_memory.SparseMemory(3, 5, 4, search="none"),
    lambda: memory_networks.NeuralTuringMachine(3, 6, 5, 4, controller="rnn"),
    lambda: memory_networks.NeuralTuringMachine(3, 6, 5, 4, similarity="l2"),
    lambda: memory_layers.MemoryLayer(3, 5, memory="none"),
    lambda: layer(torch.zeros(1, 2, 3), control="of"),
    lambda: memnet.MultiHeadMemoryBank(eviction="oldest"),
    lambda: memnet.MemNet(weights="relu"),
    lambda: memnet.MemNet(utilisation="minimised"),
):
    try:
        wrong()
    except ParameterError as error:
        print(error)
"""
"""Names that there are not; types are checked under pytest before any of this is reached."""


def test_unknown_names_are_refused_in_one_line_each() -> None:
    done = subprocess.run([sys.executable, "-c", UNKNOWN], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    expected = ["placement: 'last'", "search: 'none'", "controller: 'rnn'", "similarity: 'l2'", "memory: 'none'"]
    expected += ["control: 'of'", "eviction: 'oldest'", "weights: 'relu'", "utilisation: 'minimised'"]
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)
        assert "allowed: " in line
