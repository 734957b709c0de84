"""From a person's recordings of a word to its detector: a corpus, a training, a threshold, and what is known of it."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import soundfile
from scipy.stats import binomtest

from experiments.plots import plot_takes, save
from experiments.streams import demo
from experiments.streams.evaluation import Job, judge_checkpoint
from experiments.streams.recipe import Judgement, SceneRecipe
from experiments.streams.recordings import (
    ENOUGH,
    FEWEST_GROUPS,
    Recording,
    divided,
    pieces,
    read_all,
    read_recordings,
)
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
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_pcm
from kws_jax.data.corpus import BACKGROUND_FOLDER
from kws_jax.data.recordings import SPEECH_PARTS, check_sources
from kws_jax.data.sentences import NEAR
from kws_jax.data.sources import SceneSources, check_word
from kws_jax.data.splits import PLACES, name_in, speaker_percentage
from kws_jax.data.synthetic import SPEECH_FOLDER, generate_corpus
from kws_jax.errors import UserError
from kws_jax.files import remove, written

SETTING = "student_21x_stream_int8"
CLIPS, SPEECH, SYNTHETIC = "clips", "speech", "synthetic"
HOURS = 3.0  # of scenes to choose by, and to judge on
PARTS_OF_PIECES = ("training", "training", "training", "validation", "testing")  # of running sound, in turn


@dataclass(frozen=True)
class Wish:
    """What a person has and wants; see `experiments.keyword`."""

    word: str
    recordings: Path
    negatives: Path | None
    data: Path | None
    sources: SceneSources
    voices: bool
    out: Path


def make(wish: Wish) -> None:
    """Does all of it; what is there already of the same recordings is not done again."""
    check_word(wish.word)
    check_sources(wish.sources)
    if wish.data and not wish.data.is_dir():
        raise UserError(f"no folder {wish.data}: name one laid out as Speech Commands, with one folder a word")
    start = time.perf_counter()
    with locked(wish.out):
        recordings = read_recordings(wish.recordings)
        print("\n".join(recording.describe() for recording in recordings if not recording.is_single))
        print(f"{sum(recording.fits.sum() for recording in recordings)} takes in {len(recordings)} recordings")
        save(plot_takes(recordings, wish.word), wish.out / "takes.png")
        kept_apart, parts = divided(recordings)
        source = lay_out(wish, recordings, parts)
        print(f"heard as {wish.out / CLIPS / wish.word}/*.wav, and seen in {wish.out / 'takes.png'}")
        model = _train(source, wish)
        target = wish.out / f"{wish.word}.safetensors"
        with written(target) as part:
            shutil.copyfile(model, part)
        record = _judged(wish, source, target)
        speech = wish.out / SPEECH if wish.negatives else None
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


def lay_out(wish: Wish, recordings: Sequence[Recording], parts: Sequence[Sequence[str]]) -> DataSource:
    """Writes the corpus: the takes, each in its part, and links to the folders of other words; and running sound."""
    speech, noise, spoken = [*wish.sources.speech], wish.sources.noise, None
    if wish.data is None or wish.voices or not speech:
        # One take of each voice: thirty of each drown a person's few, and the voices are learnt in the word's place.
        spoken = generate_corpus(wish.out / SYNTHETIC, wish.word, clips_of_keyword=1)
        speech.append(spoken / SPEECH_FOLDER)
    if wish.negatives:
        _write_pieces(wish.negatives, wish.out / SPEECH)
        speech.append(wish.out / SPEECH)
    with written(wish.out / CLIPS) as clips:
        (clips / wish.word).mkdir(parents=True)
        _write_takes(recordings, parts, clips / wish.word)
        if spoken and wish.voices:
            for path in sorted((spoken / wish.word).glob("*.wav")):
                if _is_learnt_from(path):
                    shutil.copyfile(path, clips / wish.word / path.name)
        others = wish.data or spoken
        assert others is not None
        for folder in sorted(others.resolve().iterdir()):
            is_word = folder.name[0] not in "_." and folder.name != wish.word
            if folder.is_dir() and (is_word or folder.name == BACKGROUND_FOLDER):
                _link(folder, clips / folder.name, is_near=others == spoken and folder.name in NEAR)
    sources = SceneSources(tuple(speech), noise, wish.sources.transcripts)
    return DataSource("own", wish.out / CLIPS, (wish.word,), sources, ())


def _link(folder: Path, target: Path, is_near: bool) -> None:
    """Links to a word's folder; of a word that sounds like the person's, to what is learnt from alone.

    In scenes such words would come every few minutes, as they do nowhere else, and no threshold would be low enough.
    """
    if not is_near:
        target.symlink_to(folder)
        return
    target.mkdir()
    for path in sorted(folder.iterdir()):
        if _is_learnt_from(path):
            (target / path.name).symlink_to(path)


def _is_learnt_from(clip: Path) -> bool:
    low, high = PLACES["training"]
    return low <= speaker_percentage(clip.stem.split("_nohash_")[0]) < high


def _write_takes(recordings: Sequence[Recording], parts: Sequence[Sequence[str]], folder: Path) -> None:
    """Each take by a speaker of its part, so that the data set's own rule splits them."""
    takes = Counter[str]()
    for recording, row in zip(recordings, parts, strict=True):
        for clip, part in zip(recording.clips(), row, strict=True):
            speaker = name_in(f"{recording.person or recording.name} {part}", *PLACES[part])
            soundfile.write(folder / f"{speaker}_nohash_{takes[speaker]}.wav", to_pcm(clip), SAMPLE_RATE)
            takes[speaker] += 1


def _write_pieces(folder: Path, target: Path) -> None:
    """Running sound as running speech is laid out, every part some of it."""
    with written(target) as made:
        made.mkdir()
        number = 0
        for path, samples in read_all(folder).items():
            for piece in pieces(samples):
                part = PARTS_OF_PIECES[number % len(PARTS_OF_PIECES)]
                name = f"{name_in(f'{path.name} {part}', *SPEECH_PARTS[part])}-{number}.flac"
                soundfile.write(made / name, to_pcm(piece), SAMPLE_RATE)
                number += 1


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
        heard = 1 - own.point.miss_rate
        ends = binomtest(round(judged * heard), judged).proportion_ci()
        yield (
            f"heard: {heard:.0%} of {judged} takes that it did not learn from, in noise and without "
            f"({ends.low:.0%} to {ends.high:.0%}, since they are few)"
        )
        low, high = own.point.false_alarms_interval
        yield (
            f"false alarms: {own.point.false_alarms_per_hour:.1f} an hour ({low:.1f} to {high:.1f}) in "
            f"{own.hours:.1f} h glued of other words and {', '.join(own.speech)}"
        )
        yield f"listen: python -m experiments.listen --checkpoint {wish.out / wish.word}.safetensors --microphone"
    if not (wish.negatives or wish.sources.speech):
        yield (
            "next: only synthetic voices said what is not the word, and people will wake it more often: record some "
            "half an hour of what is to be heard where it listens, without the word: --negatives DIR"
        )
    if own.people < FEWEST_GROUPS:
        yield f"next: let {FEWEST_GROUPS} people or more speak, a folder each, or it may know these alone"
    if (missing := ENOUGH - sum(own.takes.values())) > 0:
        yield f"next: {missing} more takes, near and far, loud and soft, in the room where it listens"
