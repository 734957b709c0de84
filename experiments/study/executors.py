"""Where jobs run, behind the standard Executor: worker processes of one thread, here or on a Dask cluster.

Dask's workers take one job at a time each. They and the scheduler import this package, so they are started in the
caller's checkout or its like, and anew when code or data have changed:

    python -m dask scheduler
    python -m dask worker tcp://host:8786 --nworkers 2 --nthreads 1
"""

import asyncio
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import chdir, contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pebble import ProcessPool
from tqdm import tqdm

from kws_jax.errors import UserError

TICK = 1.0  # s between two looks at what runs
PATIENCE = 10.0  # s until a scheduler has answered
# JAX takes the size of its thread pool from NPROC; OpenMP, and with it torch, from OMP_NUM_THREADS.
ONE_THREAD = {"NPROC": "1", "OMP_NUM_THREADS": "1"}
XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"

P = ParamSpec("P")
R = TypeVar("R")

_alone = threading.Lock()  # of a worker of several threads that came after the others had been looked at


def check_jobs(number: int) -> None:
    """Refuses no jobs at a time.

    Raises:
        UserError: If there are none.
    """
    if number < 1:
        raise UserError(f"give at least one job, not {number}")


class Processes(Executor):
    """Spawned processes, since a fork of one in which JAX runs threads may hang; killed in the end."""

    def __init__(self, num_workers: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(num_workers, context=spawn, initializer=_begin)

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Runs a call as soon as a process is free."""
        with _uninterrupted():  # as are the processes that this may start
            return self._pool.schedule(function, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Kills the processes, whatever they do."""
        self._pool.stop()
        self._pool.join()


class Cluster(Executor):
    """Workers of a Dask scheduler, which gives a call up when four have died that had it, be it only waiting there.

    Raises:
        UserError: If Dask is not installed, nobody answers at the address, or a worker has several threads.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
            from distributed.comm import connect
        except ImportError as error:
            raise UserError("a scheduler needs Dask: pip install -e '.[cluster]'") from error

        async def greet() -> None:  # a client would wait for ever for a port that takes connections and says nothing
            await (await asyncio.wait_for(connect(address, timeout=PATIENCE), PATIENCE)).close()

        try:
            asyncio.run(greet())
            self._client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, TypeError, ValueError) as error:  # the second, of tls:// without certificates
            reason = str(error).partition("\n")[0] or f"nothing for {PATIENCE:.0f} s"
            raise UserError(f"no Dask scheduler answers at {address}: {reason}") from error
        if wide := [worker for worker, threads in self._client.nthreads().items() if threads > 1]:
            self._client.close()
            raise UserError(f"the Dask worker {wide[0]} has several threads: start workers with --nthreads 1")
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Hands a call to the scheduler, packed: what it needs is imported where it runs, in an environment for it."""
        future: Future[R] = self._executor.submit(_run_packed, pickle.dumps((function, args, kwargs)), Path.cwd())
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancels all calls; workers that are at one end, and start anew by their nanny."""
        self._client.close()


def _run_packed(packed: bytes, folder: Path) -> Any:
    """What a worker of a cluster does: a call, in the caller's folder; it ends when the caller wants it no more."""
    from distributed import get_worker

    worker, ended = get_worker(), threading.Event()
    task = worker.state.tasks[worker.get_current_task()]

    def follow() -> None:
        while not ended.wait(TICK):
            if task.state == "cancelled":
                os._exit(1)

    with _alone, chdir(folder), environment(quiet=True):
        threading.Thread(target=follow, daemon=True).start()
        try:
            function, args, kwargs = pickle.loads(packed)
            return function(*args, **kwargs)
        finally:
            ended.set()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C in a terminal reaches all processes: this one hears of it, and ends those that are started here."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would undo this
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """What a worker does first: it is to die with its parent, and leave no semaphore of tqdm's when it is killed."""
    tqdm.set_lock(threading.RLock())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def environment(quiet: bool) -> Iterator[None]:
    """What worker processes find in their environment; libraries read it when they are imported."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {XLA_ONE_THREAD}".strip()
    changes = ONE_THREAD | {"XLA_FLAGS": flags} | ({"TQDM_DISABLE": "1"} if quiet else {})
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
