"""Starts jobs as forks of one process that has loaded PyTorch, scikit-learn and pandas already.

To load them takes a job one to two seconds: with small data, longer than most steps work. So in a run on one machine
Snakemake's main process starts a server. ``python -m feel_steps`` hands its arguments, environment, folder and streams
over to it, the server forks, and the fork runs the command. The process that asked waits, passes signals on, and ends
as the fork ends. Each job is still a process of its own, and computes, prints and ends as it would have done alone. It
does run alone where no server answers, or where its shell has set what only a new process heeds, such as a limit.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import re
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

ADDRESS = "FEEL_STEPS_FORKSERVER"  # in the environment of jobs: the server's socket
LIBRARIES = [
    "pandas",
    "pyarrow.parquet",
    "torch",
    "sklearn.cluster",
    "sklearn.metrics",
    "typer",
    "pydantic.type_adapter",
]
Job = dict[str, Any]


@contextmanager
def serving(libraries: Sequence[str] = LIBRARIES) -> Iterator[subprocess.Popen]:
    """Let the jobs that start while a block runs be forks of one server, once it has loaded the libraries.

    The server ends with the block, but not before the last job. So it does if this process is killed.
    """
    folder = Path(tempfile.mkdtemp(prefix="feel-steps-"))
    address = str(folder / "socket")
    command = [sys.executable, __file__, address, *libraries]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # jobs have their own
    # its standard input ends when this process does; should it fail, jobs say what is missing
    server = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.environ[ADDRESS] = address
    try:
        yield server
    finally:
        del os.environ[ADDRESS]
        server.terminate()  # heeded only while it loads
        server.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def find_fork(process: int) -> int | None:
    """Number of the process that runs the command of one that has handed itself over, None if it has not."""
    try:
        return int(Path(os.environ[ADDRESS]).with_name(str(process)).read_text())
    except (KeyError, OSError, ValueError):
        return None


def hand_over() -> None:
    """Run this process's command in a fork of the server, and end as the fork ends. Return if no server answers."""
    address = os.environ.pop(ADDRESS)  # a command that the fork starts is no job
    if None in (sys.stdin, sys.stdout, sys.stderr):  # closed: the socket below would take its number
        return
    job = {"arguments": sys.argv[1:], "path": sys.path, "folder": os.getcwd(), "environment": dict(os.environ)}
    text = json.dumps(job | {"start": _describe_start()}).encode()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(address)  # refused while the server is still loading
            socket.send_fds(server, [len(text).to_bytes(8, "big")], [0, 1, 2])
            server.sendall(text)
            fork = _receive(server)
        except OSError:
            return
        if fork is None:
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the fork as well
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: _kill(fork, number))
        with suppress(OSError):
            Path(address).with_name(str(os.getpid())).write_text(str(fork))
        status = _receive(server)
    if status is None:
        _kill(fork, signal.SIGKILL)
        sys.exit("error: the process that started this job is gone; run the same command again")
    if status < 0:  # killed, for example because memory ran out
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _describe_start() -> list[Any]:
    """What a process has from its start on: a fork has the server's, whatever the job's shell has set."""
    import resource  # Windows has none

    names = sorted(name for name in os.environ if re.match("PYTHON(?!PATH$)|LANG|LC_|LD_", name))
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
    os.umask(umask := os.umask(0o077))
    return [
        [sys.prefix, [*sys.flags], sys.warnoptions],
        [[name, os.environ[name]] for name in names],
        [umask, os.nice(0), sorted(os.sched_getaffinity(0)), [[*limit] for limit in limits]],
    ]


