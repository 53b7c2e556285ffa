"""Set-up of a training process: one thread, deterministic kernels, an allocator that keeps its pages."""

from __future__ import annotations

import ctypes
import os

import torch
from torch import nn
from torch.utils import deterministic

# glibc's mallopt: keep freed memory instead of returning it to the kernel, which would zero it again for the next
# step's activations (Linux with glibc only; no effect elsewhere)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def prepare(device: str = "cpu") -> None:
    """Set up this process; call it before the first tensor is created.

    One thread, because processes that each use all cores slow each other down, and because sums would depend on the
    number of cores. On a GPU, an operation without a deterministic kernel warns instead of failing. The gradient of a
    gather is such an operation; it is deterministic where no index repeats, as in the memories here.

    Args:
        device: "cpu" or "cuda".
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    # the same as use_deterministic_algorithms, but does not import the compiler, which takes a second
    torch.set_deterministic_debug_mode("error" if device == "cpu" else "warn")
    # no code here reads uninitialised memory; the switch is a property that the module defines when it is imported
    deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 1 << 26)
    except (OSError, AttributeError):
        pass


def compile_model(model: nn.Module) -> None:
    """Let torch.compile fuse a model, with deterministic kernels if this process asks for them."""
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled(), warn_only=warn)
    model.compile()


def backend(device: str) -> dict[str, str]:
    """Return what decides the last bits of a result beside code, data and parameters: torch, CPU capability, GPU."""
    described = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    if device.startswith("cuda"):
        described["cuda"] = torch.cuda.get_device_name(device)
    return described
