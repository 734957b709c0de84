"""Two tracks of running speech with the keyword between them through a checkpoint, and the picture of it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int16

from experiments.plots import StreamResult, check_picture, plot_stream, save
from experiments.study.environment import ROOT
from experiments.study.json_files import write_json
from kws_jax.checkpoint import SUFFIX, describe, load_deployed
from kws_jax.config import SAMPLE_RATE
from kws_jax.cost import macs_per_clip
from kws_jax.data.audio import is_sound_file, read_audio, to_float, to_pcm, write_wav
from kws_jax.data.decoding import UNREADABLE, check_unreadable, said
from kws_jax.data.recordings import read_named, speech_files
from kws_jax.data.splits import TESTING_PERCENTAGE, VALIDATION_PERCENTAGE, speaker_percentage
from kws_jax.data.synthetic import generate_demo_tracks
from kws_jax.detector import Detector
from kws_jax.errors import UserError
from kws_jax.files import check_writable
from kws_jax.model import frames_of
from kws_jax.streaming import StreamingKws

SHIPPED = ROOT / "checkpoints"
PREFERRED = "student_21x_stream_int8"  # a detector that learnt from scenes, with a threshold of its own
LEVEL_RANGE = 4.0  # a track within 12 dB of the keyword's level is left as it was recorded
TRACK_SECONDS = (10, 20)
LONGEST_NAME = 40  # letters of a word that a folder is called by


@dataclass(frozen=True)
class Glued:
    """One recording made of three.

    Attributes:
        pcm: What is streamed, and written as a WAV file.
        start: First sample of the keyword's clip.
        end: First sample after it.
        gains: Of the three parts.
    """

    pcm: Int16[np.ndarray, "samples"]
    start: int
    end: int
    gains: tuple[float, float, float]


def draw(
    out: Path,
    checkpoint: Path,
    given: tuple[Path | None, ...],
    data: Path | None,
    speech: Path | None,
    keyword: str | None,
    threshold: float | None,
    smoothing: int | None,
    false_alarms_per_hour: float | None,
) -> None:
    """Draws the demo of a checkpoint; see `experiments.stream_demo`, and `choose_files` for what is given."""
    check_picture(out)
    outputs = (out, out.with_suffix(".json"), out.with_suffix(".wav"))
    for path in outputs[1:]:
        check_writable(path)
    config, variables, about = load_deployed(checkpoint)
    keyword = keyword or about.keyword
    detector = about.detector(config, threshold, smoothing, false_alarms_per_hour)
    files = choose_files(given, data, speech, keyword)
    if lost := {path.resolve() for path in outputs} & {file.resolve() for file in files}:
        raise UserError(f"{min(lost).name} is both read and written: give --out another name")
    glued = glue(*map(read_named, files))
    if len(glued.pcm) <= config.frontend.padding:
        raise UserError(f"{', '.join(map(str, files))} are {len(glued.pcm)} samples in all: give longer recordings")
    kws = StreamingKws(variables["params"], config)
    times, probabilities = map(np.concatenate, zip(kws.push(to_float(glued.pcm)), kws.flush(), strict=True))
    result = StreamResult(
        keyword=keyword or files[1].stem,
        threshold=detector.threshold,
        false_alarms_per_hour=false_alarms_per_hour or (about.false_alarms_per_hour if threshold is None else None),
        start=glued.start / SAMPLE_RATE,
        end=glued.end / SAMPLE_RATE,
        warm_up=float(config.step_end(config.max_window_length - 1)) / SAMPLE_RATE,
        times=times,
        probabilities=probabilities,
        detections=tuple(Detector(detector).push(times, probabilities)),
    )
    frames = np.asarray(frames_of(variables, config, jnp.asarray(to_float(glued.pcm))[None])[0])
    unit = "PCEN" if config.has_pcen else "log-mel power (natural log)"
    save(plot_stream(result, frames, unit, len(glued.pcm) / SAMPLE_RATE), out)
    write_json(outputs[1], {"files": [file.name for file in files], "gains": glued.gains} | result.to_json())
    write_wav(outputs[2], glued.pcm)
    print(result.describe())
    print("\n".join(map(str, outputs)))


def glue(before: Float32[np.ndarray, "_"], keyword: Float32[np.ndarray, "_"], after: Float32[np.ndarray, "_"]) -> Glued:
    """Joins three recordings, with one gain for each track that is over 12 dB louder or softer than the keyword.

    Recordings that are nearer in level, as real ones mostly are, stay as they are; a gain changes nothing but level,
    stops where the track would clip, and the keyword never gets one.
    """
    gains = (_gain(before, keyword), 1.0, _gain(after, keyword))
    parts = [gain * part for gain, part in zip(gains, (before, keyword, after), strict=True)]
    return Glued(to_pcm(np.concatenate(parts)), len(before), len(before) + len(keyword), gains)


def _gain(track: Float32[np.ndarray, "_"], keyword: Float32[np.ndarray, "_"]) -> float:
    levels = [float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) for samples in (track, keyword)]
    if min(levels) == 0 or 1 / LEVEL_RANGE <= levels[0] / levels[1] <= LEVEL_RANGE:
        return 1.0
    nearest = levels[1] * (LEVEL_RANGE if levels[0] > levels[1] else 1 / LEVEL_RANGE)
    return min(nearest / levels[0], 1 / float(np.abs(track).max()))


def find_checkpoint(folder: Path, keyword: str | None) -> Path:
    """The checkpoint of PREFERRED, else that with the least work, of those that spot the keyword if given."""
    files = sorted(folder.glob(f"*/*{SUFFIX}"), reverse=True)
    found = [path for path in files if keyword in (None, describe(path)[1].keyword)]
    if not found:
        what = f"of {keyword!r}" if keyword else "there"
        raise UserError(f"no checkpoint {what} in {folder}: name one with --checkpoint")
    return min(found, key=lambda path: (describe(path)[1].setting != PREFERRED, macs_per_clip(describe(path)[0]).total))


def choose_files(
    given: tuple[Path | None, ...], data: Path | None, speech: Path | None, keyword: str | None
) -> list[Path]:
    """Recordings before the keyword, of it and after it: what is given, else from the data folder, else synthetic.

    Args:
        given: None for each that is to be found.
        data: See `experiments.stream_demo`.
        speech: See `experiments.stream_demo`.
        keyword: The word that is said.

    Raises:
        UserError: If there is no keyword to look for, or no clip of it.
    """
    if None in given and keyword is None:
        raise UserError("the checkpoint does not say its keyword: --keyword WORD, or name all three recordings")
    before, after = _tracks(speech) if speech else (None, None)
    clip = find_clip(data, str(keyword)) if data and not given[1] else None
    chosen = [own or found for own, found in zip(given, (before, clip, after), strict=True)]
    folder = _spoken(str(keyword)) if None in chosen else Path()
    return [file or folder / f"{name}.wav" for file, name in zip(chosen, ("before", "keyword", "after"), strict=True)]


def _spoken(keyword: str) -> Path:
    cache = Path(os.environ.get("KWS_CACHE") or "~/.cache/kws-jax").expanduser()
    is_name = keyword.isalnum() and len(keyword) <= LONGEST_NAME
    name = keyword if is_name else hashlib.sha256(keyword.encode(errors="replace")).hexdigest()[:16]
    return generate_demo_tracks(cache / f"demo-{name}", keyword)


def find_clip(data: Path, keyword: str) -> Path:
    """The first clip of the keyword by a testing speaker."""
    clips = [path for path in sorted((data / keyword).glob("*")) if is_sound_file(path) and _is_testing(path)]
    if not clips:
        raise UserError(f"no clip of {keyword!r} by a testing speaker in {data}: name one with --keyword-clip")
    return clips[0]


def _tracks(speech: Path) -> tuple[Path | None, Path | None]:
    """The first two recordings of a good length by testing speakers, if there are as many."""
    if not speech.is_dir():
        raise UserError(f"no folder {speech}: give --speech a folder of <speaker>-*.flac, .wav or .ogg files")
    paths, tracks, unreadable = speech_files(speech, "testing"), list[Path](), dict[str, str]()
    for path in paths:
        try:
            seconds = len(read_audio(path, max_seconds=TRACK_SECONDS[1] + 1)) / SAMPLE_RATE
        except UNREADABLE as error:
            unreadable[path.name] = said(error)
            continue
        if TRACK_SECONDS[0] <= seconds <= TRACK_SECONDS[1]:
            tracks.append(path)
        if len(tracks) == 2:
            return tracks[0], tracks[1]
    check_unreadable(unreadable, len(paths), speech)
    return None, None


def _is_testing(clip: Path) -> bool:
    percentage = speaker_percentage(clip.stem.split("_nohash_")[0])
    return VALIDATION_PERCENTAGE <= percentage < VALIDATION_PERCENTAGE + TESTING_PERCENTAGE
