"""Forks jobs from one process that has already imported the libraries, because the imports take longer than most jobs.

A *client* asks the forking *server* for a job and waits for its exit status. A job is a process with the arguments,
directory, environment and streams of its client; it imports this package itself, in the state of that moment. Without a
server the client does the work itself: only the time differs. Linux only; on other systems there is no server.
"""

# ruff: noqa: F401 (the imports are for the forked jobs)
from __future__ import annotations

import atexit
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

COMMAND = "fork-jobs"
"""``python -m palimpsest fork-jobs DESCRIPTOR`` is the server; DESCRIPTOR is its listening socket."""
VARIABLE = "PALIMPSEST_PREFORK"
"""Environment variable with the address of the server's socket."""
LARGEST_REQUEST = 1 << 20
"""Bytes. The kernel's limit for a message is smaller; a client that cannot send its request does the work itself."""


def start(variables: Mapping[str, str]) -> Callable[[], None]:
    """Start a server for this process and its child processes.

    Args:
        variables: environment variables that libraries read at import, in addition to those of this process.

    Returns:
        A function that ends the server. The server also ends with this process, even if that is killed; running jobs
        continue.
    """
    if not hasattr(os, "pidfd_open"):
        return lambda: None
    folder = tempfile.TemporaryDirectory(prefix="palimpsest-")  # other users may not enter it, and so cannot ask
    address = str(Path(folder.name, "socket"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "palimpsest", COMMAND, str(listener.fileno())],
            stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env={**os.environ, **variables},
        )  # fmt: skip
    os.environ[VARIABLE] = address

    def stop() -> None:
        atexit.unregister(stop)
        os.environ.pop(VARIABLE, None)
        process.terminate()
        process.communicate()
        folder.cleanup()

    atexit.register(stop)
    return stop


def ask(words: Sequence[str]) -> int | None:
    """Run ``palimpsest WORDS`` in a forked job.

    Returns:
        The exit status of the job, as in a shell; None without a server.
    """
    if VARIABLE not in os.environ:
        return None
    request = json.dumps({"words": words, "directory": str(Path.cwd()), "environment": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(os.environ[VARIABLE])
            socket.send_fds(connection, [request], [0, 1, 2])
        except OSError:
            return None
        answer = connection.recv(16)
    if not answer:
        sys.stderr.write("palimpsest: the process that forks jobs ended before this job\n")
        return 1
    return int(answer)


def serve(descriptor: int) -> None:
    """Import the libraries and fork a job for every request; returns only in the forked job.

    Args:
        descriptor: the listening socket. The server ends when its standard input is closed.
    """
    _load_libraries()
    gc.freeze()  # a job's garbage collector would otherwise write to, and so copy, every shared page
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal also sends the interrupt to the jobs
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are not waited for
    listener = socket.socket(fileno=descriptor)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            shutil.rmtree(Path(listener.getsockname()).parent, ignore_errors=True)  # its creator is dead
            sys.exit()
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _supervise(connection)
        connection.close()


def _load_libraries() -> None:
    """Import what most jobs need, but nothing of this package, which may be edited while jobs run."""
    import jaxtyping
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_pdf
    import matplotlib.figure
    import pandas
    import rich.progress
    import rich.table
    import safetensors.torch
    import scipy.stats
    import torch
    import typer
    import yaml
    from pydantic import TypeAdapter, model_validator  # pydantic imports their modules at first use


def _supervise(connection: socket.socket) -> None:
    """Fork one job, send its exit status to the client and exit; kill the job if the client disconnects.

    Returns only in the forked job.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, _, _ = socket.recv_fds(connection, LARGEST_REQUEST, 3)
    job = os.fork()
    if job == 0:
        connection.close()
        return _become(json.loads(request), streams)
    ended = os.pidfd_open(job)
    events = select.poll()
    events.register(ended, select.POLLIN)
    events.register(connection, 0)  # a disconnect is reported without being asked for
    if ended not in dict(events.poll()):
        os.kill(job, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
    try:
        connection.send(str(status if status >= 0 else 128 - status).encode())
    finally:
        os._exit(0)


def _become(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Take over streams, directory, environment and arguments of the request."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["words"]
