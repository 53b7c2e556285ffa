"""Jobs that are forked: the same as those that are started, and no longer there than who asked for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palimpsest.runtime import prefork

SOURCE = Path(prefork.__file__).parents[2]
PALIMPSEST = [sys.executable, "-m", "palimpsest"]
pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="jobs are forked on Linux alone")


@pytest.fixture(scope="module", autouse=True)
def forking() -> Iterator[None]:
    """A process that forks jobs, for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SOURCE))
        stop = prefork.start({})
        yield
        stop()


@pytest.fixture
def lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the start of a command line that runs any other command under a lease."""
    monkeypatch.setenv("PALIMPSEST_GPUS", "a")
    monkeypatch.setenv("PALIMPSEST_LEASES", str(tmp_path / "leases"))
    return [*PALIMPSEST, "lease", "--"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent(process: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("words", [["describe", "nema_lite"], ["describe", "nothing"]])
def test_a_forked_job_prints_and_returns_what_a_started_one_does(words: list[str], monkeypatch) -> None:
    forked = subprocess.run([*PALIMPSEST, *words], capture_output=True, text=True, check=False)
    monkeypatch.delenv(prefork.VARIABLE)
    started = subprocess.run([*PALIMPSEST, *words], capture_output=True, text=True, check=False)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.returncode == (2 if "nothing" in words else 0)


def test_a_job_has_directory_environment_and_streams_of_who_asks(lease: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*lease, "sh", "-c", "cat; pwd; echo $WORD; echo $PPID >&2; exit 7"], cwd=tmp_path, input="in\n",
        env={**os.environ, "WORD": "a word"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["in", str(tmp_path), "a word"]
    assert done.returncode == 7
    assert int(done.stderr.splitlines()[-1]) != os.getpid()  # the job is not a child of its client


def test_a_job_that_is_killed_is_reported_as_by_a_shell(lease: list[str]) -> None:
    assert subprocess.run([*lease, "sh", "-c", "kill -KILL $$"], check=False, stderr=subprocess.PIPE).returncode == 137


def test_who_is_killed_takes_the_job_along(lease: list[str]) -> None:
    asking = subprocess.Popen(
        [*lease, "sh", "-c", "echo $$; exec sleep 600"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert asking.stdout is not None
    job = int(asking.stdout.readline())
    assert is_alive(job)
    assert parent(job) != asking.pid
    asking.kill()
    asking.communicate()
    wait_until(lambda: not is_alive(job))


def test_who_lost_the_job_fails_in_one_line(lease: list[str]) -> None:
    asking = subprocess.Popen(
        [*lease, "sh", "-c", "echo $$; exec sleep 600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert asking.stdout is not None
    job = int(asking.stdout.readline())
    os.kill(parent(job), signal.SIGKILL)
    assert asking.wait(60) == 1
    os.kill(job, signal.SIGKILL)
    assert asking.communicate()[1].splitlines()[-1] == "palimpsest: the process that forks jobs ended before this job"


@pytest.mark.parametrize("address", ["/nowhere/socket", "x" * 200])
def test_who_reaches_nobody_does_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(prefork.VARIABLE, address)
    done = subprocess.run([*PALIMPSEST, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Do networks learn what to write" in done


def test_a_request_that_is_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        monkeypatch.setenv(f"LONG_{number}", "x" * 100_000)
    done = subprocess.run([*PALIMPSEST, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Do networks learn what to write" in done


def test_the_server_ends_with_its_parent(tmp_path: Path) -> None:
    code = "import time; from palimpsest.runtime import prefork; prefork.start({}); print(flush=True); time.sleep(600)"
    parent_process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert parent_process.stdout is not None
    parent_process.stdout.readline()
    (forking,) = (
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if is_alive(int(path.name)) and parent(int(path.name)) == parent_process.pid
    )
    parent_process.kill()
    parent_process.communicate()
    wait_until(lambda: not is_alive(forking))
    assert not list(tmp_path.iterdir())


def test_it_loads_nothing_of_the_package_but_itself() -> None:
    code = "import sys; from palimpsest.runtime import prefork; prefork._load_libraries(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in done if name.startswith("palimpsest")] == [
        "palimpsest",
        "palimpsest.runtime",
        "palimpsest.runtime.prefork",
    ]
    assert "torch" in done
