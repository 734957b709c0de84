"""Runs settings: each run of a setting, keyword and seed gets a record, and what has a record is not run again.

Runs share the processor's cores, a process and a core each, and go on after a kill from where their training was.
"""

import logging
import os
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kws_jax.command import command, heeds_quiet
from kws_jax.data.sources import NO_SOURCES, SceneSources, Voices
from kws_jax.errors import UserError


@heeds_quiet
def main(
    settings: tyro.conf.Positional[tuple[str, ...]] = (),
    all_settings: Annotated[bool, tyro.conf.arg(name="all")] = False,
    data: Path | None = None,
    keywords: tuple[str, ...] = (),
    split: Literal["official", "random"] = "official",
    seeds: tuple[int, ...] = (0,),
    sources: tyro.conf.OmitArgPrefixes[SceneSources] = NO_SOURCES,
    voices: Voices | None = None,
    out: Path = Path("out"),
    quick: bool = False,
    jobs: int = os.cpu_count() or 1,
    scheduler: str | None = None,
    quiet: bool = False,
) -> None:
    """Runs settings and what they learn from.

    Args:
        settings: Names of settings.
        all_settings: Run every setting; with several keywords, the first gets all, the others the headline settings.
        data: Folder laid out as Speech Commands; without it, a corpus spoken by synthetic voices.
        keywords: The words to spot; "sheila" on the synthetic corpus.
        split: The data set's own, disjoint in speakers, or the homework's random 80/20.
        seeds: Of the training; every seed has a random split of its own.
        sources: Of running speech and noise; without speech, --all leaves out the settings that train on it. The
            synthetic corpus brings its own.
        voices: Add clips by synthetic voices to real data that has too few of the keyword: of the "keyword" alone, or
            of "words", the keyword and others, so that a voice's sound does not give the keyword away.
        out: Folder for records, logs, scores and models: OUT/runs/NAME holds all of one run.
        quick: Two epochs each, to see that everything works; the numbers mean nothing.
        jobs: Runs at the same time; by default one a core.
        scheduler: Address of a Dask scheduler, tcp://host:8786, whose workers take the runs, --jobs at a time: say how
            many workers there are, or are to be. All see one file system, with OUT, the data and this folder at the
            same paths, and run one at a time: python -m dask worker ADDRESS --nworkers 2 --nthreads 1. Clusters of
            dask-jobqueue (SLURM) and dask-kubernetes have such an address.
        quiet: Say nothing but what is wrong.
    """
    # Seconds to import, which --help does not need.
    from experiments.streams.thresholds import give_thresholds
    from experiments.study.executors import check_jobs
    from experiments.study.lock import locked
    from experiments.study.records import MODEL, RUNS
    from experiments.study.scaling import names_of_all, resolved
    from experiments.study.settings import BY_NAME, with_needs
    from experiments.study.sweep import SweepContext, plan, sweep
    from experiments.study.task import check_seeds, find_source, make_task

    if not settings and not all_settings:
        raise UserError(f"name settings, or say --all: {', '.join(BY_NAME)}")
    check_jobs(jobs)
    check_seeds(seeds)
    with_needs(settings)  # names are checked before a corpus is spoken
    with locked(out):
        source = find_source(data, keywords, sources, out, voices)
        corpus = source.load()
        chosen = {}
        for number, keyword in enumerate(dict.fromkeys(source.keywords)):
            tasks = [make_task(source, corpus, keyword, split, seed, out) for seed in seeds]  # a bad one is named now
            names = names_of_all(bool(source.sources.speech), only_headline=number > 0) if all_settings else settings
            clips = tasks[0].split.training.size
            chosen[keyword] = [resolved(setting, clips, quick) for setting in with_needs(names)]
        context, runs = SweepContext(source, split, out, quick), plan(chosen, tuple(dict.fromkeys(seeds)))
        sweep(context, runs, jobs, scheduler)
        if split == "official" and not quick:
            give_thresholds(source, corpus, {context.folder(run) / MODEL: run for run in runs})
    print(f"records: {out / RUNS}")


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    with command():
        tyro.cli(main, description=__doc__)
