"""Jobs on the workers of a Dask scheduler: as on processes here, and again where a worker died.

Workers import this file, so what it imports at its head is light.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from experiments.study import executors
from experiments.study.workers import Outcome, run_jobs
from kws_jax.errors import UserError
from tests.experiments.test_workers import _eventually, _gone, assert_in_order, sleep, work

distributed = pytest.importorskip("distributed", reason="needs distributed")


def start(threads: int = 1, workers: int = 2) -> "distributed.LocalCluster":
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=threads, processes=True, dashboard_address=":0"
    )


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two workers of one thread."""
    with start() as cluster:
        yield cluster.scheduler_address


def outcomes(
    function: Callable, needs: dict[str, tuple[str, ...]], scheduler: str, at_a_time: int = 2
) -> dict[str, Outcome]:
    return {outcome.job: outcome for outcome in run_jobs(function, needs, at_a_time, scheduler=scheduler)}


def die_at_first(job: str) -> str:
    """Kills its worker the first time; a job is a path."""
    path = Path(job)
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if path.stem == "killed" and len(path.read_text().split()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def meet(job: str) -> str | None:
    """Says whether another job runs in this process at the same time."""
    here, there = Path(f"{job}.{os.getpid()}"), Path(job).parent
    here.touch()
    time.sleep(0.5)
    found = [path.name for path in there.glob(f"*.{os.getpid()}") if path != here]
    here.unlink()
    return found[0] if found else None


def test_jobs_run_after_their_needs_as_they_do_here(scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert_in_order(scheduler)
    monkeypatch.chdir(tmp_path)
    assert outcomes(os.path.abspath, {"out": ()}, scheduler)["out"].result == str(tmp_path / "out")


def test_a_failure_takes_along_what_needs_it_and_nothing_else(scheduler: str):
    needs = {"mistake": (), "child": ("mistake",), "bug": (), "fine": (), "finer": ("fine",)}
    ended = outcomes(work, needs, scheduler)
    assert {job for job, outcome in ended.items() if outcome.error is None} == {"fine", "finer"}
    assert (ended["mistake"].error, ended["mistake"].traceback) == ("give --speech", None)
    assert ended["bug"].error == "ZeroDivisionError: of zero"
    assert "in work" in ended["bug"].traceback
    assert {job: outcome.error for job, outcome in ended.items() if outcome.lost} == {"child": "needs mistake"}


@pytest.mark.slow
def test_a_job_whose_worker_is_killed_runs_again(scheduler: str, tmp_path: Path):
    paths = [str(tmp_path / name) for name in ("killed", "fine", "after")]
    ended = outcomes(die_at_first, {paths[0]: (), paths[1]: (), paths[2]: (paths[0],)}, scheduler)
    assert {job: outcome.result for job, outcome in ended.items()} == {path: path for path in paths}
    assert len(set(Path(paths[0]).read_text().split())) == 2


@pytest.mark.slow
def test_a_job_that_kills_every_worker_is_given_up(scheduler: str):
    ended = outcomes(work, {"killed": (), "orphan": ("killed",), "fine": ()}, scheduler, at_a_time=1)
    assert ended["killed"].error.startswith("KilledWorker: ")
    assert ended["killed"].error.count("\n") == 0
    assert ended["orphan"].error == "needs killed"
    assert ended["fine"].result[0] == "fine"


@pytest.mark.slow
def test_what_runs_ends_with_the_caller_and_what_waits_never_begins(scheduler: str, tmp_path: Path):
    paths = [tmp_path / name for name in ("one", "two", "three")]
    ticks = []

    def on_tick(running: list[str]) -> None:
        ticks.append(set(running))
        if sum(path.exists() and path.read_text() != "" for path in paths) == 2:
            raise KeyboardInterrupt

    jobs = run_jobs(sleep, {str(path): () for path in paths}, 3, on_tick=on_tick, scheduler=scheduler)
    with closing(jobs), pytest.raises(KeyboardInterrupt):
        next(jobs)
    assert ticks[0] == {str(path) for path in paths}
    begun = [path for path in paths if path.exists()]
    assert len(begun) == 2
    assert _eventually(lambda: all(_gone(int(path.read_text())) for path in begun))
    assert outcomes(work, {"fine": ()}, scheduler)["fine"].error is None
    assert [path for path in paths if path.exists()] == begun


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_one_line(tmp_path: Path):
    path = tmp_path / "one"
    with start(workers=1) as cluster:
        jobs = run_jobs(
            sleep,
            {str(path): (), "never": ()},
            1,
            on_tick=lambda _: cluster.close() if path.exists() else None,
            scheduler=cluster.scheduler_address,
        )
        with pytest.raises(UserError, match="the scheduler is gone, or has cancelled a job"):
            list(jobs)


@pytest.mark.slow
def test_a_worker_of_several_threads_is_refused_or_takes_one_job_at_a_time(tmp_path: Path):
    jobs = {str(tmp_path / name): () for name in ("one", "two", "three")}
    with start(threads=2, workers=0) as cluster:
        ended = run_jobs(meet, jobs, 3, on_tick=lambda _: cluster.scale(1), scheduler=cluster.scheduler_address)
        assert [(outcome.result, outcome.error) for outcome in ended] == [(None, None)] * 3
        with pytest.raises(UserError, match="several threads: start workers with --nthreads 1"):
            outcomes(work, {"fine": ()}, cluster.scheduler_address)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:{free}", "tcp://127.0.0.1", "nonsense://x:1", "tls://127.0.0.1:1", "tcp://{silent}"]
)
def test_a_scheduler_that_does_not_answer_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executors, "PATIENCE", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        address = address.format(free=bound.getsockname()[1], silent=f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UserError, match="no Dask scheduler answers at ") as error:
            outcomes(work, {"fine": ()}, address)
    assert "\n" not in str(error.value)
    assert address in str(error.value)


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[cluster\]'"):
        outcomes(work, {"fine": ()}, "tcp://127.0.0.1:8786")


@pytest.mark.slow
def test_a_sweep_leaves_the_records_of_one_here(tone_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    import jax
    import numpy as np

    from experiments import run
    from experiments.study.records import MODEL, RUNS, read_record
    from kws_jax.checkpoint import load

    def sweep(out: Path, scheduler: str | None) -> str:
        names = ("base_fp16", "student_314x_int5")
        run.main(names, data=tone_corpus, keywords=("up",), out=out, quick=True, jobs=2, scheduler=scheduler)
        return capsys.readouterr().out

    here, there = tmp_path / "here", tmp_path / "there"
    sweep(here, None)
    with start() as cluster:
        assert "[4/4]" in sweep(there, cluster.scheduler_address)
    assert sweep(there, "tcp://127.0.0.1:1") == f"4 of 4 runs have their record\nrecords: {there / RUNS}\n"
    folders = sorted((here / RUNS).iterdir())
    assert [path.name for path in folders] == [path.name for path in sorted((there / RUNS).iterdir())]
    for folder in folders:
        other = there / RUNS / folder.name
        assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}
        jax.tree.map(np.testing.assert_array_equal, load(folder / MODEL).variables, load(other / MODEL).variables)
        records = [read_record(path / "record.json") for path in (folder, other)]
        for name in ("setting", "keyword", "data", "validation", "testing", "held_out", "cost", "versions"):
            assert getattr(records[0], name) == getattr(records[1], name), name
