"""Jobs of this machine, forked from one process that has the libraries loaded, which takes longer than most jobs.

A job is a process of its own, with the arguments, directory, environment and streams of whoever asks for it, who waits
for its exit status. The package itself is loaded by each job, as it stands in that moment. Where nobody forks jobs, who
asks does the work, and nothing but time depends on which of the two it was. For Linux; elsewhere nobody forks.
"""

# ruff: noqa: F401 (what is loaded here is for others)
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
"""``python -m palimpsest fork-jobs DESCRIPTOR`` is the process that forks, DESCRIPTOR its listening socket."""
VARIABLE = "PALIMPSEST_PREFORK"
"""Tells jobs where that process listens."""
LARGEST_REQUEST = 1 << 20
"""Bytes; the kernel's own limit of a message is smaller, and who cannot send one does the work itself."""


def start(variables: Mapping[str, str]) -> Callable[[], None]:
    """Start the process that forks jobs for this one, and for those that this one starts.

    Args:
        variables: environment that libraries read when they are loaded, beside this process's own.

    Returns:
        What ends it. So does the end of this process, however it comes; jobs that are there by then go on.
    """
    if not hasattr(os, "pidfd_open"):
        return lambda: None
    folder = tempfile.TemporaryDirectory(prefix="palimpsest-")  # nobody else may enter it, and so ask
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
    """Have ``palimpsest WORDS`` done by a forked job.

    Returns:
        Its exit status, as a shell gives it; None where nobody forks jobs.
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
        sys.stderr.write("palimpsest: the process that forked this job ended before it\n")
        return 1
    return int(answer)


def serve(descriptor: int) -> None:
    """Load the libraries, and fork a job for whoever asks; returns in every job, as the one that it is to be.

    Args:
        descriptor: of the listening socket. The end of standard input is the end of this process.
    """
    _load_libraries()
    gc.freeze()  # the collector of a job would write to, and so copy, every page that it shares with this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted terminal tells the jobs itself
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    listener = socket.socket(fileno=descriptor)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            shutil.rmtree(Path(listener.getsockname()).parent, ignore_errors=True)  # whose maker could not
            sys.exit()
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _keep(connection)
        connection.close()


def _load_libraries() -> None:
    """What most jobs import. Nothing of this package, which may be edited while jobs run."""
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
    from pydantic import TypeAdapter, model_validator  # the names: it loads their modules when it is asked for them


def _keep(connection: socket.socket) -> None:
    """Fork one job, answer with its exit status, and end; returns in the job. Who hangs up ends the job."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, _, _ = socket.recv_fds(connection, LARGEST_REQUEST, 3)
    job = os.fork()
    if job == 0:
        connection.close()
        return _become(json.loads(request), streams)
    ended = os.pidfd_open(job)
    events = select.poll()
    events.register(ended, select.POLLIN)
    events.register(connection, 0)  # hanging up is reported unasked
    if ended not in dict(events.poll()):
        os.kill(job, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
    try:
        connection.send(str(status if status >= 0 else 128 - status).encode())
    finally:
        os._exit(0)


def _become(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Make this process the one that was asked for."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["words"]
