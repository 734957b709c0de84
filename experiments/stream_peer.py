"""Judges pocketsphinx's keyphrase search on the very scenes of `experiments.stream_eval`, and times it beside ours.

pocketsphinx lets a candidate through where its score reaches kws_threshold. The threshold changes nothing else in the
search, so one pass at the loosest threshold, with every candidate's score, is a pass at every threshold.
"""

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from experiments.continuous import Scenes, build_scenes, gather
from experiments.records import environment
from experiments.stream_eval import checkpoint_name, describe, write_json
from experiments.stream_judging import Detect, count, judge
from kws_jax import checkpoint
from kws_jax.config import SAMPLE_RATE
from kws_jax.data import load_corpus, to_float
from kws_jax.detector import DetectorConfig, spaced
from kws_jax.errors import UserError, one_line_errors
from kws_jax.model import fold_batch_norm
from kws_jax.splits import split_official
from kws_jax.streaming import StreamingKws

CHUNK = 1_280  # samples, 80 ms: a block of ours
FRAME_RATE = 100  # of pocketsphinx, per second
LOOSEST = 1e-50
THRESHOLDS = np.logspace(-50, 25, 151)  # pocketsphinx's default is 1
LOG_BASE, SHIFT, SCORE_OFFSET = 1.0001, 10, 1_500  # of pocketsphinx's scores: a unit is 2**SHIFT steps of LOG_BASE
TIMED_SECONDS = 60


def main(
    checkpoints: tyro.conf.Positional[tuple[Path, ...]],
    data: Path,
    speech: Path,
    out: Path = Path("out"),
    keyword: str = "happy",
    hours: float = 3.0,
    minutes_per_stream: float = 10.0,
    seed: int = 0,
    jobs: int = 1,
) -> None:
    """Judges the peer; its record lies in OUT/streams_peer.

    Args:
        checkpoints: Folders of Flax checkpoints whose stream is timed beside the peer.
        data: Folder laid out as Speech Commands.
        speech: Folder of running speech, files <speaker>-*.flac or .wav.
        out: Folder of results.
        keyword: The word to spot.
        hours: As in stream_eval, and so the next two.
        minutes_per_stream: See there.
        seed: See there.
        jobs: Processes.
    """
    make_decoder(keyword)
    corpus = load_corpus(data)
    split = split_official(corpus)
    validation, testing = (
        build_scenes(gather(corpus, keyword, split, part, speech), hours, minutes_per_stream, seed)
        for part in ("validation", "testing")
    )
    found = [spot_scenes(keyword, scenes, jobs) for scenes in (validation, testing)]
    judged = judge(count(at_threshold(found[0]), validation, THRESHOLDS), at_threshold(found[1]), testing)
    record = {
        "engine": "pocketsphinx",
        "version": metadata.version("pocketsphinx"),
        "keyword": keyword,
        "seed": seed,
        "corpus": corpus.fingerprint,
        "scenes": {"validation": describe(validation), "testing": describe(testing)},
        "mode": asdict(judged.summary),
        "speed": measure_speed(keyword, checkpoints, testing.waveforms[0, : TIMED_SECONDS * SAMPLE_RATE]),
    }
    path = out / "streams_peer" / f"pocketsphinx-{keyword}.json"
    write_json(path, record | environment())
    print(f"{path}: {judged.summary.test_miss_rate_at_1:.3f}")


def make_decoder(keyword: str) -> Any:
    """Pocketsphinx searching for one word, at the loosest threshold.

    Raises:
        UserError: If it is not installed, or its dictionary lacks the word.
    """
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise UserError("pocketsphinx is not installed: pip install -e '.[benchmark]'") from error
    decoder = Decoder(keyphrase=keyword, kws_threshold=LOOSEST, loglevel="FATAL")
    if decoder.lookup_word(keyword) is None:
        raise UserError(f"pocketsphinx's dictionary has no {keyword!r}")
    return decoder


def spot_scenes(keyword: str, scenes: Scenes, jobs: int) -> list[np.ndarray]:
    """`spot` over every stream."""
    with _processes(jobs) as pool:
        found = pool.map(spot, repeat(keyword), scenes.waveforms)
        return list(tqdm(found, total=len(scenes.waveforms), desc="pocketsphinx", unit="stream", leave=False))


def spot(keyword: str, waveform: np.ndarray) -> np.ndarray:
    """Candidates of one stream of int16 samples: (candidates, 2), end in seconds and score, in order of time."""
    decoder = make_decoder(keyword)
    decoder.start_utt()
    for first in range(0, len(waveform), CHUNK):
        decoder.process_raw(waveform[first : first + CHUNK].tobytes())
    decoder.end_utt()
    found = [
        (segment.end_frame / FRAME_RATE, round(math.log(segment.prob, LOG_BASE)) + SCORE_OFFSET)
        for segment in decoder.seg() or ()
    ]
    return np.array(sorted(found), np.float64).reshape(-1, 2)


def at_threshold(found: list[np.ndarray]) -> Detect:
    """Detections at any threshold, one trigger a refractory time as for ours."""

    def detect(threshold: float) -> list[np.ndarray]:
        least = int(math.log(threshold, LOG_BASE)) >> SHIFT
        times = [candidates[candidates[:, 1] >= least, 0] for candidates in found]
        return [ends[spaced(ends, DetectorConfig().refractory)] for ends in times]

    return detect


def measure_speed(keyword: str, checkpoints: tuple[Path, ...], waveform: np.ndarray) -> dict[str, dict[str, float]]:
    """Both engines on the same audio in the same chunks, on one core, one after the other."""
    with _processes(1, _use_one_core) as pool:
        speed = {"pocketsphinx": pool.submit(_time_peer, keyword, waveform).result()}
        for folder in checkpoints:
            speed[checkpoint_name(folder)] = pool.submit(_time_ours, folder, waveform).result()
    return speed


def _time_peer(keyword: str, waveform: np.ndarray) -> dict[str, float]:
    decoder = make_decoder(keyword)
    decoder.start_utt()
    return _time(lambda chunk: decoder.process_raw(chunk.tobytes()), waveform)


def _time_ours(folder: Path, waveform: np.ndarray) -> dict[str, float]:
    config, variables = fold_batch_norm(*checkpoint.restore(folder))
    stream = StreamingKws(variables["params"], config)
    stream.push(to_float(waveform[:CHUNK]))  # compiles
    stream.reset()
    return _time(lambda chunk: stream.push(to_float(chunk)), waveform)


def _time(push: Callable[[np.ndarray], Any], waveform: np.ndarray) -> dict[str, float]:
    """Processor seconds per second of audio, and the median seconds that a chunk takes."""
    walls, start = [], time.process_time()
    for first in range(0, len(waveform), CHUNK):
        began = time.perf_counter()
        push(waveform[first : first + CHUNK])
        walls.append(time.perf_counter() - began)
    spent = time.process_time() - start
    return {"seconds_per_second": spent * SAMPLE_RATE / len(waveform), "median_chunk_seconds": float(np.median(walls))}


@contextmanager
def _processes(jobs: int, initializer: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes, since a fork of one in which JAX runs threads may hang."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer) as pool:
        yield pool


def _use_one_core() -> None:
    """JAX makes its threads after this, so they share the core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
