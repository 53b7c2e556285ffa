"""Which GPU a process may use: a lease on one device, held as a file lock that the kernel drops when its holder dies.

A device has slots, one for every pack that shares it, and a slot is a file that its holder keeps locked (``flock``).
Only the lock counts: a file that lies there unlocked means nothing. Nothing here imports torch, so that
CUDA_VISIBLE_DEVICES is set before CUDA reads it.
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
"""The lock file under which this process and those that it starts work: they take no second lease."""
FOLDER = "PALIMPSEST_LEASES"
POLL_SECONDS = 0.2
_UUID = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOOL_LINE = re.compile(rf"^GPU \d+:.*\(UUID: ({_UUID.pattern})\)", re.MULTILINE)

_handles: set[int] = set()


def _leave_to_the_parent() -> None:
    """In a forked child: a lock is the parent's, and a worker that outlives it must not keep it."""
    for handle in _handles:
        os.close(handle)
    _handles.clear()


os.register_at_fork(after_in_child=_leave_to_the_parent)


# --- which devices there are ------------------------------------------------------------------------------------------


def devices(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The devices that this process may use, as CUDA_VISIBLE_DEVICES would name them.

    PALIMPSEST_GPUS wins over CUDA_VISIBLE_DEVICES: it is said to this program alone, the other is often inherited from
    a shell or a batch system. Set within a batch job, it must therefore choose among the devices of the job. Without
    either, all GPUs that the driver lists; a slice of one (MIG) has to be named.

    Args:
        environment: PALIMPSEST_GPUS holds names or numbers with commas between, on a machine without a GPU names of
            stand-ins. CUDA_VISIBLE_DEVICES likewise; as for CUDA, the list ends at -1, and an empty one is none.

    Raises:
        ParameterError: a name is empty or is repeated.
    """
    if CHOSEN in environment:
        return _names(CHOSEN, environment[CHOSEN])
    if VISIBLE not in environment:
        return listed_by_driver()
    if environment[VISIBLE].strip() in ("", "NoDevFiles"):  # the latter is Slurm's word for none
        return ()
    return _names(VISIBLE, environment[VISIBLE])


def _names(variable: str, text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not name or names.count(name) > 1:
            fault = "is repeated" if name else "a name is empty"
            raise ParameterError(f"{variable}: {text!r}: {name + ' ' if name else ''}{fault}; allowed: e.g. 0,1")
    return tuple(itertools.takewhile(lambda name: name != "-1", names))


def listed_by_driver(driver: Path = Path("/proc/driver/nvidia/gpus"), nodes: Path = Path("/dev")) -> tuple[str, ...]:
    """UUIDs of the GPUs that NVIDIA's driver lists and that this process may open, in the order of their bus addresses.

    In a container the driver may list GPUs that belong to others: their device node is missing or refuses. Until a GPU
    is initialised its UUID may be unknown there, and some containers hide the folder: then ``nvidia-smi`` is asked.
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


def _keys(names: Sequence[str]) -> dict[str, str]:
    """What a device's files are called: its UUID where it can be had, for 0 in one process may be GPU-… in another.

    Jobs that a batch system fences off from each other each call their first GPU 0; they list no other's.

    Raises:
        ParameterError: there is no device.
    """
    if not names:
        raise ParameterError(
            f"lease: no GPU is visible; allowed: a machine with one, named by {CHOSEN} or {VISIBLE} where they are set"
        )
    listed = () if all(_UUID.fullmatch(name) for name in names) else listed_by_driver()
    keys = {}
    for name in names:
        if name.isdecimal():
            meant = listed[int(name) : int(name) + 1]
        else:  # CUDA takes the beginning of a UUID for the whole
            meant = [uuid for uuid in listed if name.startswith("GPU-") and uuid.startswith(name)]
        keys[name] = quote(meant[0] if len(meant) == 1 else name, safe="")
    return keys


# --- where the locks are ----------------------------------------------------------------------------------------------


def lease_folder() -> Path:
    """Directory of the lock files, made if it is missing: of this machine and of this user, and of no product.

    PALIMPSEST_LEASES if it is set; a folder below XDG_RUNTIME_DIR if that is this user's; otherwise one in the
    directory of temporary files. Processes see each other's leases only where they come to the same folder.

    Raises:
        ParameterError: the folder cannot be made, is somebody else's, or others may write to it.
    """
    if FOLDER in os.environ:
        chosen = Path(os.environ[FOLDER])
        if not chosen.is_absolute():
            raise ParameterError(f"{FOLDER}: {str(chosen)!r}: not an absolute path; allowed: e.g. /run/lock/palimpsest")
        return _made(chosen, f"{FOLDER}: {chosen}")
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))  # a batch job may inherit that of another machine
    own = runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.getuid()
    folder = runtime / "palimpsest" if own else Path(tempfile.gettempdir()) / f"palimpsest-{os.getuid()}"
    _made(folder, f"leases: {folder}")
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise ParameterError(
            f"leases: {folder}: not a directory that only this user may write to; allowed: another one as {FOLDER}"
        )
    return folder


