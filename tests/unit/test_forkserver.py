"""Jobs as forks of one process: what a person or Snakemake sees of them must be as if each had started by itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from feel_steps.runtime import forkserver

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only")

# a package of the same name, whose command is Python code
COMMAND = "import atexit, os, signal, sys, time\nexec(sys.argv[1])\n"
ASK = """
import runpy, sys
sys.path[0] = sys.argv.pop(1)
runpy.run_path(sys.argv.pop(1))["hand_over"]()
print("alone")
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    (folder / "feel_steps").mkdir()
    (folder / "feel_steps/__init__.py").touch()
    (folder / "feel_steps/__main__.py").write_text(COMMAND)
    return folder


@pytest.fixture
def server():
    with forkserver.serving(libraries=[]) as process:
        wait_for(lambda: Path(os.environ[forkserver.ADDRESS]).exists())
        yield process


@pytest.fixture
def ask(package):
    """Start a process that hands a command over."""

    def start(code: str, **how) -> subprocess.Popen:
        command = [sys.executable, "-c", ASK, str(package), forkserver.__file__, code]
        return subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, **how)

    return start


def wait_for(holds, seconds=20.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "still waiting"
        time.sleep(0.01)


def fork_of(process):
    """The fork that runs a process's command, once it does."""
    wait_for(lambda: forkserver.find_fork(process.pid))
    return psutil.Process(forkserver.find_fork(process.pid))


@pytest.mark.parametrize(
    "code",
    [
        "print('done'); print('said', file=sys.stderr)",
        "sys.exit(3)",
        "sys.exit()",
        "sys.exit('error: no such file')",
        "raise ValueError('a defect')",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "print(os.getcwd(), os.environ['OF_THE_JOB'], sys.stdin.read(), sys.argv[0])",
        "atexit.register(print, 'last'); print('first')",
        "print('FEEL_STEPS_FORKSERVER' in os.environ)",
        # a thread that still writes when the command's function has returned
        "import threading; threading.Thread(target=lambda: (time.sleep(0.1), print('whole'))).start()",
        # the server's sockets must not close the command's files
        "import gc; files = [os.fdopen(os.dup(1), 'w') for _ in range(9)]; gc.collect(); print(9, file=files[1])",
    ],
)
def test_command_ends_as_it_would_alone(server, ask, package, tmp_path, code):
    how = {"cwd": tmp_path, "env": {**os.environ, "OF_THE_JOB": "2 words"}}
    forked = ask(code, **how)
    output, errors = forked.communicate("given", timeout=30)
    del how["env"][forkserver.ADDRESS]
    how["env"]["PYTHONPATH"] = str(package)
    command = [sys.executable, "-m", "feel_steps", code]
    alone = subprocess.run(command, input="given", capture_output=True, text=True, timeout=30, **how)
    assert (forked.returncode, output) == (alone.returncode, alone.stdout)
    assert errors.splitlines()[-1:] == alone.stderr.splitlines()[-1:]  # a traceback has other lines before it


def test_many_commands_run_beside_each_other(server, ask):
    # each says so when it has begun, and ends when all have: they would wait for ever if one waited for another
    started = [ask("print('begun', flush=True); sys.stdin.read()") for _ in range(5)]
    assert [process.stdout.readline() for process in started] == ["begun\n"] * 5
    for process in started:
        process.communicate(timeout=30)
    assert [process.returncode for process in started] == [0] * 5


def test_end_in_good_order_is_passed_on(server, ask):
    order = "signal.signal(signal.SIGTERM, lambda *_: sys.exit('error: terminated'))"
    process = ask(f"{order}; print('begun', flush=True); time.sleep(60)")
    process.stdout.readline()
    fork_of(process)
    process.terminate()
    assert process.communicate(timeout=30)[1] == "error: terminated\n"
    assert process.returncode == 1


def test_killed_job_does_not_go_on(server, ask):
    # else it would write results while Snakemake runs the same job again
    process = ask("time.sleep(60)")
    fork = fork_of(process)
    process.kill()
    fork.wait(timeout=20)


def test_job_ends_with_a_message_where_the_server_was_killed(server, ask):
    process = ask("time.sleep(60)")
    fork = fork_of(process)
    server.kill()
    errors = process.communicate(timeout=30)[1]
    assert errors == "error: the process that started this job is gone; run the same command again\n"
    assert process.returncode == 1
    wait_for(lambda: not fork.is_running())


def test_job_runs_alone_where_no_server_answers(ask, tmp_path, monkeypatch):
    monkeypatch.setenv(forkserver.ADDRESS, str(tmp_path / "nothing"))
    assert ask("").communicate(timeout=30)[0] == "alone\n"


@pytest.mark.parametrize("shell", ["umask 077", "ulimit -n 99", "export PYTHONHASHSEED=1", "exec <&-"])
def test_job_runs_alone_where_its_shell_differs(server, ask, package, shell):
    # a fork would have the server's file modes, limits and hash seed; with no standard input, it would read the socket
    command = [sys.executable, "-c", ASK, str(package), forkserver.__file__, "print('forked')"]
    done = subprocess.run(["/bin/sh", "-c", f'{shell}; "$@"', "", *command], capture_output=True, text=True, timeout=30)
    assert done.stdout == "alone\n"


def test_server_has_the_libraries_of_the_jobs(ask, tmp_path, monkeypatch):
    # Snakemake's own PYTHONPATH does not reach jobs; another version from there would change their results
    (tmp_path / "library.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with forkserver.serving(libraries=["library", "progress"]):  # the second lies beside forkserver.py
        wait_for(lambda: Path(os.environ[forkserver.ADDRESS]).exists())
        assert ask("print({'library', 'progress'} & set(sys.modules))").communicate(timeout=30)[0] == "set()\n"


def test_signal_to_all_processes_leaves_the_end_to_the_job(server, ask):
    # a scheduler, or a terminal that closes, sends it to the server, too; a killed job would leave half files
    process = ask("sys.stdin.read(); print('whole')")
    fork_of(process)
    server.terminate()
    server.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30)[0] == "whole\n"


def test_server_ends_with_the_run(ask):
    with forkserver.serving(libraries=[]) as server:
        folder = Path(os.environ[forkserver.ADDRESS]).parent
    assert server.poll() is not None and not folder.exists()
    assert forkserver.ADDRESS not in os.environ


def test_job_goes_on_where_snakemake_was_killed(server, ask):
    # as a job that started by itself does; the server must not stay behind it either
    process = ask("sys.stdin.read(); print('whole')")
    fork_of(process)
    server.stdin.close()
    time.sleep(0.1)
    assert process.communicate(timeout=30)[0] == "whole\n"
    server.stdin = None  # for communicate
    server.wait(timeout=20)
    assert not Path(os.environ[forkserver.ADDRESS]).parent.exists()


def test_libraries_have_the_threads_of_the_job(ask):
    # another number of threads may give other digits, and a second thread would take another job's core
    code = """import torch; from threadpoolctl import threadpool_info
print({pool['num_threads'] for pool in threadpool_info()}, torch.get_num_threads())"""
    with forkserver.serving():
        wait_for(lambda: Path(os.environ[forkserver.ADDRESS]).exists(), 120)
        for threads in (1, 2):
            said = ask(code, env={**os.environ, "OMP_NUM_THREADS": str(threads)}).communicate(timeout=60)[0]
            assert said == f"{{{threads}}} {threads}\n"
