"""Naive NTM and DNC: the papers' equations, line by line, in plain PyTorch.

[Graves, Wayne, Danihelka 2014], "Neural Turing Machines", and [Graves et al. 2016], "Hybrid computing using a neural
network with dynamic external memory", Methods. Our cells are timed against these: a linear layer for every parameter of
every head, a loop over heads and shifts, gradients by autograd, one run. Imports nothing of this project; a test checks
that with the same weights its outputs and gradients equal ours.

Where the papers leave a choice open, or a quotient undefined, the choice is the same as ours: heads address the memory
of the previous step, an NTM's heads start at slot 0, its memory starts at 10⁻⁶, and norms and usages have a floor.

Axes: T time, B batch, N slots, W slot_dim.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_FLOOR = 1e-3
USAGE_FLOOR = 1e-6
CONSTANT = 1e-6
MAX_SHIFT = 1


def content_weights(key: Tensor, strength: Tensor, memory: Tensor) -> Tensor:
    """w(i) = e^(β K[k, M(i)]) / Σ_j e^(β K[k, M(j)]), K[u, v] = u · v / (|u| |v|)    [Graves 2014, eqs. 5, 6].

    Args:
        key: k, (B, W).
        strength: β, (B, 1).
        memory: M, (B, N, W).
    """
    dot = (memory * key[:, None]).sum(-1)
    norms = memory.norm(dim=-1).clamp_min(NORM_FLOOR) * key.norm(dim=-1, keepdim=True).clamp_min(NORM_FLOOR)
    return F.softmax(strength * dot / norms, dim=-1)


# --- Neural Turing Machine --------------------------------------------------------------------------------------------


class HeadParameters(NamedTuple):
    """Parameters of an NTM's head in a step, each (B, …)."""

    key: Tensor
    strength: Tensor
    gate: Tensor
    shift: Tensor
    sharpness: Tensor
    erase: Tensor | None
    """Like ``add``, only of a write head."""
    add: Tensor | None


class Head(nn.Module):
    """A linear layer for every parameter of a head; a write head also has an erase and an add vector."""

    def __init__(self, hidden: int, slot_dim: int, *, writes: bool) -> None:
        super().__init__()
        self.key = nn.Linear(hidden, slot_dim)
        self.strength = nn.Linear(hidden, 1)
        self.gate = nn.Linear(hidden, 1)
        self.shift = nn.Linear(hidden, 2 * MAX_SHIFT + 1)
        self.sharpness = nn.Linear(hidden, 1)
        self.erase = nn.Linear(hidden, slot_dim) if writes else None
        self.add = nn.Linear(hidden, slot_dim) if writes else None

    def forward(self, h: Tensor) -> HeadParameters:
        """Compute the parameters from the controller's output."""
        return HeadParameters(
            key=self.key(h),
            strength=F.softplus(self.strength(h)),
            gate=torch.sigmoid(self.gate(h)),
            shift=F.softmax(self.shift(h), dim=-1),
            sharpness=1 + F.softplus(self.sharpness(h)),
            erase=None if self.erase is None else torch.sigmoid(self.erase(h)),
            add=None if self.add is None else self.add(h),
        )


def address(head: HeadParameters, memory: Tensor, previous: Tensor) -> Tensor:
    """Compute the weighting w_t (B, N) from w_{t−1}."""
    content = content_weights(head.key, head.strength, memory)
    gated = head.gate * content + (1 - head.gate) * previous  # eq. 7
    shifted = torch.zeros_like(gated)
    for place, offset in enumerate(range(-MAX_SHIFT, MAX_SHIFT + 1)):  # eq. 8
        shifted = shifted + head.shift[:, place : place + 1] * gated.roll(offset, 1)
    power = shifted**head.sharpness  # eq. 9
    return power / power.sum(-1, keepdim=True)


