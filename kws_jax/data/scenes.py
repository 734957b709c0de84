"""Hours of continuous audio with known keyword times, built from held-out speakers, the same for every model."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import is_sound_file, read_audio, to_float, to_pcm
from kws_jax.data.corpus import Corpus
from kws_jax.data.splits import Split, speaker_percentage
from kws_jax.errors import UserError

FADE = SAMPLE_RATE // 100  # samples faded at each end of an event, so that joints do not click
SNRS: tuple[float | None, ...] = (None, 20.0, 10.0, 5.0)  # dB; None adds no noise
SPEECH_PARTS = {"training": (0, 40), "validation": (40, 70), "testing": (70, 101)}  # % of the speakers, by hash
# Utterances known to hold the keyword inside another word ("happiness"): neither a hit nor a false alarm to judge by.
AMBIGUOUS = {"happy": ("5652-19215-0000",)}
EVENT_GAIN = (-6.0, 3.0)  # dB, drawn for every event
# How often each kind comes; a third of the time each goes to words, running speech and pauses.
EVENT_WEIGHTS = {"keyword": 1.0, "word": 9.0, "speech": 1.0, "pause": 1.2}
WORD_LEVEL = -25.0  # dB below the loudest 25 ms: what is louder counts as the word


@dataclass(frozen=True)
class Scenes:
    """Streams of equal length, each with one background and one signal-to-noise ratio.

    Attributes:
        waveforms: (streams, samples), int16 PCM at 16 kHz.
        keyword_intervals: For each stream, (keywords, 2): start and end of the spoken word in seconds.
        keyword_speakers: For each stream, who speaks each keyword.
        snrs: Of each stream, in dB; None where no noise was added.
        events: How often each kind was heard: "keyword", "word" and "speech".
    """

    waveforms: np.ndarray
    keyword_intervals: list[np.ndarray]
    keyword_speakers: list[np.ndarray]
    snrs: list[float | None]
    events: dict[str, int]

    @property
    def hours(self) -> float:
        """Length of all streams together."""
        return self.waveforms.size / SAMPLE_RATE / 3600


@dataclass(frozen=True)
class Material:
    """What scenes are made of, all of one part of the split.

    Attributes:
        keywords: The keyword's clips, (clips, samples), with who speaks them.
        speakers: Of the keyword clips.
        words: Clips of all other words.
        speech: Utterances of running speech; whether one holds the keyword is not known, since none has a transcript.
        background: Noise recordings.
    """

    keywords: np.ndarray
    speakers: np.ndarray
    words: np.ndarray
    speech: list[np.ndarray]
    background: tuple[np.ndarray, ...]


def read_speech(folder: Path, part: str, keyword: str) -> list[np.ndarray]:
    """Utterances of one part of the speakers of running speech.

    Args:
        folder: Sound files `<speaker>-*.flac`, .wav or .ogg.
        part: "training", "validation" or "testing": 40, 30 and 30 % of the speakers, by the hash that also splits the
            corpus. There is too little speech for its 80, 10 and 10 %.
        keyword: Utterances that are ambiguous for it are left out.

    Raises:
        UserError: If there is none.
    """
    paths = [path for path in speech_files(folder, part) if path.stem not in AMBIGUOUS.get(keyword, ())]
    if not paths:
        raise UserError(f"no {part} speech in {folder}: give --speech a folder of <speaker>-*.flac, .wav or .ogg files")
    return [read_audio(path) for path in paths]


def speech_files(folder: Path, part: str) -> list[Path]:
    """The files of `read_speech`; none where there are none."""
    low, high = SPEECH_PARTS[part]
    paths = sorted(filter(is_sound_file, folder.glob("*")))
    return [path for path in paths if low <= speaker_percentage(path.stem.split("-")[0]) < high]


def gather(corpus: Corpus, keyword: str, split: Split, part: str, speech_folder: Path) -> Material:
    """Material of one part: its clips, and the running speech of the part of the same name.

    Args:
        corpus: Clips of single words.
        keyword: The word to spot.
        split: Of the corpus.
        part: "validation" or "testing".
        speech_folder: See `read_speech`.

    Raises:
        UserError: If the part holds no clip of the keyword, or none of another word, or there is no speech.
    """
    clips = getattr(split, part)
    labels = corpus.labels(keyword)[clips]
    if not 0 < np.count_nonzero(labels) < labels.size:
        raise UserError(f"{part} speakers must say {keyword!r} and other words: choose another keyword or split")
    return Material(
        keywords=np.asarray(corpus.waveforms[clips[labels == 1]]),
        speakers=corpus.speakers[clips[labels == 1]],
        words=np.asarray(corpus.waveforms[clips[labels == 0]]),
        speech=read_speech(speech_folder, part, keyword),
        background=corpus.background,
    )


def build_scenes(material: Material, hours: float, minutes_per_stream: float, seed: int) -> Scenes:
    """Glues events in random order into streams, each with its own stretch of noise.

    Clips and utterances are used in shuffled rounds: none comes again before all others of its kind have.

    Raises:
        UserError: If there is no time for a keyword.
    """
    if not min(hours, minutes_per_stream) > 0:
        raise UserError(f"no scenes of {hours:g} hours in streams of {minutes_per_stream:g} minutes")
    rng = np.random.default_rng(seed)
    decks = {"keyword": _deck(rng, material.keywords), "word": _deck(rng, material.words)}
    decks["speech"] = _deck(rng, material.speech)
    num_streams = max(1, round(hours * 60 / minutes_per_stream))
    snrs = [SNRS[index % len(SNRS)] for index in range(num_streams)]
    length = round(minutes_per_stream * 60 * SAMPLE_RATE)
    waveforms, intervals, speakers = [], [], []
    events: Counter[str] = Counter()
    for snr in snrs:
        track, keywords = _glue(decks, length, rng, events)
        waveforms.append(to_pcm(_with_noise(track, material.background, snr, rng)))
        intervals.append(np.array([(start, end) for _, start, end in keywords]).reshape(-1, 2))
        speakers.append(np.array([material.speakers[index] for index, _, _ in keywords]))
    if not events["keyword"]:
        raise UserError(f"no keyword falls into {hours:g} hours of audio: give more with --hours")
    return Scenes(np.stack(waveforms), intervals, speakers, snrs, dict(events))


def _deck(rng: np.random.Generator, events: Sequence[np.ndarray] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Events with their indices, in shuffled rounds without end."""
    while True:
        for index in rng.permutation(len(events)).tolist():
            event = events[index]
            yield index, to_float(event) if event.dtype == np.int16 else event


