"""Description of the machine of a measurement: processor, memory, libraries; no host name, user or path."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import psutil
import torch

from bench import processes


def describe(device: str = "cpu") -> dict[str, Any]:
    """Describe this machine; everything in it may be published."""
    build = torch.__config__.show()
    described: dict[str, Any] = {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "torch": torch.__version__,
        "blas": _found(r"BLAS_INFO=(\w+)", build),
        "onednn": _found(r"MKL-DNN v([\d.]+)", build) if torch.backends.mkldnn.is_available() else "none",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "default_threads": _default_threads(),
        "python": platform.python_version(),
        "system": _system(),
    }
    if device != "cpu":
        properties = torch.cuda.get_device_properties(device)
        described["gpu"] = properties.name
        described["gpu_memory_gb"] = round(properties.total_memory / 1e9)
        described["cuda"] = torch.version.cuda
    return described


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _default_threads() -> int:
    """Return torch's default number of threads."""
    command = ["-c", "import torch; print(torch.get_num_threads())"]
    return int(processes.run(command, processes.environment(one_thread=False)).stdout)


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    return _found(r"model name\s*:\s*(.+)", text, platform.machine())


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        name = platform.system()
    return f"{name}, {platform.machine()}"


def _found(pattern: str, text: str, otherwise: str = "unknown") -> str:
    match = re.search(pattern, text)
    return match[1].strip() if match else otherwise