class NTM(nn.Module):
    """Neural Turing Machine with an LSTM.

    Args:
        d_in: features of an input.
        d_out: logits of a step.
        hidden: units of the LSTM.
        num_slots: N.
        slot_dim: W.
        num_read_heads: number of read heads.
        num_write_heads: number of write heads.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        hidden: int,
        num_slots: int,
        slot_dim: int,
        num_read_heads: int = 1,
        num_write_heads: int = 1,
    ) -> None:
        super().__init__()
        self.num_slots, self.slot_dim = num_slots, slot_dim
        self.controller = nn.LSTMCell(d_in + num_read_heads * slot_dim, hidden)
        self.read_heads = nn.ModuleList(Head(hidden, slot_dim, writes=False) for _ in range(num_read_heads))
        self.write_heads = nn.ModuleList(Head(hidden, slot_dim, writes=True) for _ in range(num_write_heads))
        self.output = nn.Linear(hidden + num_read_heads * slot_dim, d_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (T, B, d_out) after every input (T, B, d_in)."""
        batch = inputs.shape[1]
        h = c = inputs.new_zeros(batch, self.controller.hidden_size)
        memory = inputs.new_full((batch, self.num_slots, self.slot_dim), CONSTANT)
        first = inputs.new_zeros(batch, self.num_slots)
        first[:, 0] = 1
        read_weights = [first for _ in self.read_heads]
        write_weights = [first for _ in self.write_heads]
        reads = [inputs.new_zeros(batch, self.slot_dim) for _ in self.read_heads]
        logits = []
        for x in inputs:
            h, c = self.controller(torch.cat([x, *reads], dim=1), (h, c))
            for i, head in enumerate(self.read_heads):
                read_weights[i] = address(head(h), memory, read_weights[i])
                reads[i] = (read_weights[i][..., None] * memory).sum(1)  # eq. 2
            writes = [head(h) for head in self.write_heads]
            for i, write in enumerate(writes):
                write_weights[i] = address(write, memory, write_weights[i])
            for w, write in zip(write_weights, writes, strict=True):
                memory = memory * (1 - w[..., None] * write.erase[:, None])  # eq. 3
            for w, write in zip(write_weights, writes, strict=True):
                memory = memory + w[..., None] * write.add[:, None]  # eq. 4
            logits.append(self.output(torch.cat([h, *reads], dim=1)))
        return torch.stack(logits)


# --- Differentiable Neural Computer -----------------------------------------------------------------------------------


class ReadHeadParameters(NamedTuple):
    """Parameters of a DNC's read head in a step, each (B, …)."""

    key: Tensor
    strength: Tensor
    free: Tensor
    modes: Tensor
    """Shares of backward, content and forward."""


class ReadHead(nn.Module):
    """A linear layer for every parameter of a DNC's read head."""

    def __init__(self, hidden: int, slot_dim: int) -> None:
        super().__init__()
        self.key = nn.Linear(hidden, slot_dim)
        self.strength = nn.Linear(hidden, 1)
        self.free = nn.Linear(hidden, 1)
        self.modes = nn.Linear(hidden, 3)

    def forward(self, h: Tensor) -> ReadHeadParameters:
        """Compute the parameters from the controller's output."""
        strength, modes = oneplus(self.strength(h)), F.softmax(self.modes(h), dim=-1)
        return ReadHeadParameters(self.key(h), strength, torch.sigmoid(self.free(h)), modes)


class WriteHead(nn.Module):
    """A linear layer for every parameter of a DNC's write head."""

    def __init__(self, hidden: int, slot_dim: int) -> None:
        super().__init__()
        self.key = nn.Linear(hidden, slot_dim)
        self.strength = nn.Linear(hidden, 1)
        self.erase = nn.Linear(hidden, slot_dim)
        self.add = nn.Linear(hidden, slot_dim)
        self.allocation_gate = nn.Linear(hidden, 1)
        self.gate = nn.Linear(hidden, 1)


def oneplus(x: Tensor) -> Tensor:
    """1 + log(1 + e^x)."""
    return 1 + F.softplus(x)