def _send(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # the other side was killed
        connection.sendall(number.to_bytes(8, "big", signed=True))


def _receive(connection: socket.socket) -> int | None:
    """One number from the other side, None if it has ended."""
    message = connection.recv(8, socket.MSG_WAITALL)
    return int.from_bytes(message, "big", signed=True) if len(message) == 8 else None


def _kill(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


class _Server:
    """Forks for each process that asks, and tells it the number of the fork and, later, how it ended."""

    def __init__(self, address: str) -> None:
        self.forks = 0
        self.start = _describe_start()
        self.waiting = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(64)
        self.waiting.register(self.listener, selectors.EVENT_READ, self._fork)
        self.waiting.register(0, selectors.EVENT_READ, self._close)

    def serve(self) -> Job | None:
        """Return None when the run and all jobs have ended; in a fork, return what it is to do."""
        while self.forks or self.listener.fileno() >= 0:
            for key, _ in self.waiting.select():
                # an event before this one may have dealt with it
                if key.fd in self.waiting.get_map() and (job := key.data()):
                    return job
        return None

    def _fork(self) -> Job | None:
        connection, _ = self.listener.accept()
        size, streams, *_ = socket.recv_fds(connection, 8, 3)
        text = connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
        try:
            job = json.loads(text)
            fork = os.fork() if job["start"] == self.start else -1
        except (ValueError, OSError):  # who asked was killed; or memory is short
            fork = -1
        if fork == 0:
            for key in [*self.waiting.get_map().values()]:
                # a socket that is closed by its number closes that number again when Python deletes it
                key.fileobj.close() if isinstance(key.fileobj, socket.socket) else os.close(key.fd)
            self.waiting.close()
            for standard, stream in enumerate(streams):
                os.dup2(stream, standard)
        for stream in streams:
            os.close(stream)
        if fork <= 0:
            connection.close()  # one whose fork was refused loads what it needs itself
            return job if fork == 0 else None
        self.forks += 1
        end = os.pidfd_open(fork)
        self.waiting.register(end, selectors.EVENT_READ, lambda: self._end(fork, end, connection))
        self.waiting.register(connection, selectors.EVENT_READ, lambda: self._abandon(fork, connection))
        _send(connection, fork)
        return None

    def _end(self, fork: int, end: int, connection: socket.socket) -> None:
        """Say how a fork ended."""
        status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        self.forks -= 1
        self.waiting.unregister(end)
        os.close(end)
        with suppress(KeyError):
            self.waiting.unregister(connection)
        _send(connection, status)
        connection.close()

    def _abandon(self, fork: int, connection: socket.socket) -> None:
        """Kill a fork, since the process that asked for it was killed."""
        self.waiting.unregister(connection)
        _kill(fork, signal.SIGKILL)

    def _close(self) -> None:
        """Take no more jobs: Snakemake has ended."""
        self.waiting.unregister(0)
        self.waiting.unregister(self.listener)
        self.listener.close()


def _run(job: Job) -> int:
    """Run a command in this fork as ``python -m feel_steps`` does, and return its exit status.

    The fork then ends without Python's own last step: to take apart all that is loaded would need a fifth of a second.
    """
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[:] = job["path"]
    sys.argv[1:] = job["arguments"]
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
    gc.enable()
    _limit_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    status = 0
    try:
        runpy.run_module("feel_steps", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not status and end.code is not None:
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads of the command
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _limit_threads(number: int) -> None:
    """Give the libraries the threads that a new process would have taken from its environment."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(number)
    if threadpoolctl := sys.modules.get("threadpoolctl"):  # scikit-learn has loaded it
        threadpoolctl.threadpool_limits(number)


def main(address: str, *libraries: str) -> None:
    """Load the libraries without starting threads, since these do not live on in forks. Then serve.

    Arrow's allocator has a thread all the same, but it knows of forks and does without one there.
    """
    os.close(os.pidfd_open(os.getpid()))  # Linux before 5.3 has none, and this ends here
    interrupts = signal.signal(signal.SIGINT, signal.SIG_IGN)
    del sys.path[0]  # the folder of this file, whose modules no library must import
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in cli/app.py
    os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")
    gc.disable()
    for library in libraries:
        with suppress(ImportError):  # the job that needs it says so
            import_module(library)
    gc.freeze()  # a search for cycles would copy the pages that forks share
    # those to a whole group of processes are for the jobs, which may have to end in good order
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGHUP)}
    job = _Server(address).serve()
    if job:
        for number, handler in (handlers | {signal.SIGINT: interrupts}).items():
            signal.signal(number, handler)
        os._exit(_run(job))
    shutil.rmtree(Path(address).parent, ignore_errors=True)  # Snakemake may have been killed


if __name__ == "__main__":
    main(*sys.argv[1:])
