"""Fraction of the machine's matrix-multiply peak that a training step reaches, and the causes of the rest."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from bench import workload
from bench.clock import interleaved
from bench.scaling import epoch_of
from palimpsest.foundation.errors import ParameterError
from palimpsest.rendering import bench_columns
from palimpsest.runtime import machine

COLUMNS = bench_columns.COLUMNS["peak"]
PRESETS = ("default", "paper")
TRACKS = ("published", "repaired")
LARGE = {"cpu": ((1, 512), (1, 1024), (1, 2048), (8, 256), (8, 512)), "cuda": ((1, 4096), (1, 8192), (16, 2048))}
"""Products whose best rate counts as the machine's peak: batch, and side of the square matrices."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--pack", type=int, nargs="+", default=[1, 5, 20], help="sizes of packs (1 5 20)")
    parser.add_argument("--preset", nargs="+", default=list(PRESETS), help="whose sizes (default paper)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds, of which the median is taken (5)")


@dataclass
class Call:
    """One matrix product of a step: the operation, and operands with the same shapes and layouts."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def __call__(self) -> Any:
        """Compute the product again."""
        return self.function(*self.arguments, **self.options)


@dataclass
class Products(TorchDispatchMode):
    """Records every operation that the FLOP counter counts: products of matrices, forward and backward.

    Operands with the same shape and layout share one tensor, because in a step most operands are still in the cache.
    """

    calls: list[Call] = field(default_factory=list)
    _operands: dict[Any, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record the operation, then compute it."""
        if func._overloadpacket in flop_registry:
            arguments, options = pytree.tree_map_only(Tensor, self._operand, (tuple(args), dict(kwargs or {})))
            self.calls.append(Call(func, arguments, options))
        return func(*args, **(kwargs or {}))

    def _operand(self, tensor: Tensor) -> Tensor:
        key = (tensor.shape, tensor.stride(), tensor.dtype)
        if key not in self._operands:
            extent = 1 + sum((size - 1) * stride for size, stride in zip(*key[:2], strict=True))
            memory = torch.zeros(max(extent, 0), dtype=tensor.dtype, device=tensor.device)
            if tensor.is_floating_point():
                memory.normal_()
            self._operands[key] = memory.as_strided(*key[:2])
        return self._operands[key]


@dataclass(frozen=True)
class Step:
    """A training step and its matrix products alone."""

    flop: int
    train: Callable[[], Any]
    products: Callable[[], None]


def take_apart(specs: list[Any]) -> Step:
    """Count the floating point operations of a step's matrix products, and build a function that computes only these.

    The counter takes 2·m·k·n for a product of m × k by k × n and counts products only: no element-wise work, no
    norms, no softmax, no optimiser, although their time is part of the step's.

    Args:
        specs: runs of one step an epoch.
    """
    train = epoch_of(specs)
    train()
    counter = FlopCounterMode(display=False)
    with counter:
        train()
    recorded = Products()
    with recorded:
        train()

    @torch.no_grad()
    def products() -> None:
        for call in recorded.calls:
            call()

    return Step(counter.get_total_flops(), train, products)


def large_products(device: str) -> dict[str, tuple[float, Callable[[], Tensor]]]:
    """Return large float32 products: the number of operations of each, and a function that computes it."""
    generator = torch.Generator(device).manual_seed(0)
    found = {}
    for count, side in LARGE["cpu" if device == "cpu" else "cuda"]:
        a, b = (torch.randn(count, side, side, device=device, generator=generator) for _ in range(2))
        product = (lambda a=a[0], b=b[0]: torch.mm(a, b)) if count == 1 else (lambda a=a, b=b: torch.bmm(a, b))
        found[f"{count} × {side}²"] = (2.0 * count * side**3, product)
    return found


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time steps, their products alone and large products in turn, in one thread.

    Raises:
        ParameterError: an option is out of range.
    """
    if min([options.repeats, *options.pack]) < 1:
        raise ParameterError(f"--pack {options.pack} --repeats {options.repeats}; allowed: at least 1 each")
    for preset in options.preset:
        if preset not in PRESETS:
            raise ParameterError(f"--preset: {preset!r}; allowed: {', '.join(PRESETS)}")
    machine.prepare(options.device)
    cases = {
        (preset, track, size): [
            workload.sized(spec, device=options.device, steps=1)
            for spec in workload.grid(workload.specs_of(preset, track), size)
        ]
        for preset in options.preset
        for track in TRACKS
        for size in options.pack
    }
    steps, large = {key: take_apart(specs) for key, specs in cases.items()}, large_products(options.device)
    functions: dict[Any, Callable[[], Any]] = {("large", name): product for name, (_, product) in large.items()}
    for key, step in steps.items():
        functions |= {("step", *key): step.train, ("products", *key): step.products}
    seconds = interleaved(functions, options.repeats, "peak", options.device)
    peak = max(flop / seconds["large", name] for name, (flop, _) in large.items())
    return [
        row(key, steps[key].flop, seconds[("step", *key)], seconds[("products", *key)], peak)
        | {"device": options.device, "batch": cases[key][0].training.batch_size}
        for key in cases
    ]


def row(key: tuple[str, str, int], flop: int, step: float, products: float, peak: float) -> dict[str, Any]:
    """Return rates and fractions of one step.

    Args:
        key: preset, track, runs.
        flop: of the step's products.
        step: seconds of the whole step.
        products: seconds of its products alone.
        peak: operations a second of the best large product.
    """
    preset, track, runs = key
    return {
        "preset": preset,
        "track": track,
        "runs": runs,
        "gflop_per_step": flop / 1e9,
        "step_ms": step * 1e3,
        "products_ms": products * 1e3,
        "peak_gflops": peak / 1e9,
        "step_of_peak": flop / step / peak,
        "products_of_peak": flop / products / peak,
        "products_of_step": products / step,
    }
