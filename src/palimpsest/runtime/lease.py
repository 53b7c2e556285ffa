"""Leases of GPUs: a process holds a device through a file lock, which the kernel drops when the process dies.

A device has one slot for every pack that shares it. A slot is a file; whoever holds the slot keeps the file locked
(``flock``). An unlocked file means nothing. This module does not import torch, so that CUDA_VISIBLE_DEVICES is set
before CUDA reads it.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from palimpsest.foundation.errors import ParameterError, ToolError

CHOSEN, VISIBLE = "PALIMPSEST_GPUS", "CUDA_VISIBLE_DEVICES"
HELD = "PALIMPSEST_LEASE"
"""Path of the lock file of this process; its child processes inherit it and take no second lease."""
FOLDER = "PALIMPSEST_LEASES"
POLL_SECONDS = 0.2
_UUID = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOOL_LINE = re.compile(rf"^GPU \d+:.*\(UUID: ({_UUID.pattern})\)", re.MULTILINE)

_handles: set[int] = set()


def _close_in_child() -> None:
    """Close the locks in a forked child: they belong to the parent, and end with it even if the child lives on."""
    for handle in _handles:
        os.close(handle)
    _handles.clear()


os.register_at_fork(after_in_child=_close_in_child)


# --- devices ----------------------------------------------------------------------------------------------------------


def devices(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the devices that this process may use, in the notation of CUDA_VISIBLE_DEVICES.

    PALIMPSEST_GPUS has precedence over CUDA_VISIBLE_DEVICES: it is set for this program only, while the other is often
    inherited from a shell or a batch system. Within a batch job it must therefore name devices of that job. If neither
    is set, all GPUs that the driver lists are returned; a slice of a GPU (MIG) must be named.

    Args:
        environment: PALIMPSEST_GPUS holds names or numbers, separated by commas; on a machine without a GPU it may
            hold any names as stand-ins. CUDA_VISIBLE_DEVICES has the same form; as in CUDA, the list ends at -1, and
            an empty list means no device.

    Raises:
        ParameterError: a name is empty or is repeated.
    """
    if CHOSEN in environment:
        return _split(CHOSEN, environment[CHOSEN])
    if VISIBLE not in environment:
        return listed_by_driver()
    if environment[VISIBLE].strip() in ("", "NoDevFiles"):  # Slurm writes the latter for "none"
        return ()
    return _split(VISIBLE, environment[VISIBLE])


