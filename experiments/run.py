"""Runs settings: each gets a record, and what has a record is not run again."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.pipeline import run_setting
from experiments.settings import BY_NAME, SETTINGS, Setting, with_needs
from experiments.task import Task
from kws_jax.data import load_corpus
from kws_jax.errors import UserError, one_line_errors
from kws_jax.splits import check_split, split_official, split_random
from kws_jax.synthetic import SPEECH_FOLDER, generate_corpus
from kws_jax.recipe import Recipe
from torch_ref.train import SeminarRecipe

SYNTHETIC_KEYWORD = "sheila"
QUICK_EPOCHS = 2
# The seminar's recipe takes 8,000 steps on its 51,000 clips; on the synthetic corpus's 1,700 it would take 270.
SYNTHETIC_SEMINAR = SeminarRecipe(learning_rate=1e-3, batch_size=64, epochs=60)
SYNTHETIC_EPOCHS = 180  # of our own recipe, for the same reason


def main(
    settings: tyro.conf.Positional[tuple[str, ...]] = (),
    all_settings: Annotated[bool, tyro.conf.arg(name="all")] = False,
    data: Path | None = None,
    keyword: str | None = None,
    split: Literal["official", "random"] = "official",
    seed: int = 0,
    speech: Path | None = None,
    out: Path = Path("out"),
    quick: bool = False,
) -> None:
    """Runs settings and what they need.

    Args:
        settings: Names of settings.
        all_settings: Run every setting.
        data: Folder laid out as Speech Commands; without it, a corpus spoken by synthetic voices.
        keyword: The word to spot; "sheila" on the synthetic corpus.
        split: The data set's own, disjoint in speakers, or the homework's random 80/20.
        seed: Of the training and of a random split.
        speech: Folder of running speech, files <speaker>-*.flac or .wav; without it, --all leaves out the settings that
            train on it. The synthetic corpus brings its own.
        out: Folder for records, logs, scores and checkpoints.
        quick: Two epochs each, to see that everything works; the numbers mean nothing.
    """
    if not settings and not all_settings:
        raise UserError(f"name settings, or say --all: {', '.join(BY_NAME)}")
    everything = [setting.name for setting in SETTINGS if speech or data is None or not setting.speech_share]
    chosen = with_needs(everything if all_settings else list(settings))
    task = make_task(data, keyword, split, seed, speech, out)
    for number, setting in enumerate(chosen, 1):
        if task.record_path(setting.name).exists():
            print(f"[{number}/{len(chosen)}] {setting.name}: has its record")
            continue
        print(f"[{number}/{len(chosen)}] {setting.name}: {setting.question}")
        record = run_setting(resolved(setting, synthetic=data is None, quick=quick), task)
        print(f"    1 - AUROC {record.testing.auroc_error:.2e} on test speakers, {record.cost.thop_macs:,} MACs")
    print(f"records: {task.out / 'records'}")


def make_task(data: Path | None, keyword: str | None, split: str, seed: int, speech: Path | None, out: Path) -> Task:
    """Loads the corpus and splits it.

    Raises:
        UserError: If there is no keyword for real data, or the corpus or the split is unusable.
    """
    if data is None:
        keyword = keyword or SYNTHETIC_KEYWORD
        folder = generate_corpus(out / "synthetic" / "corpus", keyword)
        name, arguments, speech = "synthetic", tuple[str, ...](), folder / SPEECH_FOLDER
    else:
        if keyword is None:
            raise UserError("say which word to spot: --keyword WORD")
        folder, name, arguments = data, data.resolve().name, ("--data", data.as_posix())
        if speech is not None:
            arguments = (*arguments, "--speech", speech.as_posix())
    corpus = load_corpus(folder)
    parts = split_official(corpus) if split == "official" else split_random(corpus, seed)
    check_split(parts, corpus.labels(keyword), keyword)
    return Task(corpus, name, arguments, keyword, parts, seed, speech, out)


def resolved(setting: Setting, synthetic: bool, quick: bool) -> Setting:
    """The setting as it is run on this corpus."""
    recipe: SeminarRecipe | Recipe | None = setting.recipe
    if synthetic and recipe is not None:
        is_seminar = isinstance(recipe, SeminarRecipe)
        recipe = SYNTHETIC_SEMINAR if is_seminar else replace(recipe, epochs=SYNTHETIC_EPOCHS)
    if quick and recipe is not None:
        recipe = replace(recipe, epochs=QUICK_EPOCHS)
    return replace(setting, recipe=recipe)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    with one_line_errors():
        tyro.cli(main, description=__doc__)
