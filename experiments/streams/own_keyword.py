"""From a person's recordings of a word to its detector: a corpus, a training, a threshold, and what is known of it."""

import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from experiments.plots import plot_takes, save
from experiments.streams import demo
from experiments.streams.evaluation import Job, judge_checkpoint
from experiments.streams.own_corpus import CLIPS, Wish, check, lay_out
from experiments.streams.recipe import Judgement, SceneRecipe
from experiments.streams.recordings import ENOUGH, FEWEST_GROUPS, divided, read_recordings
from experiments.streams.thresholds import give_thresholds
from experiments.study.environment import environment
from experiments.study.json_files import read_json, write_json
from experiments.study.lock import locked
from experiments.study.own_records import OwnKeyword
from experiments.study.provenance import is_made_so, provenance
from experiments.study.records import MODEL, RECORD
from experiments.study.scaling import resolved
from experiments.study.settings import Setting, with_needs
from experiments.study.stream_records import STREAMS, StreamRecord
from experiments.study.sweep import SweepContext, plan, sweep
from experiments.study.task import DataSource, Task, make_task
from kws_jax.data.splits import PLACES
from kws_jax.errors import UserError
from kws_jax.files import remove, written

SETTING = "student_21x_stream_int8"
HOURS = 3.0  # of scenes to choose by, and to judge on


def make(wish: Wish) -> None:
    """Does all of it; what is there already of the same recordings is not done again."""
    check(wish)
    start = time.perf_counter()
    with locked(wish.out):
        recordings = read_recordings(wish.recordings)
        for recording in recordings:
            if not recording.is_single:
                print(recording.describe())
        print(f"{sum(recording.fits.sum() for recording in recordings)} takes in {len(recordings)} recordings")
        save(plot_takes(recordings, wish.word), wish.out / "takes.png")
        kept_apart, parts = divided(recordings)
        source = lay_out(wish, recordings, parts)
        clips = wish.out / CLIPS / wish.word
        print(f"heard as {clips}/*.wav, and seen in {wish.out / 'takes.png'}")
        if by_others := sum(map(Path.is_symlink, clips.iterdir())):
            print(f"learnt from too: {by_others} clips by others")
        model = _train(source, wish)
        target = wish.out / f"{wish.word}.safetensors"
        with written(target) as part:
            shutil.copyfile(model, part)
        record = _judged(wish, source, target)
        speech = source.sources.speech[-1]  # the nearest to where it listens
        clip = demo.find_clip(source.folder, wish.word)
        demo.draw(wish.out / f"{wish.word}.png", target, (None, clip, None), None, speech, wish.word, None, None, None)
        own = OwnKeyword(
            word=wish.word,
            setting=SETTING,
            takes=dict(Counter(chain.from_iterable(parts))),
            people=len({recording.person for recording in recordings}),
            kept_apart=kept_apart,
            speech=record.heard.speech,
            hours=record.heard.testing["hours"],
            point=record.modes["carried"].in_use,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        write_json(wish.out / "keyword.json", asdict(own))
        print("\n".join(_report(wish, own)))


def _train(source: DataSource, wish: Wish) -> Path:
    """The model's file, with its thresholds."""
    corpus = source.load()
    task = make_task(source, corpus, wish.word, "official", 0, wish.out)
    settings = [resolved(setting, task.split.training.size, quick=False) for setting in with_needs([SETTING])]
    for setting in settings:
        if not _is_made(setting, task):
            remove(task.folder(setting.name) / RECORD)  # of other recordings, or of none
    context, runs = SweepContext(source, "official", wish.out), plan({wish.word: settings}, (0,))
    sweep(context, runs, 1)
    give_thresholds(source, corpus, {context.folder(run) / MODEL: run for run in runs}, HOURS)
    return task.model_path(SETTING)


def _is_made(setting: Setting, task: Task) -> bool:
    """Whether a setting's model was made of these recordings."""
    try:
        return is_made_so(task.folder(setting.name), provenance(setting, task))
    except UserError:  # what it learns from is not there
        return False


def _judged(wish: Wish, source: DataSource, model: Path) -> StreamRecord:
    """What the takes say that it did not learn from, among what its part of all else is."""
    record = wish.out / STREAMS / f"{wish.word}.json"
    judge_checkpoint(Judgement(SceneRecipe(source.folder, source.sources, HOURS)), Job(wish.word, model, record))
    found: StreamRecord = read_json(record, StreamRecord)
    return found


def _report(wish: Wish, own: OwnKeyword) -> Iterator[str]:
    """What is known of the detector, and what to record next, line by line."""
    learnt, chosen, judged = (own.takes[part] for part in PLACES)
    yield f"takes: {learnt} to learn from, {chosen} to choose by, {judged} to judge by, of different {own.kept_apart}"
    if own.point.threshold is None:
        yield "no threshold keeps it below an alarm an hour: it needs more takes, and more of what is not the word"
    else:
        missed, least, most = own.misses
        yield (
            f"heard: {1 - missed:.0%} of {judged} takes that it did not learn from, in noise and without "
            f"({1 - most:.0%} to {1 - least:.0%}, since they are few)"
        )
        low, high = own.point.false_alarms_interval
        yield (
            f"false alarms: {own.point.false_alarms_per_hour:.1f} an hour ({low:.1f} to {high:.1f}) in "
            f"{own.hours:.1f} h glued of other words and {', '.join(own.speech)}"
        )
        file = shlex.quote(f"{wish.out / wish.word}.safetensors")
        yield f"listen: python -m experiments.listen --checkpoint {file} --microphone"
    if not (wish.negatives or wish.sources.speech):
        yield (
            "next: only synthetic voices said what is not the word, and people may wake it more often: record some "
            "half an hour of what is to be heard where it listens, without the word: --negatives DIR"
        )
    if own.people < FEWEST_GROUPS:
        yield f"next: let {FEWEST_GROUPS} people or more speak, a folder each, or it may know these alone"
    if (missing := ENOUGH - sum(own.takes.values())) > 0:
        yield f"next: {missing} more takes, near and far, loud and soft, in the room where it listens"