def _split(variable: str, text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not name or names.count(name) > 1:
            fault = "is repeated" if name else "a name is empty"
            raise ParameterError(f"{variable}: {text!r}: {name + ' ' if name else ''}{fault}; allowed: e.g. 0,1")
    return tuple(itertools.takewhile(lambda name: name != "-1", names))


def listed_by_driver(driver: Path = Path("/proc/driver/nvidia/gpus"), nodes: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the UUIDs of the GPUs that NVIDIA's driver lists and this process may open, in the order of bus addresses.

    In a container the driver may list GPUs of other users; their device node is missing or cannot be opened. Falls back
    to ``nvidia-smi`` where a container hides the driver's folder, or where the driver does not know a UUID because the
    GPU is not initialised yet.
    """
    found = []
    for file in sorted(driver.glob("*/information")):
        lines = (line.partition(":") for line in file.read_text().splitlines())
        entry = {key.strip(): value.strip() for key, _, value in lines}
        if "Device Minor" in entry and not _may_open(nodes / f"nvidia{entry['Device Minor']}"):
            continue
        if not _UUID.fullmatch(entry.get("GPU UUID", "")):
            return _listed_by_tool()
        found.append(entry["GPU UUID"])
    return tuple(found) if driver.is_dir() else _listed_by_tool()


def _may_open(node: Path) -> bool:
    try:
        os.close(os.open(node, os.O_RDWR))
    except OSError:
        return False
    return True


def _listed_by_tool() -> tuple[str, ...]:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(_TOOL_LINE.findall(done.stdout)) if done.returncode == 0 else ()


def _lock_names(names: Sequence[str]) -> dict[str, str]:
    """Return the file name of each device's locks: its UUID if known, because one process's 0 is another's GPU-….

    A batch system may isolate its jobs, so that each job lists only its own GPUs and calls the first of them 0.

    Raises:
        ParameterError: there is no device.
    """
    if not names:
        raise ParameterError(
            f"lease: no GPU is visible; allowed: a machine with one, named by {CHOSEN} or {VISIBLE} where they are set"
        )
    listed = () if all(_UUID.fullmatch(name) for name in names) else listed_by_driver()
    file_names = {}
    for name in names:
        if name.isdecimal():
            matches = listed[int(name) : int(name) + 1]
        else:  # CUDA accepts the beginning of a UUID
            matches = [uuid for uuid in listed if name.startswith("GPU-") and uuid.startswith(name)]
        file_names[name] = quote(matches[0] if len(matches) == 1 else name, safe="")
    return file_names


# --- lock files -------------------------------------------------------------------------------------------------------


def lease_folder() -> Path:
    """Return the directory of the lock files and create it if it is missing; it belongs to this machine and this user.

    The directory is PALIMPSEST_LEASES if that is set; else ``palimpsest`` below XDG_RUNTIME_DIR if this user owns
    that; else one below the directory for temporary files. Processes see each other's leases only if they use the
    same directory.

    Raises:
        ParameterError: the folder cannot be created, belongs to another user, or others may write to it.
    """
    if FOLDER in os.environ:
        chosen = Path(os.environ[FOLDER])
        if not chosen.is_absolute():
            raise ParameterError(f"{FOLDER}: {str(chosen)!r}: not an absolute path; allowed: e.g. /run/lock/palimpsest")
        return _make(chosen, f"{FOLDER}: {chosen}")
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))  # a batch job may inherit the one of another machine
    own = runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.getuid()
    folder = runtime / "palimpsest" if own else Path(tempfile.gettempdir()) / f"palimpsest-{os.getuid()}"
    _make(folder, f"leases: {folder}")
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise ParameterError(
            f"leases: {folder}: not a directory that only this user may write to; allowed: another one as {FOLDER}"
        )
    return folder


def _make(folder: Path, label: str) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"{label}: cannot be created: {error.strerror}; allowed: a directory") from None
    return folder


def held_slots(names: Sequence[str], folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the slots of each device that are held now.

    Raises:
        ParameterError: there is no device.
    """
    with _scan(folder):
        return {name: _held(folder, file_name) for name, file_name in _lock_names(names).items()}


@contextmanager
def _scan(folder: Path) -> Iterator[None]:
    """Let one process at a time look for free slots: it tests a slot by locking it, which others would see as held."""
    handle = os.open(folder / ".scan", os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _held(folder: Path, file_name: str) -> tuple[int, ...]:
    """Return the held slots of a device, with any number: other processes may allow more packs on it than this one."""
    prefix = f"{file_name}."
    ends = (path.name.removeprefix(prefix) for path in folder.iterdir() if path.name.startswith(prefix))
    held = []
    for slot in sorted(int(end) for end in ends if end.isdecimal()):
        handle = _lock(folder / f"{prefix}{slot}")
        if handle is None:
            held.append(slot)
        else:
            os.close(handle)
    return tuple(held)


def _lock(file: Path) -> int | None:
    """Lock a slot's file and return its descriptor, or None if it is held; programs started later do not inherit it."""
    handle = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return handle


# --- the lease --------------------------------------------------------------------------------------------------------


@contextmanager
def lease(
    names: Sequence[str],
    packs_per_device: int,
    folder: Path,
    report: Callable[[str], None],
    environment: MutableMapping[str, str] = os.environ,
) -> Iterator[str]:
    """Hold one device, and wait for it if all are full; meanwhile CUDA_VISIBLE_DEVICES names this device.

    Takes the device with the fewest leases, among equals the first in ``names``. A process that was started by the
    holder of a lease works under that lease. The lease ends with the process, even if the process is killed.

    Args:
        names: devices to choose from, as :func:`devices` returns them.
        packs_per_device: largest number of leases on a device, at least 1.
        folder: directory of the lock files; see :func:`lease_folder`.
        report: called once, with a sentence, if all devices are full.
        environment: where CUDA_VISIBLE_DEVICES is set, and afterwards restored.

    Yields:
        The device, one of ``names``.

    Raises:
        ParameterError: there is no device, or ``packs_per_device`` is not positive.
    """
    if packs_per_device < 1:
        raise ParameterError(f"lease: packs a GPU: {packs_per_device}; allowed: at least 1")
    device, file, handle = _acquire(names, packs_per_device, folder, report, environment.get(HELD))
    before = {variable: environment.get(variable) for variable in (VISIBLE, HELD)}
    try:
        environment.update({VISIBLE: device, HELD: str(file)})
        yield device
    finally:
        for variable, value in before.items():
            if value is None:
                environment.pop(variable, None)
            else:
                environment[variable] = value
        if handle in _handles:  # not in a forked child
            _handles.remove(handle)
            os.close(handle)


@contextmanager
def for_training(device: str, packs_per_device: int, report: Callable[[str], None]) -> Iterator[None]:
    """Hold a GPU while training on one; do nothing on a CPU. Enter it before CUDA is initialised.

    Args:
        device: "cpu" or "cuda", as in a preset.
        packs_per_device: see :func:`lease`.
        report: see :func:`lease`.
    """
    if device == "cpu":
        yield
        return
    with lease(devices(os.environ), packs_per_device, lease_folder(), report):
        yield


def _acquire(
    names: Sequence[str], packs_per_device: int, folder: Path, report: Callable[[str], None], inherited: str | None
) -> tuple[str, Path, int | None]:
    """Return a device, its lock file and the lock's descriptor, or None for a lock that a parent process holds."""
    file_names = _lock_names(names)
    reported = False
    while True:
        with _scan(folder):
            held = {name: _held(folder, file_name) for name, file_name in file_names.items()}
            for name, slot in ((name, slot) for name, slots in held.items() for slot in slots):
                file = folder / f"{file_names[name]}.{slot}"
                if str(file) == inherited:
                    return name, file, None
            name = min(names, key=lambda name: len(held[name]))
            if len(held[name]) < packs_per_device:
                slot = next(slot for slot in itertools.count() if slot not in held[name])
                file = folder / f"{file_names[name]}.{slot}"
                handle = _lock(file)
                if handle is not None:
                    _handles.add(handle)
                    os.utime(handle)  # cleaners of temporary files delete old ones
                    return name, file, handle
        if not reported:
            reported = True
            full = ", ".join(f"{name} is held by {len(slots)}" for name, slots in held.items())
            report(f"waiting for a GPU, at most {packs_per_device} at a time may hold one: {full}")
        time.sleep(POLL_SECONDS)


def run(
    command: Sequence[str], names: Sequence[str], packs_per_device: int, folder: Path, report: Callable[[str], None]
) -> NoReturn:
    """Replace this process by ``command``, under a lease: same process id, same signals, the command's own exit status.

    The command inherits the lock, and so do its child processes if they inherit open files: the slot is held as long as
    one of them lives.

    Raises:
        ParameterError: see :func:`lease`.
        ToolError: there is no such command.
    """
    environment = dict(os.environ)
    with lease(names, packs_per_device, folder, report, environment):
        for handle in _handles:
            os.set_inheritable(handle, True)
        sys.stdout.flush()
        sys.stderr.flush()
        ignored = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it; the command must not
        try:
            os.execvpe(command[0], list(command), environment)
        except OSError as error:
            raise ToolError(f"lease: {command[0]}: cannot be run: {error.strerror}; allowed: a program") from None
        finally:
            signal.signal(signal.SIGPIPE, ignored)