def _glue(
    decks: dict[str, Iterator[tuple[int, np.ndarray]]], length: int, rng: np.random.Generator, events: Counter[str]
) -> tuple[np.ndarray, list[tuple[int, float, float]]]:
    """A track without noise, and (clip index, start, end) of each keyword in it, in seconds; counts its events."""
    track, position = np.zeros(length, np.float32), 0
    keywords: list[tuple[int, float, float]] = []
    kinds, weights = list(EVENT_WEIGHTS), np.array(list(EVENT_WEIGHTS.values()))
    while True:
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        if kind == "pause":
            position += int(rng.uniform(1, 15) * SAMPLE_RATE)
            continue
        index, event = next(decks[kind])
        if position + event.shape[0] > length:
            return track, keywords
        gain = 10.0 ** (rng.uniform(*EVENT_GAIN) / 20)
        track[position : position + event.shape[0]] = gain * _faded(event)
        events[kind] += 1
        if kind == "keyword":
            start, end = word_interval(event)
            keywords.append((index, position / SAMPLE_RATE + start, position / SAMPLE_RATE + end))
        position += event.shape[0] + int(rng.uniform(0, 0.5) * SAMPLE_RATE)


def word_interval(clip: np.ndarray) -> tuple[float, float]:
    """Start and end, in seconds, of what is louder than WORD_LEVEL below the clip's loudest 25 ms."""
    window, hop = 400, 160
    energy = np.convolve(clip.astype(np.float64) ** 2, np.ones(window), mode="valid")[::hop]
    loud = np.flatnonzero(energy >= energy.max() * 10.0 ** (WORD_LEVEL / 10))
    return loud[0] * hop / SAMPLE_RATE, min(loud[-1] * hop + window, clip.shape[0]) / SAMPLE_RATE


def _faded(event: np.ndarray) -> np.ndarray:
    ramp = np.minimum(np.arange(1, event.shape[0] + 1) / FADE, 1.0).astype(np.float32)
    return event * ramp * ramp[::-1]


def _with_noise(
    track: np.ndarray, background: tuple[np.ndarray, ...], snr: float | None, rng: np.random.Generator
) -> np.ndarray:
    """Adds one recording, repeated end to end, `snr` dB below the mean power of all that is spoken."""
    if snr is None or not background or not track.any():
        return track
    noise = background[rng.integers(len(background))]
    noise = np.resize(np.roll(noise, -rng.integers(noise.shape[0])), track.shape[0])
    spoken = np.square(track[track != 0], dtype=np.float64).mean()
    return track + noise * np.float32(np.sqrt(spoken / np.square(noise, dtype=np.float64).mean() / 10.0 ** (snr / 10)))
