"""Jobs that need one another, on all cores: worker processes of one thread each."""

import time
import traceback
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, Generic, TypeVar

from pebble import ProcessExpired

from experiments.study.executors import TICK, Cluster, Processes, check_jobs, environment
from kws_jax.errors import UserError, printable

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
    on_tick: Callable[[Collection[J]], None] = lambda running: None,
    scheduler: str | None = None,
) -> Generator[Outcome[J, R], None, None]:
    """Runs every job once those that it needs have run, and yields how each ended as soon as it has.

    A job that raises, or whose process dies, takes with it those that need it; the others go on. A scheduler runs one
    again whose process dies, three times. When the caller stops, by an exception or by closing the iterator, the jobs
    that run are killed; so they are when this process dies.

    Args:
        function: Of a job; importable by a new process, as are jobs and results.
        needs: By job, in order of preference: the jobs that must have run before it, all of them keys too.
        num_workers: Jobs at the same time, at most; here, a process each.
        quiet: Whether the workers' progress bars go away.
        on_tick: Called at least once a second with the running jobs; on a cluster, they may still wait for a worker.
        scheduler: Address of a Dask scheduler whose workers take the jobs, in place of processes here.

    Raises:
        ValueError: If jobs need one another in a circle.
        UserError: If there is to be no job at a time, or the scheduler does not answer, or goes away.
    """
    check_jobs(num_workers)
    order, rank = TopologicalSorter(needs), {job: number for number, job in enumerate(needs)}
    order.prepare()
    ready, failed, running = list[J](), set[J](), dict[Future[dict[str, Any]], tuple[J, float]]()
    with _executor(max(1, min(num_workers, len(needs))), quiet, scheduler) as executor:
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()], key=rank.__getitem__)
            for job in [job for job in ready if failed.intersection(needs[job])]:
                first = next(need for need in needs[job] if need in failed)
                ready.remove(job)
                failed.add(job)
                order.done(job)
                yield Outcome(job, error=f"needs {first}", lost=True)
            while ready and len(running) < num_workers:
                job = ready.pop(0)
                running[executor.submit(_work, function, job)] = job, time.perf_counter()
            for future in wait(running, TICK, FIRST_COMPLETED).done:
                job, start = running.pop(future)
                answer = _answer(future)
                if "error" in answer:
                    failed.add(job)
                order.done(job)
                yield Outcome(job, seconds=time.perf_counter() - start, **answer)
            on_tick([job for job, _ in running.values()])


@contextmanager
def _executor(num_workers: int, quiet: bool, scheduler: str | None) -> Iterator[Executor]:
    if scheduler is not None:
        with Cluster(scheduler) as cluster:
            yield cluster
    else:
        with environment(quiet), Processes(num_workers) as processes:
            yield processes


def _work(function: Callable[[Any], Any], job: Any) -> dict[str, Any]:
    """What a worker process does."""
    try:
        return {"result": function(job)}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": _one_line(error), "traceback": traceback.format_exc()}


def _answer(future: "Future[dict[str, Any]]") -> dict[str, Any]:
    try:
        return future.result()
    except CancelledError as error:
        raise UserError("the scheduler is gone, or has cancelled a job: the same command goes on from here") from error
    except ProcessExpired as error:
        return {"error": f"its process died with exit status {error.exitcode}"}
    except Exception as error:
        return {"error": _one_line(error)}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {printable(str(error).strip().partition(chr(10))[0])}"