def allocation(usage: Tensor) -> Tensor:
    """a[φ_j] = (1 − u[φ_j]) Π_{i<j} u[φ_i], φ the slots by usage    [Graves 2016, eq. 1]; u is (B, N)."""
    usage = USAGE_FLOOR + (1 - USAGE_FLOOR) * usage
    ordered, order = usage.sort(dim=-1, stable=True)
    before = torch.cumprod(torch.cat([torch.ones_like(ordered[:, :1]), ordered[:, :-1]], dim=1), dim=1)
    return torch.zeros_like(usage).scatter(1, order, (1 - ordered) * before)


class DNC(nn.Module):
    """Differentiable Neural Computer with an LSTM of one layer.

    Args:
        d_in: features of an input.
        d_out: logits of a step.
        hidden: units of the LSTM.
        num_slots: N.
        slot_dim: W.
        num_read_heads: number of read heads.
    """

    def __init__(
        self, d_in: int, d_out: int, hidden: int, num_slots: int, slot_dim: int, num_read_heads: int = 1
    ) -> None:
        super().__init__()
        self.num_slots, self.slot_dim = num_slots, slot_dim
        self.controller = nn.LSTMCell(d_in + num_read_heads * slot_dim, hidden)
        self.read_heads = nn.ModuleList(ReadHead(hidden, slot_dim) for _ in range(num_read_heads))
        self.write_head = WriteHead(hidden, slot_dim)
        self.output = nn.Linear(hidden + num_read_heads * slot_dim, d_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (T, B, d_out) after every input (T, B, d_in)."""
        batch, num_slots = inputs.shape[1], self.num_slots
        h = c = inputs.new_zeros(batch, self.controller.hidden_size)
        memory = inputs.new_zeros(batch, num_slots, self.slot_dim)
        link = inputs.new_zeros(batch, num_slots, num_slots)
        usage = precedence = write_weights = inputs.new_zeros(batch, num_slots)
        read_weights = [torch.zeros_like(usage) for _ in self.read_heads]
        reads = [inputs.new_zeros(batch, self.slot_dim) for _ in self.read_heads]
        diagonal = torch.eye(num_slots, dtype=torch.bool, device=inputs.device)
        logits = []
        for x in inputs:
            h, c = self.controller(torch.cat([x, *reads], dim=1), (h, c))
            interface = [head(h) for head in self.read_heads]
            retention = torch.ones_like(usage)
            for w, read in zip(read_weights, interface, strict=True):
                retention = retention * (1 - read.free * w)
            usage = (usage + write_weights - usage * write_weights) * retention
            write_weights = self.write_weighting(h, memory, usage)
            w = write_weights[..., None]
            erase, add = torch.sigmoid(self.write_head.erase(h)), self.write_head.add(h)
            memory = memory * (1 - w * erase[:, None]) + w * add[:, None]
            link = (1 - w - write_weights[:, None]) * link + w * precedence[:, None]
            link = link.masked_fill(diagonal, 0.0)
            precedence = (1 - write_weights.sum(1, keepdim=True)) * precedence + write_weights
            for i, read in enumerate(interface):
                previous = read_weights[i][..., None]
                forward, backward = (link @ previous).squeeze(-1), (link.transpose(1, 2) @ previous).squeeze(-1)
                content = content_weights(read.key, read.strength, memory)
                along_backward, along_content, along_forward = read.modes.split(1, dim=-1)
                read_weights[i] = along_backward * backward + along_content * content + along_forward * forward
                reads[i] = (read_weights[i][..., None] * memory).sum(1)
            logits.append(self.output(torch.cat([h, *reads], dim=1)))
        return torch.stack(logits)

    def write_weighting(self, h: Tensor, memory: Tensor, usage: Tensor) -> Tensor:
        """w^w = g_w [g_a a + (1 − g_a) c], (B, N)."""
        head = self.write_head
        content = content_weights(head.key(h), oneplus(head.strength(h)), memory)
        allocation_gate, gate = torch.sigmoid(head.allocation_gate(h)), torch.sigmoid(head.gate(h))
        return gate * (allocation_gate * allocation(usage) + (1 - allocation_gate) * content)
