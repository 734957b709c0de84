"""Settings x keywords x seeds: which runs there are, what each needs, and how the whole of them goes on."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import mean

from tqdm import tqdm

from experiments.origin import is_of
from experiments.pipeline import run_setting
from experiments.records import Record, read_record, run_name
from experiments.setting import Setting
from experiments.task import Source, make_task
from experiments.workers import Outcome, run_jobs
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
class Place:
    """What all runs have in common: the clips, the split's name, and the output folder."""

    source: Source
    split: str
    out: Path

    def path(self, kind: str, job: Job, suffix: str = "") -> Path:
        """Where a job's record lies, or what it keeps until it has one."""
        name = run_name(job.setting.name, job.keyword, self.split, job.seed, self.source.name)
        return self.out / kind / f"{name}{suffix}"


def plan(settings: Mapping[str, Sequence[Setting]], seeds: Sequence[int]) -> dict[Job, tuple[Job, ...]]:
    """Every run with those that it needs, setting by setting, so that what others need comes first.

    Args:
        settings: By keyword: settings and all that they need, each after its needs.
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
    return {job: tuple(jobs[need, job.keyword, job.seed] for need in job.setting.needs) for job in ordered}


def run_job(place: Place, job: Job) -> Record:
    """Runs one setting on one task; in a worker process."""
    corpus = _corpus(place.source)
    return run_setting(job.setting, make_task(place.source, corpus, job.keyword, place.split, job.seed, place.out))


_corpus = cache(Source.load)  # a worker runs many jobs on one corpus


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

    def __init__(self, place: Place, total: int, todo: Collection[Job], num_workers: int) -> None:
        self.place, self.rest, self.running = place, dict.fromkeys(todo), dict[Job, float]()
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
        path = self.place.path("unfinished", outcome.job) / "traceback.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(outcome.traceback)
        return f"FAILED, {outcome.error} ({path})"


def sweep(place: Place, needs: Mapping[Job, tuple[Job, ...]], num_workers: int) -> None:
    """Runs what has no record yet.

    Raises:
        UserError: At the end, if runs failed.
    """
    todo = [job for job in needs if not place.path("records", job, ".json").exists()]
    print(f"{len(needs) - len(todo)} of {len(needs)} runs have their record")
    if old := [str(job) for job in needs if job not in todo and not _is_current(place, job)]:
        print(
            f"{len(old)} of these are of settings that have changed since; delete them to run again: {', '.join(old)}"
        )
    if not todo:
        return
    needs_todo = {job: tuple(need for need in needs[job] if need in todo) for job in todo}
    workers = min(num_workers, len(todo))
    progress = _Progress(place, len(needs), todo, workers)
    with (
        closing(progress.bar),
        closing(
            run_jobs(partial(run_job, place), needs_todo, workers, quiet=workers > 1, on_tick=progress.tick)
        ) as outcomes,
    ):
        for outcome in outcomes:
            progress.add(outcome)
    if progress.failed:
        raise UserError(
            f"{progress.failed} of {len(todo)} runs have no record: see above; the same command tries again"
        )


def _is_current(place: Place, job: Job) -> bool:
    return is_of(read_record(place.path("records", job, ".json")).setting, job.setting)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
