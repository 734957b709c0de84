"""Jobs that need one another, on all cores: worker processes of one thread each."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from kws_jax.errors import UserError

TICK = 1.0  # s between two calls of on_tick
# JAX takes the size of its thread pool from NPROC; OpenMP, and with it torch, from OMP_NUM_THREADS.
ONE_THREAD = {"NPROC": "1", "OMP_NUM_THREADS": "1"}
XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[J, R]):
    """How a job ended: with a result, with an error, or not begun.

    Attributes:
        job: The job.
        result: What the function returned.
        error: Why there is no result, in one line.
        traceback: Of an error that is not the user's.
        lost: Whether the error is that of a job that this one needs.
        seconds: That it took.
    """

    job: J
    result: R | None = None
    error: str | None = None
    traceback: str | None = None
    lost: bool = False
    seconds: float = 0.0


def run_jobs(
    function: Callable[[J], R],
    needs: Mapping[J, tuple[J, ...]],
    num_workers: int,
    quiet: bool = False,
    on_tick: Callable[[Mapping[J, float]], None] = lambda running: None,
) -> Generator[Outcome[J, R], None, None]:
    """Runs every job once those that it needs have run, and yields how each ended as soon as it has.

    A job that raises, or whose process dies, takes with it those that need it; the others go on. When the caller stops,
    by an exception or by closing the iterator, the workers are killed; so they are when this process dies.

    Args:
        function: Of a job; importable by a new process, as are jobs and results.
        needs: By job, in order of preference: the jobs that must have run before it, all of them keys too.
        num_workers: Processes at most.
        quiet: Whether the workers' progress bars go away.
        on_tick: Called at least once a second with the running jobs and the seconds that each has taken.

    Raises:
        ValueError: If jobs need one another in a circle.
    """
    waiting, failed = dict(needs), set[J]()
    with _environment(quiet), _Pool() as pool:
        while waiting or pool.running:
            while lost := [job for job, those in waiting.items() if failed.intersection(those)]:
                for job in lost:
                    first = next(need for need in waiting.pop(job) if need in failed)
                    failed.add(job)
                    yield Outcome(job, error=f"needs {first}", lost=True)
            unfinished = waiting.keys() | pool.running.keys()
            ready = [job for job, those in waiting.items() if unfinished.isdisjoint(those)]
            if waiting and not ready and not pool.running:
                raise ValueError(f"jobs that need one another in a circle: {', '.join(map(str, waiting))}")
            for job in ready[: num_workers - len(pool.running)]:
                del waiting[job]
                pool.start(function, job)
            for outcome in pool.finished():
                if outcome.error is not None:
                    failed.add(outcome.job)
                yield outcome
            on_tick({job: time.perf_counter() - start for job, (_, start) in pool.running.items()})


class _Worker:
    """A process that runs one job after another."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that its death is an end of file here

    def end(self) -> None:
        self.process.kill()
        self.process.join()


class _Pool:
    """Workers, started when there is a job for them. An idle one is taken again: it has its modules loaded."""

    def __init__(self) -> None:
        self.idle: list[_Worker] = []
        self.running: dict[Any, tuple[_Worker, float]] = {}

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in [*self.idle, *(worker for worker, _ in self.running.values())]:
            worker.end()

    def start(self, function: Callable[[Any], Any], job: Any) -> None:
        worker = self.idle.pop() if self.idle else _Worker()
        self.running[job] = (worker, time.perf_counter())
        worker.connection.send((function, job))

    def finished(self) -> list[Outcome[Any, Any]]:
        """Jobs that have ended; waits a tick for one."""
        outcomes = []
        ready = wait([worker.connection for worker, _ in self.running.values()], TICK)
        for job, (worker, start) in list(self.running.items()):
            if worker.connection in ready:
                del self.running[job]
                try:
                    answer = worker.connection.recv()
                    self.idle.append(worker)
                except (EOFError, ConnectionError):
                    worker.end()
                    answer = {"error": f"its process died with exit status {worker.process.exitcode}"}
                outcomes.append(Outcome(job, seconds=time.perf_counter() - start, **answer))
        return outcomes


def _work(jobs: Connection) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        function, job = jobs.recv()
        try:
            answer = {"result": function(job)}
        except UserError as error:
            answer = {"error": str(error)}
        except Exception as error:
            answer = {"error": _one_line(error), "traceback": traceback.format_exc()}
        jobs.send(answer)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@contextmanager
def _environment(quiet: bool) -> Iterator[None]:
    """What worker processes find in their environment; libraries read it when they are imported."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {XLA_ONE_THREAD}".strip()
    changes = ONE_THREAD | {"XLA_FLAGS": flags} | ({"TQDM_DISABLE": "1"} if quiet else {})
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            del os.environ[name]
        os.environ.update(before)
