"""Hours of continuous audio with known keyword times, to learn from and to judge by: by speakers of one part each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import as_float, to_pcm
from kws_jax.data.corpus import Corpus
from kws_jax.data.recordings import read_noise, read_speech
from kws_jax.data.sounds import SOUNDS, sound
from kws_jax.data.sources import SceneSources
from kws_jax.data.splits import Split
from kws_jax.errors import UserError

__all__ = ["JUDGED", "TRAINED", "Material", "SceneMix", "Scenes", "build_scenes", "gather", "word_interval"]

FADE = SAMPLE_RATE // 100  # samples faded at each end of an event, so that joints do not click
EVENT_GAIN = (-6.0, 3.0)  # dB, drawn for every event
SOUND_SECONDS = (2.0, 6.0)  # of an event that is noise or a sound that nobody speaks; shorter recordings are whole
SPOKEN = ("keyword", "word", "speech")
WORD_LEVEL = -25.0  # dB below the loudest 25 ms: what is louder counts as the word


@dataclass(frozen=True)
class SceneMix:
    """How scenes are glued.

    Attributes:
        weights: How often each kind of event comes: "keyword", "word", "speech", "pause", "noise" and "sound".
        snrs: Of the streams in turn, in dB; None adds no noise.
        speeds: Of what is spoken, one drawn for every event; as on tape, pitch changes too.
    """

    weights: dict[str, float]
    snrs: tuple[float | None, ...]
    speeds: tuple[float, ...] = (1.0,)


# A third of the time each goes to words, running speech and pauses, and a twentieth to noise by itself.
JUDGED = SceneMix({"keyword": 1.0, "word": 9.0, "speech": 1.0, "pause": 1.2, "noise": 0.45}, (None, 20.0, 10.0, 5.0))
# Noise is drawn anew whenever a model learns from them.
TRAINED = SceneMix(JUDGED.weights | {"keyword": 6.0, "sound": 0.5}, (None,), (0.9, 0.95, 1.0, 1.05, 1.1))


@dataclass(frozen=True)
class Scenes:
    """Streams of equal length, each with one background and one signal-to-noise ratio.

    Attributes:
        waveforms: (streams, samples), int16 PCM at 16 kHz.
        keyword_intervals: For each stream, (keywords, 2): start and end of the spoken word in seconds.
        keyword_speakers: For each stream, who speaks each keyword.
        snrs: Of each stream, in dB; None where no noise was added.
        events: How often each kind was heard, as in `SceneMix`; pauses are not counted.
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
    """What scenes are made of, all of one part of the split; int16 PCM, or floats in [-1, 1].

    Attributes:
        keywords: The keyword's clips, (clips, samples), with who speaks them.
        speakers: Of the keyword clips.
        words: Clips of all other words.
        speech: Utterances of running speech; where there is a transcript, without the keyword.
        noise: Recordings of noise; the corpus's own are in all parts.
    """

    keywords: np.ndarray
    speakers: np.ndarray
    words: Sequence[np.ndarray] | np.ndarray
    speech: Sequence[np.ndarray]
    noise: Sequence[np.ndarray]


def gather(corpus: Corpus, keyword: str, split: Split, part: str, sources: SceneSources) -> Material:
    """Material of one part: its clips, and the running speech and the noise of the part of the same name.

    The corpus's own noise is in all parts: its few recordings are not split.

    Args:
        corpus: Clips of single words.
        keyword: The word to spot.
        split: Of the corpus.
        part: "training", "validation" or "testing".
        sources: Of speech and noise.

    Raises:
        UserError: If the part holds no clip of the keyword, or none of another word, or there is no speech, or a folder
            or file is missing or cannot be read.
    """
    clips = getattr(split, part)
    labels = corpus.labels(keyword)[clips]
    if not 0 < np.count_nonzero(labels) < labels.size:
        raise UserError(f"{part} speakers must say {keyword!r} and other words: choose another keyword or split")
    waveforms = np.asarray(corpus.waveforms)  # still on disk, and so are the words until they are heard
    return Material(
        keywords=waveforms[clips[labels == 1]],
        speakers=corpus.speakers[clips[labels == 1]],
        words=[waveforms[clip] for clip in clips[labels == 0]],
        speech=read_speech(sources, part, keyword),
        noise=[*corpus.background, *read_noise(sources, part)],
    )


