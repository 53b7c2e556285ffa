"""NeMA-Lite on its published task as an ordinary PyTorch script, without this package; packs are compared with it.

python bench/plain.py --mem-lambda 0.1 --write-threshold 0.5 --seed 0 --folder runs/0      one run
python bench/plain.py --grid runs.json --folder runs                                      several, one after the other
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONTROLS = ("on", "off", "shuffled", "random_writes")


@dataclass(frozen=True)
class Settings:
    """Parameters of one run."""

    mem_lambda: float = 0.1
    write_threshold: float = 0.5
    seed: int = 0
    device: str = "cpu"
    data_seed: int = 0
    sequence_length: int = 64
    num_digits: int = 10
    num_train: int = 3200
    num_validation: int = 1000
    num_test: int = 1000
    width: int = 32
    num_heads: int = 2
    num_layers: int = 2
    feedforward: int = 64
    dropout: float = 0.1
    gate_hidden: int = 32
    capacity: int = 256
    top_k: int = 4
    num_epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 1e-3
    trace_examples: int = 128


class NemaLite(nn.Module):
    """A Transformer encoder, a write gate, and a memory of the batch's written states, which CLS (position 0) reads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        s = self.settings = settings

        def layer() -> nn.TransformerEncoderLayer:
            return nn.TransformerEncoderLayer(s.width, s.num_heads, s.feedforward, s.dropout, batch_first=True)

        self.tokens = nn.Embedding(s.num_digits, s.width)
        self.positions = nn.Embedding(s.sequence_length, s.width)
        self.encoder = nn.TransformerEncoder(layer(), s.num_layers, enable_nested_tensor=False)
        # nn.TransformerEncoder copies its layer: without this line all layers would start from the same weights
        self.encoder.layers = nn.ModuleList(layer() for _ in range(s.num_layers))
        self.gate = nn.Sequential(nn.Linear(s.width, s.gate_hidden), nn.ReLU(), nn.Linear(s.gate_hidden, 1))
        self.classifier = nn.Linear(s.width, s.num_digits)

    def forward(self, tokens: Tensor, control: str = "on") -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, C), write gate (B, T) and write decisions (B, T)."""
        states = self.encoder(self.tokens(tokens) + self.positions.weight)
        gate = self.gate(states).squeeze(-1).sigmoid()
        writes = gate > self.settings.write_threshold
        if control == "random_writes":
            writes = writes.gather(1, torch.rand_like(gate).argsort(1))
        memory = states.detach()[writes][-self.settings.capacity :]  # first in, first out
        cls = states[:, 0]
        if control == "off" or not len(memory):
            return self.classifier(cls), gate, writes
        # `shuffled` swaps the memories within a batch; here a batch has one memory, so that nothing changes
        return self.classifier(cls + self.read(cls.detach(), memory)), gate, writes

    def read(self, query: Tensor, memory: Tensor) -> Tensor:
        """Return the mean of the slots most similar to the query, weighted by a softmax of their cosines."""
        similarity = F.normalize(query, dim=-1) @ F.normalize(memory, dim=-1).T
        best, index = similarity.topk(min(self.settings.top_k, len(memory)))
        return (best.softmax(-1)[..., None] * memory[index]).sum(1)


def make_data(settings: Settings) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return training, validation and test split: tokens, target, position of the answer in the first half."""
    splits = []
    for index, size in enumerate((settings.num_train, settings.num_validation, settings.num_test)):
        generator = torch.Generator().manual_seed(3 * settings.data_seed + index)
        tokens = torch.randint(settings.num_digits, (size, settings.sequence_length), generator=generator)
        position = torch.randint(1, settings.sequence_length // 2, (size,), generator=generator)
        tokens[:, 0] = 0
        targets = tokens.gather(1, position[:, None]).squeeze(1)
        splits.append((tokens.to(settings.device), targets.to(settings.device), position.to(settings.device)))
    return splits


METRICS = ("loss", "accuracy", "write_ratio", "write_gate", "answer_written")


def measure(loss: Tensor, logits: Tensor, gate: Tensor, writes: Tensor, targets: Tensor, position: Tensor) -> Tensor:
    """Return sums over a batch, in the order of METRICS."""
    return torch.stack(
        [
            loss.detach() * len(targets),
            (logits.argmax(1) == targets).sum().float(),
            writes.float().mean(1).sum(),
            gate.detach().mean(1).sum(),
            writes.gather(1, position[:, None]).sum().float(),
        ]
    )


@torch.no_grad()
def evaluate(model: NemaLite, split: tuple[Tensor, Tensor, Tensor], control: str) -> dict[str, float]:
    """Return the mean metrics on a split."""
    model.eval()
    sums = torch.zeros(len(METRICS), device=split[0].device)
    for tokens, targets, position in zip(*(part.split(model.settings.batch_size) for part in split), strict=True):
        logits, gate, writes = model(tokens, control)
        sums += measure(F.cross_entropy(logits, targets), logits, gate, writes, targets, position)
    model.train()
    return dict(zip(METRICS, (sums / len(split[1])).tolist(), strict=True))


def train_epoch(model: NemaLite, optimiser: torch.optim.Optimizer, split: tuple[Tensor, Tensor, Tensor]) -> list[float]:
    """Train for one pass over the training split and return the mean metrics."""
    inputs, targets, positions = split
    sums = torch.zeros(len(METRICS), device=inputs.device)
    for rows in torch.randperm(len(targets), device=inputs.device).split(model.settings.batch_size):
        logits, gate, writes = model(inputs[rows])
        loss = F.cross_entropy(logits, targets[rows])
        optimiser.zero_grad()
        (loss + model.settings.mem_lambda * gate.mean()).backward()
        optimiser.step()
        sums += measure(loss, logits, gate, writes, targets[rows], positions[rows])
    return (sums / len(targets)).tolist()


def train(settings: Settings, folder: Path) -> dict[str, float]:
    """Train one run and write history.csv, final.json, model.pt and trace.pt."""
    torch.manual_seed(settings.seed)
    training, validation, test = make_data(settings)
    model = NemaLite(settings).to(settings.device)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    history = []
    for epoch in range(settings.num_epochs):
        row = {f"train_{k}": v for k, v in zip(METRICS, train_epoch(model, optimiser, training), strict=True)}
        for control in ("on", "off"):
            row |= {f"validation_{k}_{control}": v for k, v in evaluate(model, validation, control).items()}
        history.append({"epoch": epoch + 1, **row})
    final = {f"test_{k}_{c}": v for c in CONTROLS for k, v in evaluate(model, test, c).items()}
    with torch.no_grad():
        _, gate, writes = model.eval()(test[0][: settings.trace_examples])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    torch.save(model.state_dict(), folder / "model.pt")
    torch.save({"write_gate": gate, "writes": writes}, folder / "trace.pt")
    (folder / "final.json").write_text(json.dumps({"settings": dataclasses.asdict(settings), "metrics": final}))
    return final


def main(arguments: list[str] | None = None) -> None:
    """Train the runs that the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--grid", type=Path, help="JSON: a list of settings; the other options are ignored")
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args(arguments))
    folder, grid = options.pop("folder"), options.pop("grid")
    if grid is None:
        train(Settings(**options), folder)
    else:
        for index, settings in enumerate(json.loads(grid.read_text())):
            train(Settings(**settings), folder / str(index))


if __name__ == "__main__":
    main()
