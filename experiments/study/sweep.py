"""Settings x keywords x seeds: which runs there are, what each needs, and how the whole of them goes on."""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tqdm import tqdm

from experiments.study.pipeline import run_setting
from experiments.study.provenance import is_current
from experiments.study.records import RECORD, RUNS, UNFINISHED, Record, read_record, run_name
from experiments.study.settings import Setting
from experiments.study.task import DataSource, make_task
from experiments.study.workers import Outcome, run_jobs
from kws_jax.errors import UserError
from kws_jax.files import written

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


def sweep(
    context: SweepContext, needs: Mapping[Job, tuple[Job, ...]], num_workers: int, scheduler: str | None = None
) -> None:
    """Runs what has no record yet, here or on a scheduler's workers; a quick record counts for quick sweeps alone.

    Raises:
        UserError: At the end, if runs failed; or if the scheduler does not answer, or goes away.
    """
    records = {job: _read(context, job) for job in needs}
    todo = [job for job, record in records.items() if record is None]
    print(f"{len(needs) - len(todo)} of {len(needs)} runs have their record")
    counted = {job: record for job, record in records.items() if record and record.quick == context.quick}
    old: list[Job] = []
    for job, record in counted.items():  # after all that it learns from
        if not is_current(record.setting, job.setting) or not {*old}.isdisjoint(needs[job]):
            old.append(job)
    if old:
        of = f"{len(old)} of these are of settings that have changed since, or learn from one"
        print(f"{of}; delete their folders to run again: {', '.join(map(str, old))}")
    if todo:
        rest = {job: tuple(need for need in needs[job] if need in todo) for job in todo}
        _run(context, rest, len(needs), num_workers, scheduler)


def _run(
    context: SweepContext, todo: Mapping[Job, tuple[Job, ...]], total: int, num_workers: int, scheduler: str | None
) -> None:
    """Prints a line for every run that ends; on a terminal, there is a bar that says what runs."""
    workers, recorded, start = min(num_workers, len(todo)), total - len(todo), time.perf_counter()
    hidden = None if workers > 1 else True  # a single worker shows a bar of its own
    with closing(tqdm(total=total, initial=recorded, bar_format=BAR, disable=hidden)) as bar:

        def on_tick(running: Collection[Job]) -> None:
            bar.set_postfix_str(", ".join(map(str, running)))

        jobs = run_jobs(partial(run_job, context), todo, workers, workers > 1, on_tick, scheduler)
        with closing(jobs) as outcomes:
            for ended, outcome in enumerate(outcomes, start=1):
                left = (time.perf_counter() - start) / ended * (len(todo) - ended)
                if outcome.result is None:
                    tqdm.write(f"{outcome.job}: {_failure(context, outcome)}")
                    continue
                recorded += 1
                bar.update()
                tqdm.write(f"[{recorded}/{total}] {outcome.job}: {_summary(outcome)}; about {_duration(left)} left")
    if recorded < total:
        raise UserError(
            f"{total - recorded} of {len(todo)} runs have no record: see above; the same command tries again"
        )


def _summary(outcome: Outcome[Job, Record]) -> str:
    assert outcome.result is not None
    error, macs = outcome.result.testing.auroc_error, outcome.result.cost.thop_macs
    return f"1 - AUROC {error:.2e} on test clips, {macs:,} MACs, {_duration(outcome.seconds)}"


def _failure(context: SweepContext, outcome: Outcome[Job, Record]) -> str:
    if outcome.lost:
        return f"skipped, it {outcome.error}"
    if outcome.traceback is None:
        return f"FAILED, {outcome.error}"
    path = context.folder(outcome.job) / UNFINISHED / "traceback.txt"
    try:
        with written(path) as part:
            part.write_text(outcome.traceback, errors="backslashreplace")
    except UserError as error:  # as on a full disk, which may be why it failed
        return f"FAILED, {outcome.error}; {error}"
    return f"FAILED, {outcome.error} ({path})"


def _read(context: SweepContext, job: Job) -> Record | None:
    """The job's record; none where there is none, or where it is a quick run's and this is no quick sweep."""
    path = context.folder(job) / RECORD
    record = read_record(path) if path.exists() else None
    return None if record and record.quick and not context.quick else record


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
