"""MemNet as plain modules: the model's own numbers, states over parts and episodes, losses, mixed precision."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from palimpsest.faces.adapter import CellModule
from palimpsest.faces.memnet import LOSS_WEIGHTS, MemNet, MultiHeadMemoryBank, TransformerController
from palimpsest.faces.states import detached
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.models import Batch, memnet
from palimpsest.tasks import delayed_copy
from tests.faces.faces import VOCABULARY, made, tensors_of

SIZES: dict[str, Any] = {
    "vocabulary": VOCABULARY, "embedding_size": 6, "feedforward": 6, "num_layers": 2, "num_heads": 2, "memory_size": 5,
    "memory_dim": 4, "num_memory_heads": 2, "top_k": 2, "bottleneck": 2, "window": 3, "chunk": 3,
}  # fmt: skip


def small(seed: int = 0, **changes: Any) -> MemNet:
    torch.manual_seed(seed)
    return MemNet(**{**SIZES, **changes})


def tokens(seed: int = 0, time: int = 11, batch: int = 3) -> Tensor:
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))


def model_outputs(model: MemNet, x: Tensor, state: Any = None) -> Any:
    batch = Batch(x[None], torch.zeros(1, dtype=torch.int64), {})
    return model.cell.model(batch, {}, state)


def test_the_defaults_are_the_sizes_of_the_authors() -> None:
    config = MemNet().cell.model.config
    assert (config.num_slots, config.slot_dim, config.num_memory_heads, config.top_k) == (128, 128, 8, 16)
    assert (config.bottleneck, config.width, config.feedforward, config.num_layers) == (64, 128, 512, 4)
    assert (config.num_tokens, config.num_outputs, config.num_heads) == (20, 20, 8)
    bank = MultiHeadMemoryBank().cell.bank
    assert (bank.num_slots, bank.d_out, bank.num_heads, bank.k, bank.widen.d_in) == (128, 128, 8, 16, 64)
    controller = TransformerController().cell.config
    assert (controller.width, controller.feedforward, controller.num_layers, controller.num_heads) == (128, 512, 4, 8)


def test_it_computes_what_the_model_of_the_experiments_computes() -> None:
    face = small()
    config = face.cell.model.config.model_copy(update={"sequence_length": 11})
    model = memnet.Model(config, 1)
    model.load_state_dict(face.cell.model.state_dict())
    expected = model(Batch(tokens()[None], torch.zeros(1, dtype=torch.int64), {}), {})
    logits, losses, state = face.with_losses(tokens())
    assert torch.equal(logits, expected.logits[0])
    assert torch.equal(face(tokens()), logits)
    assert losses.keys() == expected.losses.keys()
    assert all(torch.equal(losses[name], term[0]) for name, term in expected.losses.items())
    assert torch.equal(state.model.bank.slots, expected.state.bank.slots)


# --- what is carried --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eviction", ["lru", "fifo", "random", "blind"])
def test_any_parts_of_a_sequence_equal_the_whole_also_through_files(tmp_path: Path, eviction: str) -> None:
    model = small(eviction=eviction).double()
    whole, end = model(tokens(), return_state=True)
    for cut in range(1, 11):
        first, state = model(tokens()[:, :cut], return_state=True)
        model.save(tmp_path / "state.safetensors", state)
        second, after = model(tokens()[:, cut:], model.load(tmp_path / "state.safetensors"), return_state=True)
        torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-9, atol=1e-10)
        assert after.seen == end.seen == 11
        for field, part in tensors_of(after).items():
            torch.testing.assert_close(part, tensors_of(end)[field], rtol=1e-9, atol=1e-10)


def test_a_new_episode_finds_the_slots_and_nothing_that_the_window_saw() -> None:
    model = small()
    _, state = model(tokens(), return_state=True)
    begun = model.next_episode(state)
    assert begun.seen == begun.model.past.shape[3] == begun.model.open.shape[2] == 0
    assert not begun.model.history.any()
    for ours, theirs in zip(begun.model.bank, state.model.bank, strict=True):
        assert torch.equal(ours, theirs)
    again = model(tokens(1), begun)
    assert not torch.allclose(again, model(tokens(1)))
    assert torch.equal(again, model_outputs(model, tokens(1), state.model).logits[0])  # the model's persistent memory
    first = model(tokens(1)[:, :2], begun, control="off")  # without reads, nothing is left of the episode before
    assert torch.equal(first, model(tokens(1)[:, :2], control="off"))


def test_a_bank_is_carried_over_episodes_through_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bank = MultiHeadMemoryBank(3, 5, 4, num_heads=2, top_k=2, bottleneck=2, chunk=3)
    x = torch.randn(3, 8, 3)
    _, state = bank(x, return_state=True)
    begun = bank.next_episode(state)
    bank.save(tmp_path / "bank.safetensors", begun)
    loaded = bank.load(tmp_path / "bank.safetensors")
    assert loaded.seen == loaded.open.shape[2] == 0
    assert torch.equal(bank(x, loaded), bank(x, begun))
    assert not torch.allclose(bank(x, loaded), bank(x))


def test_training_goes_on_from_a_state_without_gradients() -> None:
    model = small()
    embedding = model.cell.model.input.input.embedding.weight
    first = torch.tensor([[0, 1, 2, 0, 1, 2]])
    for cut, reached in ((False, True), (True, False)):
        _, state = model(first, return_state=True)
        model.zero_grad()
        model(torch.tensor([[3, 4, 5, 6]]), detached(state) if cut else state).square().sum().backward()
        assert bool(embedding.grad[0, :3].any()) == reached
        assert embedding.grad[0, 3:].any()


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ({"memory_size": 6}, "model.bank.slots", r"shape \(1, 3, 2, 6, 2\); allowed: \(1, any, 2, 5, 2\)"),
        ({"memory_dim": 8}, "model.bank.slots", r"shape \(1, 3, 2, 5, 4\); allowed: \(1, any, 2, 5, 2\)"),
        ({"num_memory_heads": 4}, "model.bank.slots", r"shape \(1, 3, 4, 5, 1\); allowed: \(1, any, 2, 5, 2\)"),
        ({"num_layers": 1}, "model.past", r"shape \(1, 3, 1, 2, 6\); allowed: \(1, any, 2, any, 6\)"),
        ({"embedding_size": 8}, "model.past", r"shape \(1, 3, 2, 2, 8\); allowed: \(1, any, 2, any, 6\)"),
        ({"chunk": 4}, "model.open", "3 open of 11 tokens; allowed: 2, in steps of 3"),
        ({"window": 4}, "model.past", "3 tokens; allowed: 2, in a window of 3"),
    ],
)
def test_a_state_of_another_memnet_is_refused(tmp_path: Path, change: dict[str, Any], key: str, value: str) -> None:
    other, path = small(**change), tmp_path / "state.safetensors"
    _, state = other(tokens(), return_state=True)
    other.save(path, state)
    with pytest.raises(DataError, match=rf"^{path}: MemNetCellState\.{key}: {value}$") as from_file:
        small().load(path)
    with pytest.raises(ParameterError, match=rf"^MemNetCellState\.{key}: ") as given:
        small()(tokens(), state)
    assert "\n" not in f"{from_file.value}{given.value}"


@pytest.mark.parametrize("name", ["MemNet", "MultiHeadMemoryBank", "TransformerController"])
def test_a_state_of_another_type_is_refused(tmp_path: Path, name: str) -> None:
    path, exact, model = tmp_path / "state.safetensors", made(name).double(), made(name)
    exact.save(path, exact.initial_state(2))
    with pytest.raises(DataError, match=rf"^{path}: \w+\.\S+: torch\.float64; allowed: torch\.float32, as the param"):
        model.load(path)


@pytest.mark.parametrize("name", ["MemNet", "MultiHeadMemoryBank"])
def test_only_its_own_state_begins_a_new_episode(name: str) -> None:
    model: Any = made(name)
    other = made("MemoryCell").initial_state(1)
    with pytest.raises(ParameterError, match=rf"^\w+CellState: {type(other).__name__}; allowed: \w+CellState$"):
        model.next_episode(other)


# --- what is recorded, and the window ---------------------------------------------------------------------------------


def test_a_record_has_a_weighting_for_each_head_that_takes_k_slots() -> None:
    model = small().eval()
    record = model.record(tokens(time=12))
    assert record.read_weights is not None
    assert record.read_weights.shape == record.write_weights.shape == (3, 12, 2, 5)
    assert ((record.read_weights > 0).sum(-1) == 2).all()
    torch.testing.assert_close(record.read_weights.sum(-1), torch.ones(3, 12, 2))
    assert record.slots.shape == (3, 12, 5, 4)
    assert not record.slots[:, :2].any()  # a memory step has three tokens, of which the last completes it
    assert record.slots[:, 2].any()
    assert record.usage[:, 11].sum() > record.usage[:, 1].sum() == 0


@pytest.mark.parametrize("longer", [11, 12, 40])
def test_a_window_longer_than_the_sequence_sees_all_of_it(longer: int) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"feedforward": 6, "num_layers": 2, "num_heads": 1}
    whole, other = (TransformerController(3, window=window, **sizes) for window in (11, longer))
    weights = other.state_dict()
    for name, value in whole.state_dict().items():
        weights[name] = torch.cat([value, weights[name][:, :, 11:]], 2) if "distance" in name else value
    other.load_state_dict(weights)
    x = torch.randn(2, 11, 3)
    torch.testing.assert_close(other(x), whole(x), rtol=1e-5, atol=1e-6)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_auxiliary_losses_are_weighed_as_by_the_authors_or_as_told() -> None:
    _, losses, _ = small().with_losses(tokens())
    assert LOSS_WEIGHTS == {"utilisation": 0.01, "sparsity": 0.02, "diversity": 0.01}
    expected = 0.01 * losses["utilisation"] + 0.02 * losses["sparsity"] + 0.01 * losses["diversity"]
    torch.testing.assert_close(small().auxiliary_loss(losses), expected)
    torch.testing.assert_close(small(loss_weights={"pressure": 2.0}).auxiliary_loss(losses), 2 * losses["pressure"])
    assert small(loss_weights={}).auxiliary_loss(losses) == 0


def test_auxiliary_losses_reach_the_addressing() -> None:
    model = small()
    _, losses, _ = model.with_losses(tokens())
    model.auxiliary_loss(losses).backward()
    assert model.cell.model.bank.interface.weight.grad.any()


@pytest.mark.parametrize("weight", [-0.01, float("nan"), float("inf")])
def test_a_negative_weight_of_a_loss_is_refused(weight: float) -> None:
    line = rf"^loss_weights: utilisation {weight}; allowed: a finite number, 0 or more$"
    with pytest.raises(ParameterError, match=line):
        small(loss_weights={"utilisation": weight})


# --- mixed precision --------------------------------------------------------------------------------------------------


def copy_task(num_train: int) -> delayed_copy.Config:
    return delayed_copy.Config(
        num_symbols=4, num_items=2, min_delay=8, max_delay=8, test_delays=(8,), num_train=num_train, num_validation=2,
        num_test=512,
    )  # fmt: skip


@cache
def trained(mixed: bool) -> MemNet:
    """A MemNet that answers beyond what its window shows; under ``mixed`` also trained under autocast."""
    config = copy_task(16 * 300)
    torch.manual_seed(0)
    model = MemNet(
        config.interface()["num_tokens"], 16, 32, num_layers=1, num_heads=2, memory_size=8, memory_dim=16,
        num_memory_heads=1, top_k=4, bottleneck=8, window=4, chunk=4,
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    train = config.build(0).train
    for x, y in zip(train.inputs.split(16), train.targets.split(16), strict=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            outputs = model(x)
        optimiser.zero_grad()
        cross_entropy(outputs.float().flatten(0, 1), y.flatten(), ignore_index=-1).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model


@torch.no_grad()
def answers(model: CellModule, x: Tensor, precision: torch.dtype) -> tuple[Tensor, Any]:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        return model(x, return_state=True)


@pytest.mark.parametrize("mixed", [False, True], ids=["trained in float32", "trained under autocast"])
def test_a_trained_memnet_has_the_same_answers_under_bfloat16_autocast_as_in_float32(mixed: bool) -> None:
    model, test = trained(mixed), copy_task(2).build(0).test
    exact, low = (answers(model, test.inputs, precision) for precision in (torch.float32, torch.bfloat16))
    asked = test.targets >= 0
    first, second = (outputs.argmax(-1)[asked] for outputs, _ in (exact, low))
    right = [(found == test.targets[asked]).float().mean() for found in (first, second)]
    assert right[0] > 0.9, "nothing is learnt, so that the comparison says nothing"
    assert not torch.equal(exact[0], low[0]), "nothing is rounded, so that the comparison says nothing"
    assert (first == second).float().mean() >= 0.99
    assert abs(right[0] - right[1]) <= 0.01
    assert all(part.dtype == torch.float32 for part in tensors_of(low[1]).values())
