"""Runs settings: each run of a setting, keyword and seed gets a record, and what has a record is not run again.

Runs share the processor's cores, a process and a core each, and go on after a kill from where their training was.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.stream_eval import SceneRecipe
from experiments.streams.thresholds import with_thresholds
from experiments.study.lock import locked
from experiments.study.records import MODEL, RUNS
from experiments.study.settings import BY_NAME, SETTINGS, Setting, with_needs
from experiments.study.sweep import Job, SweepContext, plan, sweep
from experiments.study.task import DataSource, Voices, find_source, make_task
from kws_jax.checkpoint import describe, rewrite
from kws_jax.data.corpus import Corpus
from kws_jax.data.scenes import Scenes
from kws_jax.data.sources import NO_SOURCES, SceneSources
from kws_jax.errors import UserError, one_line_errors
from kws_jax.training.recipe import Recipe
from torch_ref.train import SeminarRecipe

QUICK_EPOCHS, FEW_RESTARTS = 2, 2
# Our recipes were chosen on some 9,000 clips, and the seminar's takes 8,000 steps on its 51,000. On a small corpus an
# epoch is a few steps: there are more epochs then, for at least so many steps. On one as small as the synthetic voices'
# there are no more than these, so that a first run of all settings takes minutes.
SMALL_CORPUS, TINY_CORPUS, USUAL_CLIPS = 5_000, 2_000, 9_000
SMALL_STEPS, SEMINAR_STEPS = 1_600, 1_200
SMALL_SEMINAR = SeminarRecipe(learning_rate=1e-3, batch_size=64)
LEAST_BATCHES = 8  # of an epoch
SMALL_HOURS = 1.0  # of scenes


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
    """
    if not settings and not all_settings:
        raise UserError(f"name settings, or say --all: {', '.join(BY_NAME)}")
    if jobs < 1 or not seeds:
        raise UserError("give at least one seed, and at least one job")
    with_needs(settings)  # names are checked before a corpus is spoken
    with locked(out):
        source = find_source(data, keywords, sources, out, voices)
        corpus = source.load()
        chosen = {}
        for number, keyword in enumerate(dict.fromkeys(source.keywords)):
            tasks = [make_task(source, corpus, keyword, split, seed, out) for seed in seeds]  # a bad one is named now
            names = _all_names(bool(source.sources.speech), only_headline=number > 0) if all_settings else settings
            clips = tasks[0].split.training.size
            chosen[keyword] = [resolved(setting, clips, quick) for setting in with_needs(names)]
        context, runs = SweepContext(source, split, out, quick), plan(chosen, tuple(dict.fromkeys(seeds)))
        sweep(context, runs, jobs, scheduler)
        if split == "official" and not quick:
            give_thresholds(source, corpus, {context.folder(run) / MODEL: run for run in runs})
    print(f"records: {out / RUNS}")


def give_thresholds(source: DataSource, corpus: Corpus, runs: Mapping[Path, Job]) -> None:
    """Writes thresholds into the files of models that learnt from scenes, as validation speakers choose them.

    Args:
        source: Where running speech and noise of their scenes lie.
        corpus: All clips.
        runs: By the model's file; where only a record is left of a run, there is nothing to write into.
    """
    scenes: dict[str, Scenes] = {}
    for path, run in runs.items():
        if not (run.setting.scene_hours and path.is_file()):
            continue
        about = describe(path)[1]
        if about.operating_points is not None:
            continue
        if run.keyword not in scenes:
            recipe = SceneRecipe(source.folder, source.sources, min(SceneRecipe.hours, run.setting.scene_hours))
            scenes = {run.keyword: recipe.build(corpus, run.keyword, "validation")}
        rewrite(path, path, with_thresholds(path, about, scenes[run.keyword]))


def _all_names(has_speech: bool, only_headline: bool) -> tuple[str, ...]:
    """Of the settings of --all that can run."""
    chosen = [setting for setting in SETTINGS if setting.headline or not only_headline]
    return tuple(setting.name for setting in chosen if has_speech or not setting.scene_hours)


def resolved(setting: Setting, clips: int, quick: bool) -> Setting:
    """The setting as it is run on so many training clips."""
    recipe, is_small, hours = setting.recipe, clips < SMALL_CORPUS, setting.scene_hours
    if recipe is not None and is_small:
        hours = min(hours, SMALL_HOURS)
        draws = (clips, USUAL_CLIPS)
        if hours and isinstance(recipe, Recipe):
            draws = (int(hours * 3600 / recipe.window), int(setting.scene_hours * 3600 / recipe.window))
        recipe = for_small_corpus(recipe, *draws)
    if quick and recipe is not None:
        recipe = replace(recipe, epochs=QUICK_EPOCHS)
    restarts = min(setting.restarts, FEW_RESTARTS) if is_small or quick else setting.restarts
    return replace(setting, recipe=recipe, restarts=restarts, scene_hours=hours)


def for_small_corpus(
    recipe: SeminarRecipe | Recipe, clips: int, usual_clips: int = USUAL_CLIPS
) -> SeminarRecipe | Recipe:
    """A recipe whose epochs give as many steps as it needs, in batches of which an epoch has several.

    Args:
        recipe: As it was chosen on an epoch of `usual_clips` clips, or windows of scenes.
        clips: Of an epoch here.
        usual_clips: Of an epoch there.
    """
    if isinstance(recipe, SeminarRecipe):
        recipe, steps = SMALL_SEMINAR, SEMINAR_STEPS
    else:
        steps = min(recipe.epochs * usual_clips // recipe.batch_size, SMALL_STEPS)
    batch_size = min(recipe.batch_size, max(clips // LEAST_BATCHES, 1))
    epochs = max(1, round(steps / max(clips // batch_size, 1)))
    return replace(recipe, batch_size=batch_size, epochs=epochs if clips < TINY_CORPUS else max(epochs, recipe.epochs))


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    with one_line_errors():
        tyro.cli(main, description=__doc__)
