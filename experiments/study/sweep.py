"""Settings x keywords x seeds: which runs there are, what each needs, and how the whole of them goes on."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import mean

from filelock import FileLock, Timeout
from tqdm import tqdm

from experiments.study.pipeline import run_setting
from experiments.study.provenance import is_current
from experiments.study.records import RECORD, RUNS, Record, read_record, run_name
from experiments.study.settings import Setting
from experiments.study.task import DataSource, make_task
from experiments.study.workers import Outcome, run_jobs
from kws_jax.errors import UserError

BAR = "{n}/{total} runs have a record, {elapsed} since the start{postfix}"


@dataclass(frozen=True)
class Job:
    """One run: a setting, as it is run on this corpus, with a keyword and a seed."""

    setting: Setting
    keyword: str
    seed: int

    def __str__(self) -> str:
        return f"{self.setting.name} {self.keyword} seed {self.seed}"


@dataclass(frozen=True)
class SweepContext:
    """What all runs have in common: the clips, the split's name, the output folder, and whether they are quick."""

    source: DataSource
    split: str
    out: Path
    quick: bool = False

    def folder(self, job: Job) -> Path:
        """Where a job's run lies."""
        return self.out / RUNS / run_name(job.setting.name, job.keyword, self.source.voices, self.split, job.seed)


def plan(settings: Mapping[str, Sequence[Setting]], seeds: Sequence[int]) -> dict[Job, tuple[Job, ...]]:
    """Every run with those that it needs, setting by setting, so that what others need comes first.

    Args:
        settings: By keyword: settings and all that they learn from, each after that.
        seeds: Of every setting and keyword.
    """
    jobs = {
        (setting.name, keyword, seed): Job(setting, keyword, seed)
        for keyword, chosen in settings.items()
        for setting in chosen
        for seed in seeds
    }
    longest = max(settings.values(), key=len)
    rank = {setting.name: number for number, setting in enumerate(longest)}
    ordered = sorted(jobs.values(), key=lambda job: rank.get(job.setting.name, len(rank)))
    return {job: tuple(jobs[need, job.keyword, job.seed] for need in job.setting.learns_from) for job in ordered}


def run_job(context: SweepContext, job: Job) -> Record:
    """Runs one setting on one task; in a worker process."""
    corpus, source = _corpus(context.source), context.source
    task = make_task(source, corpus, job.keyword, context.split, job.seed, context.out, context.quick)
    return run_setting(job.setting, task)


_corpus = cache(DataSource.load)  # a worker runs many jobs on one corpus


@dataclass
class Clock:
    """Estimates the time left from the jobs that have finished."""

    num_workers: int
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, job: Job, seconds: float) -> None:
        """Notes a finished job."""
        self.seconds.setdefault(job.setting.name, []).append(seconds)

    def expected(self, job: Job) -> float:
        """Mean of the finished jobs of the same setting; where there is none, of all."""
        every = [seconds for those in self.seconds.values() for seconds in those]
        return mean(self.seconds.get(job.setting.name, every))

    def left(self, waiting: Collection[Job], running: Mapping[Job, float]) -> float | None:
        """Seconds until all is done if the workers share the rest evenly; None before the first job has finished.

        Args:
            waiting: Jobs that have not begun.
            running: Jobs that have, with the seconds that each has taken.
        """
        if not self.seconds:
            return None
        rest = [max(0.0, self.expected(job) - taken) for job, taken in running.items()]
        total = sum(rest) + sum(self.expected(job) for job in waiting)
        return max([total / self.num_workers, *rest])


class _Progress:
    """A line for every run that ends; on a terminal, one more that says what runs, and how long all may yet take."""

    def __init__(self, context: SweepContext, total: int, todo: Collection[Job], num_workers: int) -> None:
        self.context, self.rest, self.running = context, dict.fromkeys(todo), dict[Job, float]()
        self.clock, self.failed, self.total, self.recorded = Clock(num_workers), 0, total, total - len(todo)
        hidden = None if num_workers > 1 else True  # a single worker shows a bar of its own
        self.bar = tqdm(total=total, initial=total - len(todo), bar_format=BAR, disable=hidden)

    def left(self) -> str:
        waiting = [job for job in self.rest if job not in self.running]
        seconds = self.clock.left(waiting, self.running)
        return "time left unknown" if seconds is None else f"about {_duration(seconds)} left"

    def tick(self, running: Mapping[Job, float]) -> None:
        self.running = dict(running)
        self.bar.set_postfix_str(f"{self.left()}, now {', '.join(map(str, running))}")

    def add(self, outcome: Outcome[Job, Record]) -> None:
        del self.rest[outcome.job]
        self.running.pop(outcome.job, None)
        if outcome.result is None:
            self.failed += 1
            tqdm.write(f"{outcome.job}: {self._failure(outcome)}")
            return
        self.clock.add(outcome.job, outcome.seconds)
        self.recorded += 1
        self.bar.update()
        error, macs = outcome.result.testing.auroc_error, outcome.result.cost.thop_macs
        judged = f"1 - AUROC {error:.2e} on test clips, {macs:,} MACs, {_duration(outcome.seconds)}"
        tqdm.write(f"[{self.recorded}/{self.total}] {outcome.job}: {judged}; {self.left()}")

    def _failure(self, outcome: Outcome[Job, Record]) -> str:
        if outcome.lost:
            return f"skipped, it {outcome.error}"
        if outcome.traceback is None:
            return f"FAILED, {outcome.error}"
        path = self.context.folder(outcome.job) / "unfinished" / "traceback.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(outcome.traceback)
        return f"FAILED, {outcome.error} ({path})"


def sweep(context: SweepContext, needs: Mapping[Job, tuple[Job, ...]], num_workers: int) -> None:
    """Runs what has no record yet; a quick run's record counts for quick sweeps alone.

    Raises:
        UserError: If another sweep is writing there; at the end, if runs failed.
    """
    with _locked(context.out):
        records = {job: _read(context, job) for job in needs}
        todo = [job for job, record in records.items() if record is None]
        print(f"{len(needs) - len(todo)} of {len(needs)} runs have their record")
        old = [str(job) for job, record in records.items() if record and not is_current(record.setting, job.setting)]
        if old:
            of = f"{len(old)} of these are of settings that have changed since"
            print(f"{of}; delete their folders to run again: {', '.join(old)}")
        if todo:
            _run(context, {job: tuple(need for need in needs[job] if need in todo) for job in todo}, needs, num_workers)


def _run(
    context: SweepContext, todo: Mapping[Job, tuple[Job, ...]], needs: Mapping[Job, tuple[Job, ...]], num_workers: int
) -> None:
    workers = min(num_workers, len(todo))
    progress = _Progress(context, len(needs), todo, workers)
    outcomes = run_jobs(partial(run_job, context), todo, workers, quiet=workers > 1, on_tick=progress.tick)
    with closing(progress.bar), closing(outcomes):
        for outcome in outcomes:
            progress.add(outcome)
    if progress.failed:
        raise UserError(
            f"{progress.failed} of {len(todo)} runs have no record: see above; the same command tries again"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keeps every other sweep off the folder; a kill gives it free."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"another run is writing into {out}: wait for it, or name another folder with --out") from None


def _read(context: SweepContext, job: Job) -> Record | None:
    """The job's record; none where there is none, or where it is a quick run's and this is no quick sweep."""
    path = context.folder(job) / RECORD
    if not path.exists():
        return None
    record = read_record(path)
    return None if record.quick and not context.quick else record


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
