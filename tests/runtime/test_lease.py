"""Leases of GPUs, with names in place of devices and real processes: the kernel drops the lock of a dead one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.cli import door as cli
from palimpsest.foundation.errors import ParameterError, ToolError
from palimpsest.runtime import lease as leases
from palimpsest.training import job
from tests.training import presets

UUIDS = tuple(f"GPU-0000000{digit}-aaaa-bbbb-cccc-123456789abc" for digit in range(3))

PREAMBLE = """
import os, signal, subprocess, sys
from pathlib import Path
from palimpsest.runtime.lease import devices, lease, lease_folder
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits that it is ignored
assert "torch" not in sys.modules
def emit(*words):
    print(*words, flush=True)
def hold(packs):
    return lease(devices(os.environ), packs, lease_folder(), lambda line: emit("report:", line))
"""
HOLDER = """
with hold(int(sys.argv[1])) as device:
    emit("held", device, os.environ["CUDA_VISIBLE_DEVICES"])
    sys.stdin.readline()
emit("released", os.environ.get("CUDA_VISIBLE_DEVICES"))
"""


class Waited(Exception):
    """Raised in place of waiting."""


def no_waiting(line: str) -> None:
    raise Waited(line)


def too_long(number: int, frame: object) -> None:
    raise TimeoutError("a process waits too long")


class Processes:
    """Starts programs that talk through pipes, and ends them."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        merged = {**self.environment, **environment}
        pipes: dict[str, Any] = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        self.started.append(subprocess.Popen(command, env=merged, text=True, start_new_session=True, **pipes))
        return self.started[-1]

    def python(self, source: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-c", PREAMBLE + source, *map(str, arguments), **environment)

    def lease(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-m", "palimpsest", "lease", *arguments, **environment)

    def end(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):  # also what a process has started and left behind
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PALIMPSEST_", "CUDA_"))}
    stand_ins = {"PALIMPSEST_GPUS": "a,b", "PALIMPSEST_LEASES": str(tmp_path), "COLUMNS": "200"}
    started = Processes({**inherited, **stand_ins, "PYTHONPATH": str(presets.PROJECT / "src")})
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(120)
    yield started
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    started.end()


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints; an empty one if it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def send_line(process: subprocess.Popen[str]) -> None:
    """Send an empty line to a process that waits for one."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


def count_held(folder: Path, *names: str) -> list[int]:
    """How many slots of each device are held."""
    return [len(slots) for slots in leases.held_slots(names, folder).values()]


# --- who gets what ----------------------------------------------------------------------------------------------------


CONTENDER = """
for turn in range(int(sys.argv[3])):
    with hold(int(sys.argv[1])) as device:
        mark = Path(sys.argv[2]) / device / str(os.getpid())
        mark.touch()
        emit("held", device, len(os.listdir(mark.parent)))
        if turn == 0:
            sys.stdin.readline()
        mark.unlink()
"""


@pytest.mark.parametrize("packs", [1, 2])
def test_no_device_ever_has_more_holders_than_allowed(tmp_path: Path, processes: Processes, packs: int) -> None:
    """Each of twelve processes leaves a mark while it holds a device, and counts the marks of the others.

    All of them wait at first; then as many as there are slots hold at once until a line on stdin lets them go on, and
    take two more leases each, as fast as they can.
    """
    names, marks = ("a", "b"), tmp_path / "marks"
    for name in names:
        (marks / name).mkdir(parents=True)
    with ExitStack() as slots:
        for _ in range(2 * packs):
            slots.enter_context(leases.lease(names, packs, tmp_path, no_waiting, {}))
        started = [processes.python(CONTENDER, packs, marks, 3) for _ in range(12)]
        for process in started:
            assert read_line(process).startswith("report: waiting")
    deadline = time.monotonic() + 60
    while count_held(tmp_path, *names) != [packs, packs]:
        assert time.monotonic() < deadline, "the slots that were given back are not taken"
        time.sleep(0.01)
    for process in started:
        send_line(process)
    lines = [line.split() for process in started for line in process.communicate()[0].splitlines()]
    counts = [int(line[2]) for line in lines if line[0] == "held"]
    assert [process.returncode for process in started] == [0] * 12
    assert len(counts) == 12 * 3
    assert max(counts) <= packs
    assert count_held(tmp_path, *names) == [0, 0]


def test_the_least_loaded_device_comes_first(tmp_path: Path, processes: Processes) -> None:
    taken = []
    for _ in range(5):
        holder = processes.python(HOLDER, 3)
        taken.append((read_line(holder).split()[1], holder))
    assert [device for device, _ in taken] == ["a", "b", "a", "b", "a"]
    assert leases.held_slots(("a", "b"), tmp_path) == {"a": (0, 1, 2), "b": (0, 1)}
    for _, holder in (taken[1], taken[3]):  # both of b
        send_line(holder)
        assert read_line(holder) == "released None"
    assert [read_line(processes.python(HOLDER, 3)).split()[1] for _ in range(2)] == ["b", "b"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(1, 3)), max_size=25),
    names=st.sampled_from([("a",), ("a", "b"), ("b.1", "b", "a/b")]),
)
def test_whatever_the_order_a_lease_goes_to_the_least_loaded_device_or_waits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int, int]], names: tuple[str, ...]
) -> None:
    """Against a count: take a lease (some allow more packs than others), or give one of those that are held back."""
    folder = tmp_path_factory.mktemp("leases")
    with ExitStack() as ends:
        current: list[tuple[str, ExitStack]] = []
        for take, which, packs in steps:
            load = Counter(device for device, _ in current)
            if take:
                best = min(names, key=lambda name: load[name])
                environment: dict[str, str] = {}
                stack = ends.enter_context(ExitStack())
                try:
                    device = stack.enter_context(leases.lease(names, packs, folder, no_waiting, environment))
                except Waited:
                    assert load[best] >= packs
                    assert environment == {}
                else:
                    assert device == best
                    assert load[best] < packs
                    assert environment["CUDA_VISIBLE_DEVICES"] == device
                    current.append((device, stack))
            elif current:
                current.pop(which % len(current))[1].close()
            load = Counter(device for device, _ in current)
            assert count_held(folder, *names) == [load[name] for name in names]


def test_a_device_counts_as_taken_also_by_those_who_allow_more_packs(tmp_path: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(leases.lease(["a"], 2, tmp_path, no_waiting, {}))
        second.enter_context(leases.lease(["a"], 2, tmp_path, no_waiting, {}))
        first.close()
        assert leases.held_slots(["a"], tmp_path) == {"a": (1,)}
        with pytest.raises(Waited, match="at most 1 at a time may hold one: a is held by 1"):
            second.enter_context(leases.lease(["a"], 1, tmp_path, no_waiting, {}))


def test_one_process_at_a_time_tries_slots_so_that_a_look_is_not_taken_for_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone: list[bool] = []
    lock = leases._lock

    def watched(file: Path) -> int | None:
        other = lock(tmp_path / ".scan")
        alone.append(other is None)
        if other is not None:
            os.close(other)
        return lock(file)

    monkeypatch.setattr(leases, "_lock", watched)
    (tmp_path / "a.3").touch()
    with leases.lease(["a"], 1, tmp_path, no_waiting, {}):
        leases.held_slots(["a"], tmp_path)
    assert alone == [True] * 4  # a.3, the lease itself, then both of them


# --- what the holder sees ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, "0,1,7"])
def test_cuda_sees_the_leased_device_and_afterwards_what_it_saw_before(tmp_path: Path, before: str | None) -> None:
    environment = {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    at_first = dict(environment)
    for failure in (None, KeyboardInterrupt):
        with ExitStack() as caught:
            if failure:
                caught.enter_context(pytest.raises(failure))
            with leases.lease(["x", "y"], 1, tmp_path, no_waiting, environment) as device:
                assert device == environment["CUDA_VISIBLE_DEVICES"] == "x"
                if failure:
                    raise failure
        assert environment == at_first
        assert count_held(tmp_path, "x", "y") == [0, 0]


def test_a_process_sets_its_own_environment(processes: Processes) -> None:
    holder = processes.python(HOLDER, 1, CUDA_VISIBLE_DEVICES="5")
    assert read_line(holder) == "held a a"
    send_line(holder)
    assert read_line(holder) == "released 5"


def test_what_a_holder_starts_works_under_the_same_lease(tmp_path: Path, processes: Processes) -> None:
    nested = """
with hold(1) as outer, hold(1) as inner:
    emit(outer, inner)
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
emit("released")
"""
    holder = processes.python(nested, PREAMBLE + "with hold(1) as device: emit(device)", PALIMPSEST_GPUS="a")
    assert [read_line(holder) for _ in range(3)] == ["a a", "a", "released"]
    assert count_held(tmp_path, "a") == [0]


def test_a_lease_that_has_ended_covers_nobody(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    with leases.lease(["a", "b"], 1, tmp_path, no_waiting, environment):
        stale = dict(environment)
    with leases.lease(["a", "b"], 1, tmp_path, no_waiting, stale) as device:
        assert count_held(tmp_path, "a", "b") == [1, 0]
    assert device == "a"


# --- deaths and interrupts --------------------------------------------------------------------------------------------


def test_a_killed_holder_frees_its_slot_for_the_one_who_waits(tmp_path: Path, processes: Processes) -> None:
    holder = processes.python(HOLDER, 1, PALIMPSEST_GPUS="a")
    assert read_line(holder) == "held a a"
    waiter = processes.python(HOLDER, 1, PALIMPSEST_GPUS="a")
    assert read_line(waiter) == "report: waiting for a GPU, at most 1 at a time may hold one: a is held by 1"
    kill(holder)
    assert read_line(waiter) == "held a a"  # and nothing was reported a second time
    kill(waiter)
    assert count_held(tmp_path, "a") == [0]


def test_one_reports_once_however_long_one_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[str] = []
    naps: list[float] = []
    with ExitStack() as holder, ExitStack() as waiter:
        holder.enter_context(leases.lease(["a"], 1, tmp_path, no_waiting, {}))
        monkeypatch.setattr(time, "sleep", lambda nap: naps.append(nap) or len(naps) < 5 or holder.close())
        assert waiter.enter_context(leases.lease(["a"], 1, tmp_path, reports.append, {})) == "a"
    assert len(naps) == 5
    assert len(reports) == 1


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_who_is_interrupted_while_waiting_leaves_nothing_behind(
    tmp_path: Path, processes: Processes, end: signal.Signals
) -> None:
    holder = processes.python(HOLDER, 1, PALIMPSEST_GPUS="a")
    read_line(holder)
    waiter = processes.python(HOLDER, 1, PALIMPSEST_GPUS="a")
    assert read_line(waiter).startswith("report: waiting")
    waiter.send_signal(end)
    assert waiter.wait() != 0
    send_line(holder)
    assert read_line(holder) == "released None"
    with leases.lease(["a"], 1, tmp_path, no_waiting, {}):
        assert leases.held_slots(["a"], tmp_path) == {"a": (0,)}


def test_lock_files_left_behind_mean_nothing(tmp_path: Path) -> None:
    for name in ("a.0", "a.1", "a.7", "b.0", ".scan", "a.x", "a.0.1", "stray"):
        (tmp_path / name).write_text("123\n")
    assert leases.held_slots(["a", "b"], tmp_path) == {"a": (), "b": ()}
    with leases.lease(["a", "b"], 1, tmp_path, no_waiting, {}) as device:
        assert device == "a"
        assert leases.held_slots(["a", "b"], tmp_path) == {"a": (0,), "b": ()}


@pytest.mark.parametrize(
    "child",
    [
        "subprocess.Popen(['sh', '-c', 'echo started; read line'], close_fds=False)",
        "os.fork() or emit('started') or sys.stdin.readline() or os._exit(0)",
    ],
    ids=["another program", "a fork"],
)
def test_a_child_that_outlives_its_holder_does_not_keep_the_slot(
    tmp_path: Path, processes: Processes, child: str
) -> None:
    holder = processes.python(f"with hold(1) as device:\n {child}\n sys.stdin.readline()")
    assert read_line(holder) == "started"
    assert count_held(tmp_path, "a") == [1]
    kill(holder)
    assert count_held(tmp_path, "a") == [0]


def test_a_forked_child_that_ends_first_leaves_the_slot_to_its_holder(tmp_path: Path, processes: Processes) -> None:
    source = """
with hold(1) as device:
    child = os.fork()
    if child:
        emit("ended", os.waitpid(child, 0)[1])
        sys.stdin.readline()
"""
    holder = processes.python(source)
    assert read_line(holder) == "ended 0"
    assert count_held(tmp_path, "a") == [1]


# --- which devices there are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"PALIMPSEST_GPUS": "1, 3"}, ("1", "3")),
        ({"PALIMPSEST_GPUS": "stand-in"}, ("stand-in",)),
        ({"CUDA_VISIBLE_DEVICES": "2,5"}, ("2", "5")),
        ({"CUDA_VISIBLE_DEVICES": f"{UUIDS[0]},MIG-1/2/0"}, (UUIDS[0], "MIG-1/2/0")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "3,-1,4"}, ("3",)),
        ({"CUDA_VISIBLE_DEVICES": "2,5", "PALIMPSEST_GPUS": "5"}, ("5",)),
        ({"CUDA_VISIBLE_DEVICES": "", "PALIMPSEST_GPUS": "a,b"}, ("a", "b")),
    ],
)
def test_devices_are_those_that_the_environment_allows(environment: dict[str, str], names: tuple[str, ...]) -> None:
    assert leases.devices(environment) == names


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"PALIMPSEST_GPUS": ""}, "PALIMPSEST_GPUS: '': a name is empty; allowed: e.g. 0,1"),
        ({"PALIMPSEST_GPUS": "0,,1"}, "PALIMPSEST_GPUS: '0,,1': a name is empty; allowed: e.g. 0,1"),
        ({"PALIMPSEST_GPUS": "0,1,0"}, "PALIMPSEST_GPUS: '0,1,0': 0 is repeated; allowed: e.g. 0,1"),
        ({"CUDA_VISIBLE_DEVICES": "1,"}, "CUDA_VISIBLE_DEVICES: '1,': a name is empty; allowed: e.g. 0,1"),
        ({"CUDA_VISIBLE_DEVICES": "1, 1"}, "CUDA_VISIBLE_DEVICES: '1, 1': 1 is repeated; allowed: e.g. 0,1"),
    ],
)
def test_a_mistake_in_the_names_is_one_line(environment: dict[str, str], line: str) -> None:
    with pytest.raises(ParameterError) as error:
        leases.devices(environment)
    assert str(error.value) == line


def test_a_lease_needs_a_device_and_a_place(tmp_path: Path) -> None:
    with (
        pytest.raises(ParameterError, match="no GPU is visible; allowed: .*PALIMPSEST_GPUS"),
        leases.lease([], 1, tmp_path, no_waiting, {}),
    ):
        pass
    with (
        pytest.raises(ParameterError, match="packs a GPU: 0; allowed: at least 1"),
        leases.lease(["a"], 0, tmp_path, no_waiting, {}),
    ):
        pass


def driver(folder: Path, *minors: int | None, uuids: tuple[str, ...] = UUIDS) -> tuple[Path, Path]:
    """Folders as NVIDIA's driver fills them, and device nodes; a GPU whose number is None has no node."""
    nodes = folder / "dev"
    nodes.mkdir()
    for index, (minor, uuid) in enumerate(zip(minors, uuids, strict=False)):
        file = folder / f"gpus/0000:{9 - index:02x}:00.0/information"
        file.parent.mkdir(parents=True)
        file.write_text(
            f"Model: \t\t Any\nGPU UUID: \t {uuid}\nBus Location: \t 0000:0{index}\nDevice Minor: \t {index}\n"
        )
        if minor is not None:
            (nodes / f"nvidia{index}").touch()
    return folder / "gpus", nodes


def tool(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Put a stand-in for nvidia-smi on the path."""
    program = folder / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_the_driver_lists_gpus_in_the_order_of_the_bus(tmp_path: Path) -> None:
    assert leases.listed_by_driver(*driver(tmp_path, 0, 1, 2)) == UUIDS[::-1]


def test_a_gpu_whose_node_is_missing_belongs_to_somebody_else(tmp_path: Path) -> None:
    assert leases.listed_by_driver(*driver(tmp_path, None, 1, None)) == (UUIDS[1],)


def test_the_tool_is_asked_where_the_driver_does_not_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = "\n".join(f"echo 'GPU {n}: NVIDIA (any) (UUID: {uuid})'" for n, uuid in enumerate(UUIDS[:2]))
    tool(monkeypatch, tmp_path, f"{lines}\necho '  MIG 1g.5gb Device 0: (UUID: MIG-{UUIDS[2]}/1/0)'")
    assert leases.listed_by_driver(tmp_path / "no folder", tmp_path) == UUIDS[:2]
    unknown = "GPU-????????-????-????-????-????????????"
    assert leases.listed_by_driver(*driver(tmp_path, 0, uuids=(unknown,))) == UUIDS[:2]


def test_without_driver_and_tool_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool(monkeypatch, tmp_path, "echo 'GPU 0: none'; exit 9")
    assert leases.listed_by_driver(tmp_path / "none", tmp_path) == ()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert leases.listed_by_driver(tmp_path / "none", tmp_path) == ()


def test_a_number_and_a_uuid_of_one_gpu_are_one_lease(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leases, "listed_by_driver", lambda: UUIDS)
    with leases.lease(["1"], 1, tmp_path, no_waiting, {}) as device:
        assert device == "1"
        assert count_held(tmp_path, *UUIDS, "1", "GPU-00000001") == [0, 1, 0, 1, 1]
        assert count_held(tmp_path, "0", "2", "3", "GPU-", "GP", "a") == [0] * 6


# --- where the locks are ----------------------------------------------------------------------------------------------


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """A runtime directory and one of temporary files."""
    monkeypatch.delenv("PALIMPSEST_LEASES", raising=False)
    runtime, temporary = tmp_path / "runtime", tmp_path / "temporary"
    for folder in (runtime, temporary):
        folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(temporary))
    return runtime, temporary


def test_the_folder_is_the_users_own(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, temporary = places
    assert leases.lease_folder() == leases.lease_folder() == runtime / "palimpsest"
    for elsewhere in (str(runtime / "missing"), "", "relative"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", elsewhere)
        assert leases.lease_folder() == temporary / f"palimpsest-{os.getuid()}"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert leases.lease_folder().stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("PALIMPSEST_LEASES", str(temporary / "other/place"))
    assert leases.lease_folder() == temporary / "other/place"
    assert (temporary / "other/place").is_dir()


@pytest.mark.parametrize("fault", ["somebody else's", "writable", "link", "file"])
def test_a_folder_that_others_control_is_refused(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    folder = places[1] / f"palimpsest-{os.getuid()}"
    if fault == "link":
        folder.symlink_to(places[0], target_is_directory=True)
    elif fault == "file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o777 if fault == "writable" else 0o700)
    if fault == "somebody else's":
        uid = os.getuid()
        folder.rename(places[1] / f"palimpsest-{uid + 1}")
        monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(ParameterError, match=r"^leases: \S+: .*; allowed: [^\n]*$"):
        leases.lease_folder()


@pytest.mark.parametrize("value", ["", "relative/folder", "/dev/null", "/dev/null/below"])
def test_a_wrong_folder_is_one_line(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PALIMPSEST_LEASES", value)
    with pytest.raises(ParameterError, match=r"^PALIMPSEST_LEASES: [^\n]*; allowed: [^\n]*$"):
        leases.lease_folder()


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_runs_on_its_gpu_and_its_status_is_passed_on(processes: Processes) -> None:
    script = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], sys.argv[1:]); sys.exit(7)"
    command = processes.lease("--", sys.executable, "-c", script, "--packs-per-gpu", "x y")
    assert command.communicate() == ("a ['--packs-per-gpu', 'x y']\n", "")
    assert command.returncode == 7


def test_a_batch_systems_choice_restricts_the_command(processes: Processes) -> None:
    del processes.environment["PALIMPSEST_GPUS"]
    command = processes.lease("printenv", "CUDA_VISIBLE_DEVICES", CUDA_VISIBLE_DEVICES=f"{UUIDS[1]},{UUIDS[2]}")
    assert command.communicate() == (f"{UUIDS[1]}\n", "")
    command = processes.lease("printenv", "CUDA_VISIBLE_DEVICES", CUDA_VISIBLE_DEVICES="")
    assert command.communicate()[1].startswith("palimpsest: lease: no GPU is visible; allowed: ")
    assert command.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_command(processes: Processes, number: signal.Signals) -> None:
    script = f"""
import signal, sys
signal.signal({int(number)}, lambda *_: sys.exit(5))
print("ready", flush=True)
while True:
    signal.pause()
"""
    command = processes.lease("--", sys.executable, "-c", script)
    assert read_line(command) == "ready"
    command.send_signal(number)
    assert command.wait() == 5


def test_the_command_dies_of_a_broken_pipe_as_it_would_without_a_lease(processes: Processes) -> None:
    command = processes.lease("--", "sh", "-c", "read line; echo into the void; echo on >&2")
    assert command.stdout is not None
    command.stdout.close()
    send_line(command)
    assert command.wait() == -signal.SIGPIPE


def test_the_slot_is_taken_as_long_as_anything_of_the_command_lives(tmp_path: Path, processes: Processes) -> None:
    """The shell is killed; what it started goes on using the device, and keeps the slot until it ends."""
    command = processes.lease("--", "sh", "-c", "sleep 600 & echo $!; wait; exit")
    worker = int(read_line(command))
    assert count_held(tmp_path, "a") == [1]
    kill(command)
    assert count_held(tmp_path, "a") == [1]
    waiter = processes.python(HOLDER, 1, PALIMPSEST_GPUS="a")
    assert read_line(waiter).startswith("report: waiting")
    os.kill(worker, signal.SIGKILL)
    assert read_line(waiter) == "held a a"


def test_a_killed_command_frees_its_slot(tmp_path: Path, processes: Processes) -> None:
    command = processes.lease("--", "sh", "-c", "echo ready; read line")
    assert read_line(command) == "ready"
    assert count_held(tmp_path, "a") == [1]
    kill(command)
    assert count_held(tmp_path, "a") == [0]


def test_commands_share_a_gpu_and_the_listing_shows_which_slots_are_taken(processes: Processes) -> None:
    for _ in range(3):
        assert read_line(processes.lease("--packs-per-gpu", "2", "--", "sh", "-c", "echo ready; read line")) == "ready"
    listing = processes.lease()
    rows = [line.replace("│", " ").split() for line in listing.communicate()[0].splitlines() if line.startswith("│")]
    assert rows == [["a", "2", "0", "1"], ["b", "1", "0"]]
    assert listing.returncode == 0


def test_a_lease_under_a_lease_is_the_same(processes: Processes) -> None:
    inner = [sys.executable, "-m", "palimpsest", "lease", "--", "printenv", "CUDA_VISIBLE_DEVICES"]
    command = processes.lease("--", *inner, PALIMPSEST_GPUS="a")
    assert command.communicate() == ("a\n", "")


def test_a_command_that_is_not_there_is_one_line_and_gives_the_slot_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGPIPE)
    monkeypatch.delenv("PALIMPSEST_LEASE", raising=False)
    with pytest.raises(ToolError, match=r"^lease: no-such-program: cannot be run: No such file"):
        leases.run(["no-such-program"], ["a"], 1, tmp_path, no_waiting)
    assert count_held(tmp_path, "a") == [0]
    assert signal.getsignal(signal.SIGPIPE) == before


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_pack_is_trained_under_a_lease_on_a_gpu_and_without_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    file = presets.write(tmp_path)
    file.write_text(f"{file.read_text()}\ndevice: {device}\npacking: {{packs_per_gpu: 2}}\n")
    monkeypatch.setenv("PALIMPSEST_GPUS", "a,b")
    monkeypatch.setenv("PALIMPSEST_LEASES", str(tmp_path / "leases"))
    for variable in ("CUDA_VISIBLE_DEVICES", "PALIMPSEST_LEASE"):
        monkeypatch.delenv(variable, raising=False)
    seen: list[tuple[str | None, list[int]]] = []

    def train_pack(*_: object, **__: object) -> None:
        seen.append((os.environ.get("CUDA_VISIBLE_DEVICES"), count_held(tmp_path / "leases", "a", "b")))

    monkeypatch.setattr(job, "train_pack", train_pack)
    pack = "results/tiny/track=repaired/model=no_memory"
    monkeypatch.setattr(sys, "argv", ["palimpsest", "train-pack", pack, "--params", str(file)])
    with ExitStack() as others:
        for name in ("a", "b"):
            others.enter_context(leases.lease([name], 1, leases.lease_folder(), no_waiting, {}))
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code
    assert seen == ([("a", [2, 1])] if device == "cuda" else [(None, [1, 1])])
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
