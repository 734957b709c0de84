"""Jobs on worker processes: order, failures, deaths and interruptions."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.util import Finalize
from pathlib import Path

import pytest
from tqdm import tqdm

from experiments.study.workers import Outcome, run_jobs
from kws_jax.errors import UserError

ROOT = Path(__file__).parents[2]


def work(job: str) -> tuple[str, int, str | None]:
    """By the job's first word: fails in one of four ways, or says where and how it ran."""
    kind = job.split()[0]
    if kind == "mistake":
        raise UserError("give --speech")
    if kind == "bug":
        raise ZeroDivisionError("of zero\nby zero")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "stubborn":
        list(tqdm([job], disable=True))  # whose lock is a semaphore, which a killed process leaves
        Finalize(None, time.sleep, (0.5,), exitpriority=1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return job, os.getpid(), os.environ.get("NPROC")


def sleep(job: str) -> None:
    Path(job).write_text(str(os.getpid()))
    time.sleep(600)


def outcomes(needs: dict[str, tuple[str, ...]], num_workers: int = 2) -> dict[str, Outcome]:
    return {outcome.job: outcome for outcome in run_jobs(work, needs, num_workers)}


def assert_in_order(scheduler: str | None = None) -> list[tuple[str, int, str]]:
    """Runs jobs after their needs, in other processes of one thread, and returns what they say."""
    before = dict(os.environ)
    needs = {"last": ("a", "b"), "a": ("first",), "b": ("first",), "first": ()}
    ended = {outcome.job: outcome for outcome in run_jobs(work, needs, 2, scheduler=scheduler)}
    assert next(iter(ended)) == "first"
    assert list(ended)[-1] == "last"
    results = [outcome.result for outcome in ended.values()]
    assert {job for job, _, _ in results} == set(ended)
    assert {threads for _, _, threads in results} == {"1"}
    assert os.getpid() not in {process for _, process, _ in results}
    assert all(outcome.seconds > 0 and outcome.error is None for outcome in ended.values())
    assert dict(os.environ) == before
    return results


def test_jobs_run_after_their_needs_in_workers_of_one_thread():
    assert len({process for _, process, _ in assert_in_order()}) <= 2


def test_a_failure_takes_along_what_needs_it_and_nothing_else():
    ended = outcomes(
        {
            "mistake": (),
            "child": ("mistake",),
            "grandchild": ("child", "fine"),
            "bug": (),
            "killed": (),
            "orphan": ("killed",),
            "fine": (),
            "finer": ("fine",),
        }
    )
    assert {job for job, outcome in ended.items() if outcome.error is None} == {"fine", "finer"}
    assert ended["mistake"].error == "give --speech"
    assert ended["mistake"].traceback is None
    assert ended["bug"].error == "ZeroDivisionError: of zero"
    assert "in work" in ended["bug"].traceback
    assert ended["killed"].error == "its process died with exit status -9"
    lost = {job: outcome.error for job, outcome in ended.items() if outcome.lost}
    assert lost == {"child": "needs mistake", "grandchild": "needs child", "orphan": "needs killed"}


def test_circles_are_named():
    with pytest.raises(ValueError, match="cycle"):
        outcomes({"a": ("b",), "b": ("a",), "c": ()})


def _gone(process: int) -> bool:
    """Whether a process has ended; one that waits for its parent to notice has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _eventually(condition: object) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def started(call: str) -> subprocess.Popen:
    """A process that makes a call, in which the functions of this file are known."""
    names = "from pebble import CONSTS\nfrom tests.experiments.test_workers import run_jobs, sleep, work"
    script = f"{names}\nif __name__ == '__main__':\n    {call}\n"
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_good_run_ends_without_a_word():
    """Even where a worker has to be killed that takes its time to go."""
    jobs = "{'stubborn': (), 'stubborn too': ('stubborn',)}"
    run = started(f"CONSTS.term_timeout = 0.1; assert not any(ended.error for ended in run_jobs(work, {jobs}, 2))")
    assert run.communicate(timeout=60)[1] == ""
    assert run.returncode == 0


def test_ctrl_c_in_a_terminal_is_for_one_process_alone():
    """All of the terminal's processes hear it: workers that are only just starting too, of which none says a word."""
    names = "from kws_jax.command import command\nfrom tests.experiments.test_workers import run_jobs, sleep"
    call = "with command():\n        list(run_jobs(sleep, {'/nowhere/a': (), '/nowhere/b': ()}, 2, on_tick=ready))"
    script = f"{names}\ndef ready(running):\n    print(flush=True)\nif __name__ == '__main__':\n    {call}\n"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, start_new_session=True, **pipes)
    assert run.stdout.readline() == "\n"
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate(timeout=60)[1] == ""
    assert run.returncode == 130


@pytest.mark.parametrize("number", [0, -1])
def test_no_job_at_a_time_is_refused(number: int):
    with pytest.raises(UserError, match=f"give at least one job, not {number}"):
        outcomes({"a": ()}, number)
    assert outcomes({}, 10**9) == {}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_no_worker_outlives_the_run(name: str, tmp_path: Path):
    paths = [tmp_path / "one", tmp_path / "two"]
    call = f"list(run_jobs(sleep, {{path: () for path in {[str(path) for path in paths]!r}}}, 2))"
    run = started(call)
    assert _eventually(lambda: all(path.exists() and path.read_text() for path in paths))
    workers = [int(path.read_text()) for path in paths]
    run.send_signal(getattr(signal, name))
    errors = run.communicate(timeout=60)[1]
    assert run.returncode == -getattr(signal, name)
    assert ("KeyboardInterrupt" in errors) == (name == "SIGINT")
    assert _eventually(lambda: all(_gone(worker) for worker in workers))
