"""Runs settings: each run of a setting, keyword and seed gets a record, and what has a record is not run again.

Runs share the processor's cores, a process and a core each, and go on after a kill from where their training was.
"""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.setting import Setting
from experiments.settings import BY_NAME, SETTINGS, with_needs
from experiments.sweep import Place, plan, sweep
from experiments.task import find_source, make_task
from experiments.voices import Said
from kws_jax.errors import UserError, one_line_errors
from torch_ref.train import SeminarRecipe

QUICK_EPOCHS, FEW_RESTARTS = 2, 2
# The seminar's recipe takes 8,000 steps on its 51,000 clips; on the synthetic corpus's 1,700 it would take 270.
SYNTHETIC_SEMINAR = SeminarRecipe(learning_rate=1e-3, batch_size=64, epochs=60)
# Of our own recipe, for the same reason; three times its own at most, so that tuning for a grid stays short.
SYNTHETIC_EPOCHS = 180


def main(
    settings: tyro.conf.Positional[tuple[str, ...]] = (),
    all_settings: Annotated[bool, tyro.conf.arg(name="all")] = False,
    data: Path | None = None,
    keywords: tuple[str, ...] = (),
    split: Literal["official", "random"] = "official",
    seeds: tuple[int, ...] = (0,),
    speech: Path | None = None,
    voices: Said | None = None,
    out: Path = Path("out"),
    quick: bool = False,
    jobs: int = os.cpu_count() or 1,
) -> None:
    """Runs settings and what they need.

    Args:
        settings: Names of settings.
        all_settings: Run every setting; with several keywords, the first gets all, the others the headline settings.
        data: Folder laid out as Speech Commands; without it, a corpus spoken by synthetic voices.
        keywords: The words to spot; "sheila" on the synthetic corpus.
        split: The data set's own, disjoint in speakers, or the homework's random 80/20.
        seeds: Of the training; every seed has a random split of its own.
        speech: Folder of running speech, files <speaker>-*.flac or .wav; without it, --all leaves out the settings that
            train on it. The synthetic corpus brings its own.
        voices: Add clips by synthetic voices to real data that has too few of the keyword: of the "keyword" alone, or
            of "words", the keyword and others, so that a voice's sound does not give the keyword away.
        out: Folder for records, logs, scores and checkpoints.
        quick: Two epochs each, to see that everything works; the numbers mean nothing.
        jobs: Runs at the same time; by default one a core.
    """
    if not settings and not all_settings:
        raise UserError(f"name settings, or say --all: {', '.join(BY_NAME)}")
    if jobs < 1 or not seeds:
        raise UserError("give at least one seed, and at least one job")
    with_needs(list(settings))  # names are checked before a corpus is spoken
    source = find_source(data, keywords, speech, out, voices)
    corpus = source.load()
    chosen = {}
    for number, keyword in enumerate(dict.fromkeys(source.keywords)):
        for seed in seeds:
            make_task(source, corpus, keyword, split, seed, out)  # so that a bad one is named now
        names = _all_names(source.speech is not None, only_headline=number > 0) if all_settings else list(settings)
        chosen[keyword] = [resolved(setting, synthetic=data is None, quick=quick) for setting in with_needs(names)]
    sweep(Place(source, split, out), plan(chosen, tuple(dict.fromkeys(seeds))), jobs)
    print(f"records: {out / 'records'}")


def _all_names(has_speech: bool, only_headline: bool) -> list[str]:
    return [
        setting.name
        for setting in SETTINGS
        if (has_speech or not setting.speech_share) and (setting.headline or not only_headline)
    ]


def resolved(setting: Setting, synthetic: bool, quick: bool) -> Setting:
    """The setting as it is run on this corpus."""
    recipe = setting.recipe
    if synthetic and recipe is not None:
        is_seminar = isinstance(recipe, SeminarRecipe)
        recipe = SYNTHETIC_SEMINAR if is_seminar else replace(recipe, epochs=min(3 * recipe.epochs, SYNTHETIC_EPOCHS))
    if quick and recipe is not None:
        recipe = replace(recipe, epochs=QUICK_EPOCHS)
    restarts = min(setting.restarts, FEW_RESTARTS) if synthetic or quick else setting.restarts
    return replace(setting, recipe=recipe, restarts=restarts)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    with one_line_errors():
        tyro.cli(main, description=__doc__)