def build_scenes(
    material: Material, hours: float, minutes_per_stream: float, seed: int, mix: SceneMix = JUDGED
) -> Scenes:
    """Glues events in random order into streams, each with its own stretch of noise.

    Clips, utterances and recordings are used in shuffled rounds: none comes again before all others of its kind have.

    Raises:
        UserError: If there is no time for a keyword.
    """
    if not min(hours, minutes_per_stream) > 0:
        raise UserError(f"no scenes of {hours:g} hours in streams of {minutes_per_stream:g} minutes")
    rng = np.random.default_rng(seed)
    decks = {"keyword": _deck(rng, material.keywords), "word": _deck(rng, material.words)}
    decks |= {"speech": _deck(rng, material.speech), "sound": _sounds(rng)}
    if material.noise:
        decks["noise"] = _noises(rng, material.noise)
    num_streams = max(1, round(hours * 60 / minutes_per_stream))
    snrs = [mix.snrs[index % len(mix.snrs)] for index in range(num_streams)]
    waveforms = np.empty((num_streams, round(minutes_per_stream * 60 * SAMPLE_RATE)), np.int16)
    intervals, speakers = [], []
    events: Counter[str] = Counter()
    for waveform, snr in zip(waveforms, snrs, strict=True):
        track, power, keywords = _glue(decks, mix, waveform.size, rng, events)
        waveform[:] = to_pcm(_with_noise(track, power, material.noise, snr, rng))
        intervals.append(np.array([(start, end) for _, start, end in keywords]).reshape(-1, 2))
        speakers.append(np.array([material.speakers[index] for index, _, _ in keywords]))
    if not events["keyword"]:
        raise UserError(f"no keyword falls into {hours:g} hours of audio: give more with --hours")
    return Scenes(waveforms, intervals, speakers, snrs, dict(events))


def _deck(rng: np.random.Generator, events: Sequence[np.ndarray] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Events with their indices, in shuffled rounds without end."""
    while True:
        for index in rng.permutation(len(events)).tolist():
            yield index, as_float(events[index])


def _noises(rng: np.random.Generator, recordings: Sequence[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Stretches of recordings."""
    for index, recording in _deck(rng, recordings):
        length = round(rng.uniform(*SOUND_SECONDS) * SAMPLE_RATE)
        start = rng.integers(max(1, recording.size - length + 1))
        yield index, recording[start : start + length]


def _sounds(rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Sounds that nobody speaks, of every kind in turn."""
    while True:
        for index, kind in enumerate(SOUNDS):
            yield index, sound(kind, rng.uniform(*SOUND_SECONDS), rng)


def _glue(
    decks: dict[str, Iterator[tuple[int, np.ndarray]]],
    mix: SceneMix,
    length: int,
    rng: np.random.Generator,
    events: Counter[str],
) -> tuple[np.ndarray, float, list[tuple[int, float, float]]]:
    """A track without noise under it, and counts its events.

    Returns:
        The track; the mean power of what is spoken; and (clip index, start, end) of each keyword, in seconds.
    """
    track, position = np.zeros(length, np.float32), 0
    spoken = np.zeros(2)  # energy and samples
    keywords: list[tuple[int, float, float]] = []
    kinds = [kind for kind in mix.weights if kind in {"pause", *decks}]
    weights = np.array([mix.weights[kind] for kind in kinds])
    while True:
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        if kind == "pause":
            position += int(rng.uniform(1, 15) * SAMPLE_RATE)
            continue
        index, event = next(decks[kind])
        if kind in SPOKEN:
            event = _at_speed(event, rng.choice(mix.speeds))
        if position + event.shape[0] > length:
            return track, float(spoken[0] / max(spoken[1], 1)), keywords
        placed = 10.0 ** (rng.uniform(*EVENT_GAIN) / 20) * _faded(event)
        track[position : position + event.shape[0]] = placed
        events[kind] += 1
        if kind in SPOKEN:
            spoken += np.square(placed, dtype=np.float64).sum(), np.count_nonzero(placed)
        if kind == "keyword":
            start, end = word_interval(event)
            keywords.append((index, position / SAMPLE_RATE + start, position / SAMPLE_RATE + end))
        position += event.shape[0] + int(rng.uniform(0, 0.5) * SAMPLE_RATE)


def _at_speed(event: np.ndarray, speed: float) -> np.ndarray:
    """The event so many times as fast, as a tape would be; its pitch changes too."""
    if speed == 1:
        return event
    from scipy.signal import resample_poly  # half a second to import, which judging does not need

    faster, slower = Fraction(speed).limit_denominator(100).as_integer_ratio()
    return resample_poly(event, slower, faster)


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
    track: np.ndarray, power: float, recordings: Sequence[np.ndarray], snr: float | None, rng: np.random.Generator
) -> np.ndarray:
    """Adds one recording, repeated end to end, `snr` dB below a power."""
    if snr is None or not recordings or not power:
        return track
    noise = as_float(recordings[int(rng.integers(len(recordings)))])
    noise = np.resize(np.roll(noise, -rng.integers(noise.shape[0])), track.shape[0])
    return track + noise * np.float32(np.sqrt(power / np.square(noise, dtype=np.float64).mean() / 10.0 ** (snr / 10)))