def _made(folder: Path, label: str) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"{label}: cannot be made: {error.strerror}; allowed: a directory") from None
    return folder


def held_slots(names: Sequence[str], folder: Path) -> dict[str, tuple[int, ...]]:
    """The slots of each device that somebody holds now.

    Raises:
        ParameterError: there is no device.
    """
    with _looking(folder):
        return {name: _held(folder, key) for name, key in _keys(names).items()}


@contextmanager
def _looking(folder: Path) -> Iterator[None]:
    """One process at a time: whether a slot is free is found out by locking it, which another would take for held."""
    handle = os.open(folder / ".looking", os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _held(folder: Path, key: str) -> tuple[int, ...]:
    """Every slot counts, also beyond those that this process would use: others may allow more packs a device."""
    ends = (path.name.removeprefix(f"{key}.") for path in folder.iterdir() if path.name.startswith(f"{key}."))
    held = []
    for slot in sorted(int(end) for end in ends if end.isdecimal()):
        handle = _lock(folder / f"{key}.{slot}")
        if handle is None:
            held.append(slot)
        else:
            os.close(handle)
    return tuple(held)


def _lock(file: Path) -> int | None:
    """Lock a slot's file and return its descriptor, which no program started from here inherits; None: it is held."""
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
    """Hold one device, waiting for it if need be; CUDA_VISIBLE_DEVICES is set to it as long as it is held.

    The device that the fewest packs hold is taken, the first named among equals. A process started by one that holds a
    lease works under that lease. Whatever ends this process ends the lease.

    Args:
        names: devices to choose from, as :func:`devices` lists them.
        packs_per_device: a device is taken only while fewer leases than this are held on it.
        folder: directory of the lock files; see :func:`lease_folder`.
        report: called once, with a sentence, if all devices are full.
        environment: where CUDA_VISIBLE_DEVICES is set, and restored afterwards.

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
    """Hold a GPU while training on one; on the CPU there is nothing to hold. Enter it before CUDA is initialised.

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
    """A device, its lock file, and the lock's descriptor; None where the lock is held by who started this process."""
    keys = _keys(names)
    said = False
    while True:
        with _looking(folder):
            held = {name: _held(folder, key) for name, key in keys.items()}
            for name, slot in ((name, slot) for name, slots in held.items() for slot in slots):
                file = folder / f"{keys[name]}.{slot}"
                if str(file) == inherited:
                    return name, file, None
            name = min(names, key=lambda name: len(held[name]))
            if len(held[name]) < packs_per_device:
                slot = next(slot for slot in itertools.count() if slot not in held[name])
                file = folder / f"{keys[name]}.{slot}"
                handle = _lock(file)
                if handle is not None:
                    _handles.add(handle)
                    os.utime(handle)  # what tidies temporary files up goes by age
                    return name, file, handle
        if not said:
            said = True
            full = ", ".join(f"{name} is held by {len(slots)}" for name, slots in held.items())
            report(f"waiting for a GPU, for at most {packs_per_device} at a time may hold one: {full}")
        time.sleep(POLL_SECONDS)


def run(
    command: Sequence[str], names: Sequence[str], packs_per_device: int, folder: Path, report: Callable[[str], None]
) -> NoReturn:
    """Become ``command``, under a lease: it has this process's number, gets its signals and ends with its own status.

    The lock goes over to the command, and to what the command lets inherit its open files: the slot is taken as long
    as any of them lives.

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
        ignored = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a command would inherit that
        try:
            os.execvpe(command[0], list(command), environment)
        except OSError as error:
            raise ToolError(f"lease: {command[0]}: cannot be run: {error.strerror}; allowed: a program") from None
        finally:
            signal.signal(signal.SIGPIPE, ignored)
