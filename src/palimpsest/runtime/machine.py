"""How a training process uses its machine: one thread, deterministic kernels, an allocator that keeps its pages."""

from __future__ import annotations

import ctypes
import os

import torch
from torch import nn
from torch.utils import deterministic

# glibc's mallopt: keep freed memory instead of handing it back to the kernel, which would zero it again for the next
# step's activations (Linux with glibc only; elsewhere nothing happens)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def prepare(device: str = "cpu") -> None:
    """Set up this process; call it before the first tensor is made.

    One thread: several processes that each use all cores wait for each other, and sums would depend on the number of
    cores. On a GPU an operation without a deterministic kernel warns instead of failing: the gradient of a gather is
    one, and it is deterministic where no index repeats, as in our memories.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    # as use_deterministic_algorithms, which loads the compiler as well: a second that runs without it need not wait
    torch.set_deterministic_debug_mode("error" if device == "cpu" else "warn")
    # nothing here reads what it has not written; the switch is a property that the module gets when it is loaded
    deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 1 << 26)
    except (OSError, AttributeError):
        pass


def compile_model(model: nn.Module) -> None:
    """Have torch.compile fuse a model, by deterministic means if this process asks for them."""
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled(), warn_only=warn)
    model.compile()


def backend(device: str) -> dict[str, str]:
    """What decides the last bits of a result beside code, data and parameters."""
    described = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    if device.startswith("cuda"):
        described["cuda"] = torch.cuda.get_device_name(device)
    return described
